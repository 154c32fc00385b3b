"""Verifies updates: bytes in, a verified release or an error out. No file, socket or clock inside.

Owns the order in which TUF metadata is read and every check on it. `verify` is a generator: it asks for one file at
a time and is sent its bytes, or None if there is no such file; `drive` does that with a function::

    verdict = drive(verify(memory, Clocks(wall=clock.wall(), built=image_time), Wish("flashvisor", Flavour.KVM)), fetch)
    ring.append(RecordKind.TRUST, encode(verdict.memory), cause="update")
    check_chunk(chunk, data)

Time: what expires is judged at `Clocks.reference`. Signed times of issue bound it from below, so that a clock that is
slow cannot bring back what has expired. A clock that is fast can only refuse; the owner who pushes over the
authenticated API gives the time, and the server's own clock is not asked. No clock's time is ever remembered.

Source: The Update Framework 1.0.34, section 5 (client workflow).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import msgspec
from tuf.api.exceptions import LengthOrHashMismatchError, RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError, SerializationError

from flashvisor.errors import (
    EndlessDataError,
    ExpiredError,
    FreezeError,
    MixAndMatchError,
    NoSuchReleaseError,
    RollbackError,
    RootChainError,
    TooFewSignaturesError,
    UpdateFileMissingError,
    UpdateFormatError,
    WrongHashError,
)
from flashvisor.model.release import Chunk, Flavour, Manifest, Memory, decode_manifest, version_key

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

ROOT_LIMIT = 65_536  # bytes, as are all below
TIMESTAMP_LIMIT = 16_384
SNAPSHOT_LIMIT = 16_384
TARGETS_LIMIT = 1_048_576
MANIFEST_LIMIT = 4_194_304
ROOTS_LIMIT = 256  # root versions taken in one go
ISSUED = "x-flashvisor-issued"  # signed field of timestamp metadata: seconds since 1970 UTC

Role = TypeVar("Role", Root, Timestamp, Snapshot, Targets)
Named = TypeVar("Named", Snapshot, Targets)  # roles whose metadata another role names


@dataclass(frozen=True)
class Want:
    """A file that verification needs: its path in the repository, and how many bytes it may have."""

    path: str
    limit: int


@dataclass(frozen=True)
class Wish:
    """The release wanted: the newest of its name and flavour, or the one of this version, which may be older."""

    name: str
    flavour: Flavour
    version: str = ""


@dataclass(frozen=True)
class Clocks:
    """What is known of the time, in seconds since 1970 UTC.

    Args:
        wall: This server's own clock.
        built: When the running image was built.
        told: The time of the authenticated owner who pushes the update; then `wall` is not asked.
    """

    wall: float
    built: float
    told: float | None = None

    def reference(self, issued: float) -> float:
        """Returns the time at which expiry is judged: never before the build or the newest signed time of issue."""
        return max(self.wall if self.told is None else self.told, self.built, issued)


@dataclass(frozen=True)
class VerifiedRelease:
    """A release that the owner's keys vouch for, and what to remember from now on."""

    manifest: Manifest
    memory: Memory


def verify(memory: Memory, clocks: Clocks, wish: Wish) -> Generator[Want, bytes | None, VerifiedRelease]:
    """Verifies what a repository offers.

    Yields:
        Each file wanted; to be sent its bytes (at most one more than its limit need be read), or None.

    Returns:
        The release and the new memory. On an error the old memory stays.

    Raises:
        TrustError: one of FV-TRUST-101 to 111.
    """
    root, root_data = yield from _roots(memory)
    known = _recovered(memory, root)
    data = yield from _ask("timestamp.json", TIMESTAMP_LIMIT)
    timestamp = _signed(Timestamp, data, root, "timestamp.json")
    issued = _issued(timestamp)
    now = clocks.reference(max(known.issued, issued))
    _check_expiry(root.expires, now, ExpiredError, "root metadata")
    _not_older("timestamp", timestamp.version, known.timestamp)
    _check_expiry(timestamp.expires, now, FreezeError, "timestamp.json")
    snapshot = yield from _snapshot(root, timestamp, known, now)
    targets = yield from _targets(root, snapshot, known, now)
    manifest = yield from _manifest(targets, wish, known)
    newest = max(known.release, manifest.version, key=version_key)
    return VerifiedRelease(
        manifest,
        Memory(
            root=root_data,
            timestamp=timestamp.version,
            snapshot=snapshot.version,
            targets=targets.version,
            issued=max(known.issued, issued),
            release=newest,
        ),
    )


def drive(
    course: Generator[Want, bytes | None, VerifiedRelease], fetch: Callable[[Want], bytes | None]
) -> VerifiedRelease:
    """Runs a verification to its end; `fetch` returns a file's bytes, or None if there is no such file."""
    try:
        want = next(course)
        while True:
            want = course.send(fetch(want))
    except StopIteration as done:
        verdict: VerifiedRelease = done.value
        return verdict


def check_chunk(chunk: Chunk, data: bytes) -> None:
    """Checks a downloaded chunk against a verified manifest.

    Raises:
        EndlessDataError: it is longer than signed.
        WrongHashError: it is not the chunk that was signed.
    """
    if len(data) > chunk.length:
        raise EndlessDataError(f"chunk {chunk.sha256} has more than {chunk.length} bytes")
    got = hashlib.sha256(data).hexdigest()
    if got != chunk.sha256 or len(data) != chunk.length:
        raise WrongHashError(f"expected chunk {chunk.sha256} ({chunk.length} bytes), got {got} ({len(data)} bytes)")


def _ask(path: str, limit: int) -> Generator[Want, bytes | None, bytes]:
    data = yield Want(path, limit)
    if data is None:
        raise UpdateFileMissingError(f"the repository has no {path}")
    _fits(path, data, limit)
    return data


def _fits(path: str, data: bytes, limit: int) -> None:
    if len(data) > limit:
        raise EndlessDataError(f"{path} has more than the {limit} bytes that it may have")


def _roots(memory: Memory) -> Generator[Want, bytes | None, tuple[Root, bytes]]:
    """Follows the chain of roots from the trusted one to the newest (5.3). Those in between may have expired."""
    data = memory.root
    trusted = _parse(Root, data, "the trusted root").signed
    root = _signed(Root, data, trusted, "the trusted root")
    for _ in range(ROOTS_LIMIT):
        path = f"{root.version + 1}.root.json"
        offered = yield Want(path, ROOT_LIMIT)
        if offered is None:
            break
        _fits(path, offered, ROOT_LIMIT)
        new = _signed(Root, offered, root, path)
        if new.version != root.version + 1:
            raise RootChainError(f"{path}: expected root version {root.version + 1}, got {new.version}")
        root, data = _signed(Root, offered, new, path), offered
    return root, data


def _recovered(memory: Memory, root: Root) -> Memory:
    """Forgets versions that keys signed which the owner has withdrawn since (5.3.11, fast-forward attack)."""
    old = _parse(Root, memory.root, "the trusted root").signed
    changed = {role for role in ("timestamp", "snapshot") if set(old.roles[role].keyids) - set(root.roles[role].keyids)}
    if not changed:
        return memory
    return msgspec.structs.replace(memory, timestamp=0, snapshot=0, targets=0, issued=0)


def _snapshot(root: Root, timestamp: Timestamp, memory: Memory, now: float) -> Generator[Want, bytes | None, Snapshot]:
    meta = timestamp.snapshot_meta
    _not_older("snapshot", meta.version, memory.snapshot)
    return (yield from _named(Snapshot, meta, "timestamp.json", SNAPSHOT_LIMIT, root, now))


def _targets(root: Root, snapshot: Snapshot, memory: Memory, now: float) -> Generator[Want, bytes | None, Targets]:
    meta = snapshot.meta.get("targets.json")
    if meta is None:
        raise MixAndMatchError(f"snapshot version {snapshot.version} does not name targets.json")
    _not_older("targets", meta.version, memory.targets)
    return (yield from _named(Targets, meta, "the snapshot", TARGETS_LIMIT, root, now))


def _named(
    kind: type[Named], meta: MetaFile, by: str, limit: int, root: Root, now: float
) -> Generator[Want, bytes | None, Named]:
    """Asks for a role's metadata that another role's names, and holds it to that."""
    path = f"{meta.version}.{kind.type}.json"
    data = yield from _ask(path, min(meta.length or limit, limit))
    _belongs(meta, data, path, by)
    found = _signed(kind, data, root, path)
    _same_version(path, found.version, meta.version)
    _check_expiry(found.expires, now, ExpiredError, path)
    return found


def _manifest(targets: Targets, wish: Wish, memory: Memory) -> Generator[Want, bytes | None, Manifest]:
    version = wish.version or _newest(targets, wish)
    if not wish.version and version_key(version) < version_key(memory.release):
        raise RollbackError(f"the newest release offered is {version}, and {memory.release} was verified before")
    path = release_path(wish.name, version, wish.flavour)
    target = targets.targets.get(path)
    if target is None:
        raise NoSuchReleaseError(f"the repository has no release {wish.name} {version} for {wish.flavour.value}")
    stored = f"targets/{target.hashes.get('sha256', '')}.{path}"
    data = yield from _ask(stored, min(target.length, MANIFEST_LIMIT))
    try:
        target.verify_length_and_hashes(data)
    except LengthOrHashMismatchError as error:
        raise WrongHashError(f"{stored}: {error}") from error
    manifest = decode_manifest(data)
    if release_path(manifest.name, manifest.version, manifest.flavour) != path:
        raise MixAndMatchError(f"{stored} describes {manifest.name} {manifest.version} for {manifest.flavour.value}")
    return manifest


def release_path(name: str, version: str, flavour: Flavour) -> str:
    """Returns the name of a release's manifest among the targets."""
    return f"{name}_{version}_{flavour.value}.json"


def _newest(targets: Targets, wish: Wish) -> str:
    head, tail = f"{wish.name}_", f"_{wish.flavour.value}.json"
    names = [name for name in targets.targets if name.startswith(head) and name.endswith(tail)]
    versions = [name.removeprefix(head).removesuffix(tail) for name in names]
    numbered = [version for version in versions if all(part.isdecimal() for part in version.split("."))]
    if not numbered:
        raise NoSuchReleaseError(f"the repository has no release {wish.name} for {wish.flavour.value}")
    return max(numbered, key=version_key)


def _parse(role: type[Role], data: bytes, path: str) -> Metadata[Role]:
    try:
        metadata: Metadata[Role] = Metadata.from_bytes(data)
    except DeserializationError as error:
        raise UpdateFormatError(f"{path} is not TUF metadata: {error.__cause__ or error}") from error
    if not isinstance(metadata.signed, role):
        raise UpdateFormatError(f"{path}: expected {role.type} metadata, got {metadata.signed.type}")
    return metadata


def _signed(role: type[Role], data: bytes, root: Root, path: str) -> Role:
    """Returns metadata that enough of the keys which `root` names for its role have signed."""
    metadata = _parse(role, data, path)
    try:
        root.verify_delegate(role.type, metadata.signed_bytes, metadata.signatures)
    except UnsignedMetadataError as error:
        raise TooFewSignaturesError(f"{path}: {error}") from error
    except (RepositoryError, SerializationError, ValueError) as error:
        raise UpdateFormatError(f"{path} cannot be verified: {error}") from error
    return metadata.signed


def _issued(timestamp: Timestamp) -> int:
    issued = timestamp.unrecognized_fields.get(ISSUED)
    if not isinstance(issued, int) or isinstance(issued, bool) or not 0 <= issued <= timestamp.expires.timestamp():
        raise UpdateFormatError(f"timestamp.json: {ISSUED} must be a time before it expires, got {issued!r}")
    return issued


def _not_older(role: str, version: int, known: int) -> None:
    if version < known:
        raise RollbackError(f"expected {role} version {known} or newer, got {version}")


def _same_version(path: str, got: int, expected: int) -> None:
    if got != expected:
        raise MixAndMatchError(f"{path}: expected version {expected}, got {got}")


def _belongs(meta: MetaFile, data: bytes, path: str, namer: str) -> None:
    try:
        meta.verify_length_and_hashes(data)
    except LengthOrHashMismatchError as error:
        raise MixAndMatchError(f"{path} is not the file that {namer} names: {error}") from error


def _check_expiry(expires: datetime, now: float, error: type[FreezeError | ExpiredError], what: str) -> None:
    if now >= expires.timestamp():
        judged = datetime.fromtimestamp(now, tz=UTC)
        raise error(f"{what} expired at {expires:%Y-%m-%d %H:%M} UTC, and it is {judged:%Y-%m-%d %H:%M} UTC or later")
