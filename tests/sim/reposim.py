"""A repository of releases in memory, signed by one key for all roles, and a source that can stop, lack and lie.

Example::

    image = image_of("1.1")
    source = RepoSim(repository(manifest_of(image, "1.1")))
    source.stop_after = 5             # files, then the connection is cut
    source.files["timestamp.json"]    # may be altered
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

import msgspec
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from flashvisor.errors import ReleaseSourceError
from flashvisor.flash.chunks import cut
from flashvisor.model.release import Flavour, Manifest, Memory, chunk_path, encode_manifest
from flashvisor.node.sources import Source
from flashvisor.trust.updates import ISSUED, release_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from flashvisor.trust.updates import Want

Role = TypeVar("Role", Root, Timestamp, Snapshot, Targets)

NOW = datetime(2026, 11, 24, tzinfo=UTC)
YEAR = timedelta(days=365)
KEY = CryptoSigner.generate_ed25519()
PART = 60_000  # bytes


def image_of(*parts: str) -> bytes:
    """An image of some 60,000 bytes for each part; images that share a part share most of its chunks."""
    return b"".join(hashlib.shake_256(part.encode()).digest(PART) for part in parts)


def manifest_of(image: bytes, version: str, **changes: object) -> Manifest:
    """What describes it: the flavour KVM, no drivers."""
    manifest = Manifest(
        name="flashvisor",
        version=version,
        flavour=Flavour.KVM,
        sha256=hashlib.sha256(image).hexdigest(),
        length=len(image),
        modaliases=(),
        chunks=tuple(chunk for chunk, _ in cut(image)),
    )
    return msgspec.structs.replace(manifest, **changes)


def repository(*releases: tuple[Manifest, bytes]) -> dict[str, bytes]:
    """The files of a repository, by path."""
    files, targets = {}, Targets(1, expires=NOW + YEAR)
    for manifest, image in releases:
        name, data = release_path(manifest.name, manifest.version, manifest.flavour), encode_manifest(manifest)
        targets.targets[name] = TargetFile.from_data(name, data, ["sha256"])
        files[f"targets/{hashlib.sha256(data).hexdigest()}.{name}"] = data
        files |= {chunk_path(chunk.sha256): piece for chunk, piece in cut(image)}
    files["1.targets.json"] = _sign(targets)
    snapshot = Snapshot(1, expires=NOW + YEAR, meta={"targets.json": _meta(files["1.targets.json"])})
    files["1.snapshot.json"] = _sign(snapshot)
    timestamp = Timestamp(
        1,
        expires=NOW + YEAR,
        snapshot_meta=_meta(files["1.snapshot.json"]),
        unrecognized_fields={ISSUED: int(NOW.timestamp())},
    )
    files["timestamp.json"] = _sign(timestamp)
    files["1.root.json"] = ROOT
    return files


def write(files: dict[str, bytes], directory: Path) -> None:
    """Puts a repository on disk."""
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


class RepoSim(Source):
    """A source of these files. `asked` are the paths; after `stop_after` answers the connection is cut."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__()
        self.files = dict(files)
        self.asked: list[str] = []
        self.stop_after: int | None = None

    @property
    def chunks_asked(self) -> list[str]:
        """The chunks among them."""
        return [path for path in self.asked if path.startswith("chunks/")]

    def _answers(self, wants: Iterable[Want]) -> Iterator[bytes | None]:
        for want in wants:
            if self.stop_after is not None and len(self.asked) >= self.stop_after:
                raise ReleaseSourceError("cut", next_step="Try again.")
            self.asked.append(want.path)
            data = self.files.get(want.path)
            yield None if data is None else data[: want.limit + 1]


def _root() -> bytes:
    root = Root(1, expires=NOW + 10 * YEAR, consistent_snapshot=True)
    for role in ("root", "timestamp", "snapshot", "targets"):
        root.add_key(KEY.public_key, role)
    return _sign(root)


def _sign(signed: Role) -> bytes:
    metadata: Metadata[Role] = Metadata(signed)
    metadata.sign(KEY)
    return metadata.to_bytes(JSONSerializer(compact=True))


def _meta(data: bytes) -> MetaFile:
    return MetaFile.from_data(1, data, ["sha256"])


ROOT = _root()
MEMORY = Memory(root=ROOT)
