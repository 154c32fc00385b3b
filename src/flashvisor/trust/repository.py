"""Makes and updates the owner's TUF repository: a directory that any web server can serve.

Owns the directory's files and which metadata is signed when. Admin side only; verifying is updates.py's business::

    repository = Repository(directory, keys)          # keys: role to RoleSigners, from the owner's keyring
    repository.publish(manifest, pieces, clock.now())
    [release.version for release in releases(directory)]

timestamp.json is written last: until then, a server sees the state before. Source: TUF 1.0.34, sections 4 and 6.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from flashvisor.errors import RollbackError, TooFewSignaturesError, UpdateFileMissingError, UpdateFormatError
from flashvisor.host.files import write_atomic
from flashvisor.model.release import Manifest, chunk_path, decode_manifest, encode_manifest, version_key
from flashvisor.trust.updates import ISSUED, release_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from securesystemslib.signer import Signer

    from flashvisor.model.release import Chunk
    from flashvisor.trust.roles import RoleSigners

LIFETIMES = {  # how long metadata is good for after it was signed
    "root": timedelta(days=3653),
    "targets": timedelta(days=731),
    "snapshot": timedelta(days=366),
    "timestamp": timedelta(days=92),
}

Role = TypeVar("Role", Root, Timestamp, Snapshot, Targets)


class Repository:
    """A repository's directory and the keys to sign it with.

    Args:
        directory: Made by the first publication.
        keys: Each of TUF_ROLES to its signers (`Keyring.tuf_signers`). Root's are needed for the first publication
            and `rotate` only.
    """

    def __init__(self, directory: Path, keys: Mapping[str, RoleSigners]) -> None:
        self.directory = directory
        self.keys = keys

    def publish(self, manifest: Manifest, pieces: Iterable[tuple[Chunk, bytes]], now: datetime) -> None:
        """Adds a release and signs the repository anew.

        Args:
            manifest: The release's manifest.
            pieces: Its chunks with their bytes.
            now: The time of signing.

        Raises:
            RollbackError: a release of this version is published already with another content.
            TooFewSignaturesError: these keys cannot sign what the repository's root demands.
        """
        name = release_path(manifest.name, manifest.version, manifest.flavour)
        data = encode_manifest(manifest)
        target = TargetFile.from_data(name, data, ["sha256"])
        targets = self._targets()
        known = targets.targets.get(name)
        if known is not None and known.hashes != target.hashes:
            raise RollbackError(
                f"{name} is published already, with another content",
                next_step="Give the release a higher version: servers hold on to what they verified.",
            )
        if not (self.directory / "1.root.json").exists():
            self._write("1.root.json", self._root(1, now, ()))
        for chunk, piece in pieces:
            self._write_once(chunk_path(chunk.sha256), piece)
        self._write_once(f"targets/{target.hashes['sha256']}.{name}", data)
        targets.targets[name] = target
        self.refresh(now, targets)

    def refresh(self, now: datetime, targets: Targets | None = None) -> None:
        """Signs targets, snapshot and timestamp anew, each with the next version."""
        root = _read(Root, self.directory / newest_root(self.directory))
        targets = targets or self._targets()
        targets.version, targets.expires = self._next("targets"), _until("targets", now)
        targets_data = self._sign(root, targets)
        version = self._next("snapshot")
        meta = {"targets.json": _meta_file(targets.version, targets_data)}
        snapshot = Snapshot(version, expires=_until("snapshot", now), meta=meta)
        snapshot_data = self._sign(root, snapshot)
        timestamp = Timestamp(
            self._next("timestamp"),
            expires=_until("timestamp", now),
            snapshot_meta=_meta_file(version, snapshot_data),
            unrecognized_fields={ISSUED: int(now.timestamp())},
        )
        timestamp_data = self._sign(root, timestamp)
        self._write(f"{targets.version}.targets.json", targets_data)
        self._write(f"{version}.snapshot.json", snapshot_data)
        self._write("timestamp.json", timestamp_data)

    def rotate(self, old: Sequence[Signer], now: datetime) -> None:
        """Writes the next root, with this object's keys, signed by the old root keys as well; then signs all anew."""
        version = int(newest_root(self.directory).split(".")[0]) + 1
        data = self._root(version, now, old)
        before = _read(Root, self.directory / newest_root(self.directory))
        _check(before, "root", data)
        self._write(f"{version}.root.json", data)
        self.refresh(now)

    def _root(self, version: int, now: datetime, also: Sequence[Signer]) -> bytes:
        root = Root(version, expires=_until("root", now), consistent_snapshot=True)
        for role, holders in self.keys.items():
            for signer in holders.signers:
                root.add_key(signer.public_key, role)
            root.roles[role].threshold = holders.threshold
        metadata = Metadata(root)
        for signer in (*also, *self.keys["root"].signers):
            metadata.sign(signer, append=True)
        data = metadata.to_bytes(JSONSerializer(compact=True))
        _check(root, "root", data)
        return data

    def _sign(self, root: Root, signed: Role) -> bytes:
        metadata: Metadata[Role] = Metadata(signed)
        for signer in self.keys[signed.type].signers:
            metadata.sign(signer, append=True)
        data = metadata.to_bytes(JSONSerializer(compact=True))
        _check(root, signed.type, data)
        return data

    def _targets(self) -> Targets:
        newest = _newest_version(self.directory, "targets")
        return _read(Targets, self.directory / f"{newest}.targets.json") if newest else Targets()

    def _next(self, role: str) -> int:
        if role == "timestamp":
            path = self.directory / "timestamp.json"
            return _read(Timestamp, path).version + 1 if path.exists() else 1
        return _newest_version(self.directory, role) + 1

    def _write_once(self, path: str, data: bytes) -> None:
        if not (self.directory / path).exists():
            self._write(path, data)

    def _write(self, path: str, data: bytes) -> None:
        target = self.directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, data)


def newest_root(directory: Path) -> str:
    """Returns the name of a repository's newest root metadata.

    Raises:
        UpdateFileMissingError: there is none; nothing was published here.
    """
    newest = _newest_version(directory, "root")
    if not newest:
        raise UpdateFileMissingError(f"{directory} is not a release repository: it has no root metadata")
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


def _check(root: Root, role: str, data: bytes) -> None:
    """What servers would refuse is never published."""
    metadata: Metadata[Root] = Metadata.from_bytes(data)
    try:
        root.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except RepositoryError as error:
        raise TooFewSignaturesError(f"these keys cannot sign {role} metadata: {error}") from error


def _meta_file(version: int, data: bytes) -> MetaFile:
    return MetaFile.from_data(version, data, ["sha256"])


def _until(role: str, now: datetime) -> datetime:
    return (now.astimezone(UTC) + LIFETIMES[role]).replace(microsecond=0)
