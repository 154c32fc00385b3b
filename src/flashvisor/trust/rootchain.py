"""The owner's chain of TUF root metadata: what a server trusts from its burning on, and what may follow it.

Owns what a root says and who signs it. The keyring keeps the chain (keyring.py), repositories show it (repository.py).
Admin side only, pure::

    first = next_root((), keys, (), now)                        # keys: role to RoleSigners
    second = next_root((first,), new_keys, old_root_signers, now)

Source: TUF 1.0.34, 5.3 (a root is signed by enough of the keys of the one before it, and of its own) and 6.1.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from flashvisor.errors import KeyringDamagedError, TooFewSignaturesError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from securesystemslib.signer import Signer

    from flashvisor.trust.roles import RoleSigners

ROOT_LIFETIME = timedelta(days=3653)

Role = TypeVar("Role", Root, Timestamp, Snapshot, Targets)


def next_root(
    chain: Sequence[bytes], keys: Mapping[str, RoleSigners], retired: Iterable[Signer], now: datetime
) -> bytes:
    """Returns the root that follows the newest of a chain; version 1 where there is none yet.

    Args:
        chain: Root metadata, version 1 first.
        keys: Each of TUF_ROLES to its signers. Those of root sign.
        retired: Root signers that were rotated out; those that the newest root names sign, too.
        now: The time of signing.

    Raises:
        TooFewSignaturesError: these signers are not enough for the root before, or for the new one.
    """
    before = parse_root(chain[-1]) if chain else None
    root = Root(before.version + 1 if before else 1, expires=expiry(now, ROOT_LIFETIME), consistent_snapshot=True)
    for role, holders in keys.items():
        for signer in holders.signers:
            root.add_key(signer.public_key, role)
        root.roles[role].threshold = holders.threshold
    named = before.roles["root"].keyids if before else []
    outgoing = [signer for signer in retired if signer.public_key.keyid in named]
    data = signed(root, [*outgoing, *keys["root"].signers])
    for judge in (before, root):
        if judge:
            require(judge, "root", data)
    return data


def parse_root(data: bytes) -> Root:
    """Reads a root of the keyring's chain. Its signatures were checked before it came there.

    Raises:
        KeyringDamagedError: it is none.
    """
    try:
        metadata: Metadata[Root] = Metadata.from_bytes(data)
    except RepositoryError as error:
        raise KeyringDamagedError(f"the keyring's root metadata cannot be read: {error}") from error
    return metadata.signed


def signed(content: Role, signers: Iterable[Signer]) -> bytes:
    """Returns metadata with the signatures of all signers."""
    metadata: Metadata[Role] = Metadata(content)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes(JSONSerializer(compact=True))


def require(root: Root, role: str, data: bytes) -> None:
    """Refuses metadata that servers which trust `root` would refuse: it is never published.

    Raises:
        TooFewSignaturesError: fewer signed it than the root demands for the role.
    """
    metadata: Metadata[Root] = Metadata.from_bytes(data)
    try:
        root.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except RepositoryError as error:
        raise TooFewSignaturesError(f"these keys cannot sign {role} metadata: {error}") from error


def expiry(now: datetime, lifetime: timedelta) -> datetime:
    """Returns when something ends that is signed now, in whole seconds UTC, as TUF writes it."""
    return (now.astimezone(UTC) + lifetime).replace(microsecond=0)
