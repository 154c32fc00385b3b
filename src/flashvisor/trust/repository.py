"""Makes and updates the owner's TUF repository: a directory that any web server can serve.

Owns the directory's files and which metadata is signed when. The roots are the keyring's (rootchain.py). Admin side
only; verifying is updates.py's business::

    repository = Repository(directory, keyring.tuf_keys(), keyring.roots)
    repository.publish(manifest, pieces, clock.now())
    repository.refresh(clock.now())                   # before expiries(directory)["timestamp"]
    [release.version for release in releases(directory)]

timestamp.json is written last: until then, a server sees the state before. Only after keys were rotated, one that
comes between the first and the last file refuses what it sees, and takes it when it comes again. Two publications at
once into one directory come after each other. Source: TUF 1.0.34, sections 4 and 6.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from flashvisor.errors import ExpiredError, RollbackError, RootChainError, UpdateFileMissingError, UpdateFormatError
from flashvisor.host.files import write_atomic
from flashvisor.host.locks import exclusive
from flashvisor.model.release import Manifest, chunk_path, decode_manifest, encode_manifest, version_key
from flashvisor.trust.rootchain import expiry, parse_root, require, signed
from flashvisor.trust.updates import ISSUED, release_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from flashvisor.model.release import Chunk
    from flashvisor.trust.roles import RoleSigners

LIFETIMES = {  # how long metadata is good for after it was signed; a root: rootchain.ROOT_LIFETIME
    "targets": timedelta(days=731),
    "snapshot": timedelta(days=366),
    "timestamp": timedelta(days=92),
}
TIMESTAMP = "timestamp.json"
LOCK = ".lock"  # held while the directory is written

Role = TypeVar("Role", Root, Timestamp, Snapshot, Targets)


class Repository:
    """A repository's directory, the keys to sign it with, and the roots that name these keys.

    Args:
        directory: Made by the first publication.
        keys: Each of TUF_ROLES to its signers (`Keyring.tuf_keys`). Root's are not needed.
        roots: The chain of root metadata, version 1 first (`Keyring.roots`).
    """

    def __init__(self, directory: Path, keys: Mapping[str, RoleSigners], roots: Sequence[bytes]) -> None:
        self.directory = directory
        self.keys = keys
        self.roots = roots

    def publish(self, manifest: Manifest, pieces: Iterable[tuple[Chunk, bytes]], now: datetime) -> None:
        """Adds a release and signs the repository anew.

        Args:
            manifest: The release's manifest.
            pieces: Its chunks with their bytes.
            now: The time of signing.

        Raises:
            RollbackError: a release of this version is published already with another content.
            TooFewSignaturesError: these keys cannot sign what the newest root demands.
            UpdateFormatError: servers would not take this manifest.
            ExpiredError, RootChainError: as `refresh` raises them.
        """
        name = release_path(manifest.name, manifest.version, manifest.flavour)
        data = encode_manifest(manifest)
        decode_manifest(data)
        target = TargetFile.from_data(name, data, ["sha256"])
        with exclusive(self.directory / LOCK):
            self._check_roots()
            targets = self._targets()
            known = targets.targets.get(name)
            if known is not None and known.hashes != target.hashes:
                raise RollbackError(
                    f"{name} is published already, with another content",
                    next_step="Give the release a higher --version: servers hold on to what they verified.",
                )
            for chunk, piece in pieces:
                self._keep(chunk_path(chunk.sha256), piece)
            self._keep(f"targets/{target.hashes['sha256']}.{name}", data)
            targets.targets[name] = target
            self._sign(targets, now)

    def refresh(self, now: datetime) -> None:
        """Signs targets, snapshot and timestamp anew, each with the next version, after all roots of the chain.

        Raises:
            UpdateFileMissingError: nothing was published here.
            RootChainError: the roots in the directory are not those of the chain.
            ExpiredError: the newest root has expired.
            TooFewSignaturesError: these keys cannot sign what it demands.
        """
        newest_root(self.directory)
        with exclusive(self.directory / LOCK):
            self._check_roots()
            self._sign(self._targets(), now)

    def _check_roots(self) -> None:
        """Holds the directory's roots to be the beginning of the chain: servers follow one chain, and never back."""
        for number in range(1, _newest_version(self.directory, "root") + 1):
            path = self.directory / f"{number}.root.json"
            if number > len(self.roots):
                raise RootChainError(
                    f"{self.directory} has root version {number}, and the keyring knows {len(self.roots)}",
                    next_step="Restore the keyring's newest backup: this one was made before its last rotation.",
                )
            if path.exists() and path.read_bytes() != self.roots[number - 1]:
                raise RootChainError(
                    f"{path} is not root version {number} of this keyring",
                    next_step="Name the keyring that published here in FLASHVISOR_KEYS, or another directory.",
                )

    def _sign(self, targets: Targets, now: datetime) -> None:
        root = parse_root(self.roots[-1])
        if now >= root.expires:
            raise ExpiredError(
                f"root version {root.version} expired at {root.expires:%Y-%m-%d %H:%M} UTC",
                next_step="Make the next one with `flashvisor keys rotate tuf-root`, then try again.",
            )
        targets.version, targets.expires = self._next("targets"), expiry(now, LIFETIMES["targets"])
        targets_data = self._signed(root, targets)
        version = self._next("snapshot")
        meta = {"targets.json": _meta_file(targets.version, targets_data)}
        snapshot = Snapshot(version, expires=expiry(now, LIFETIMES["snapshot"]), meta=meta)
        snapshot_data = self._signed(root, snapshot)
        timestamp = Timestamp(
            self._next("timestamp"),
            expires=expiry(now, LIFETIMES["timestamp"]),
            snapshot_meta=_meta_file(version, snapshot_data),
            unrecognized_fields={ISSUED: int(now.timestamp())},
        )
        timestamp_data = self._signed(root, timestamp)
        for number, data in enumerate(self.roots, 1):
            self._keep(f"{number}.root.json", data)
        self._write(f"{targets.version}.targets.json", targets_data)
        self._write(f"{version}.snapshot.json", snapshot_data)
        self._write(TIMESTAMP, timestamp_data)

    def _signed(self, root: Root, content: Role) -> bytes:
        data = signed(content, self.keys[content.type].signers)
        require(root, content.type, data)
        return data

    def _targets(self) -> Targets:
        newest = _newest_version(self.directory, "targets")
        return _read(Targets, self.directory / f"{newest}.targets.json") if newest else Targets()

    def _next(self, role: str) -> int:
        if role == "timestamp":
            path = self.directory / TIMESTAMP
            return _read(Timestamp, path).version + 1 if path.exists() else 1
        return _newest_version(self.directory, role) + 1

    def _keep(self, path: str, data: bytes) -> None:
        """Writes a file whose name stands for its content: where it is already, it is left alone unless it rotted."""
        target = self.directory / path
        if not (target.exists() and target.read_bytes() == data):
            self._write(path, data)

    def _write(self, path: str, data: bytes) -> None:
        target = self.directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, data)


def expiries(directory: Path) -> dict[str, datetime]:
    """Returns until when a repository's metadata is good, by TUF role.

    Raises:
        UpdateFileMissingError: nothing was published here, or a file is gone.
        UpdateFormatError: a file is not what its name says.
    """
    root = newest_root(directory)
    targets, snapshot = (f"{_newest_version(directory, role)}.{role}.json" for role in ("targets", "snapshot"))
    return {
        "root": _read(Root, directory / root).expires,
        "targets": _read(Targets, directory / targets).expires,
        "snapshot": _read(Snapshot, directory / snapshot).expires,
        "timestamp": _read(Timestamp, directory / TIMESTAMP).expires,
    }


def newest_root(directory: Path) -> str:
    """Returns the name of a repository's newest root metadata.

    Raises:
        UpdateFileMissingError: there is none; nothing was published here.
    """
    newest = _newest_version(directory, "root")
    if not newest:
        raise UpdateFileMissingError(
            f"{directory} is not a release repository: it has no root metadata",
            next_step="Name another directory; `flashvisor release publish DIR` makes one.",
        )
    return f"{newest}.root.json"


def releases(directory: Path) -> list[Manifest]:
    """Returns what was published in a directory, oldest version first. Signatures are not checked: servers do that.

    Raises:
        UpdateFileMissingError: nothing was published here, or a manifest is gone.
        UpdateFormatError: a file is not what its name says.
    """
    newest_root(directory)
    newest = _newest_version(directory, "targets")
    targets = _read(Targets, directory / f"{newest}.targets.json")
    found = []
    for name, target in targets.targets.items():
        path = directory / "targets" / f"{target.hashes['sha256']}.{name}"
        found.append(decode_manifest(_bytes(path)))
    return sorted(found, key=lambda manifest: (manifest.name, manifest.flavour.value, version_key(manifest.version)))


def _newest_version(directory: Path, role: str) -> int:
    heads = [path.name.split(".")[0] for path in directory.glob(f"*.{role}.json")]
    return max((int(head) for head in heads if head.isdecimal()), default=0)


def _read(role: type[Role], path: Path) -> Role:
    try:
        metadata: Metadata[Role] = Metadata.from_bytes(_bytes(path))
    except RepositoryError as error:
        raise UpdateFormatError(f"{path} is not TUF metadata: {error}") from error
    if not isinstance(metadata.signed, role):
        raise UpdateFormatError(f"{path}: expected {role.type} metadata, got {metadata.signed.type}")
    return metadata.signed


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UpdateFileMissingError(f"there is no {path}") from error


def _meta_file(version: int, data: bytes) -> MetaFile:
    return MetaFile.from_data(version, data, ["sha256"])
