"""What an import starts from: one disk image, or an appliance with its descriptor; opened, named, told apart.

Owns the way from a local file to the list of disks and guests to be made. Converts nothing (conversion.py)::

    source = open_source(Path("web.ova"), watch)
    source.sha256                     # of all that it consists of
    plan = plan_import(source, "")    # disks with their names, and guests
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from flashvisor.errors import CommandLineError
from flashvisor.transfer.archive import Package, open_ova, open_ovf
from flashvisor.transfer.conversion import Disk
from flashvisor.transfer.formats import COMPRESSED, Kind, detect
from flashvisor.transfer.hardware import draft_guest, section_notes
from flashvisor.transfer.manifest import read_manifest, verify_files
from flashvisor.transfer.names import disk_name, plain_name, shown, slug, unique
from flashvisor.transfer.ovf import LIMIT, Envelope, parse_ovf
from flashvisor.transfer.region import Region

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.transfer.draft import GuestDraft
    from flashvisor.transfer.watch import Advance, Watch


@dataclass(frozen=True)
class Source:
    """A local source: what it is, the SHA-256 of its file, and of an appliance the files and the descriptor."""

    region: Region
    kind: Kind
    file_sha256: str
    sha256: str
    package: Package | None = None
    envelope: Envelope | None = None


@dataclass(frozen=True)
class Plan:
    """What an import makes: images by name, guests that use them, and words."""

    name: str
    images: dict[str, Disk]
    guests: tuple[GuestDraft, ...] = ()
    notes: tuple[str, ...] = ()


def open_source(path: Path, watch: Watch) -> Source:
    """Reads a source once, for its SHA-256; of an appliance, its descriptor too.

    Raises:
        UnreadableFileError: there is no such file.
        UnknownFormatError: it cannot be imported.
        ArchivePathError, ArchiveMemberError, TruncatedImageError: an archive is not to be trusted.
        XmlEntityError, OvfError, MissingDiskError: a descriptor is not, or names what is not there.
    """
    region = Region.of(path)
    kind = detect(region)
    package = open_ova(region) if kind is Kind.OVA else open_ovf(region) if kind is Kind.OVF else None
    envelope = None
    if package is not None:
        descriptor = package.member(package.descriptor)
        envelope = parse_ovf(descriptor.read(0, LIMIT + 1), package.descriptor)
    with watch(f"reading {path.name}", region.size) as advance:
        file_sha256 = _sha256(region, advance)
    sha256 = file_sha256
    if kind is Kind.OVF and package is not None and envelope is not None:
        sha256 = _of_all(file_sha256, package, envelope, watch)
    return Source(region, kind, file_sha256, sha256, package, envelope)


def plan_import(source: Source, name: str, original: str) -> Plan:
    """Returns what to make.

    Args:
        source: From `open_source`.
        name: Asked for; "" takes the machine's, or the file's.
        original: The path or URL, for a name and for messages.

    Raises:
        CommandLineError: one name was asked for, and there are several machines.
        OvfError, MissingDiskError, ArchivePathError: the descriptor cannot be carried out.
    """
    if source.package is None or source.envelope is None:
        chosen = name or plain_name(original)
        file = shown(source.region.path.name)
        return Plan(chosen, {chosen: Disk(source.region, file, compressed=source.kind in COMPRESSED)})
    return _plan_package(source.package, source.envelope, name)


def verify(source: Source, watch: Watch) -> None:
    """Compares an appliance's files with its manifest, if it has one.

    Raises:
        ManifestError: one differs.
    """
    if source.package is None:
        return
    wanted = read_manifest(source.package)
    total = sum(source.package.member(name).size for name in wanted)
    if wanted:
        with watch(f"comparing {source.region.path.name} with its manifest", total) as advance:
            verify_files(source.package, wanted, advance)


def _plan_package(package: Package, envelope: Envelope, name: str) -> Plan:
    if name and len(envelope.systems) > 1:
        several = ", ".join(system.name for system in envelope.systems)
        raise CommandLineError(
            f"{package.place.name} holds several machines: --name cannot name them all",
            next_step=f"Leave --name out; they are called {several}.",
        )
    images: dict[str, Disk] = {}
    by_disk: dict[str, str] = {}
    guests: list[GuestDraft] = []
    for system in envelope.systems:
        chosen = unique(name or slug(system.name), {guest.name for guest in guests})
        draft = draft_guest(system, envelope.disks, name=chosen)
        for index, disk in enumerate(draft.disks):
            if disk.image is not None and disk.image not in by_disk:
                by_disk[disk.image] = unique(disk_name(chosen, index), set(images))
                images[by_disk[disk.image]] = _disk(package, envelope, disk.image)
        disks = [
            msgspec.structs.replace(disk, image=by_disk[disk.image] if disk.image else None) for disk in draft.disks
        ]
        guests.append(msgspec.structs.replace(draft, disks=tuple(disks)))
    return Plan(guests[0].name, images, tuple(guests), tuple(section_notes(envelope.sections)))


def _disk(package: Package, envelope: Envelope, disk: str) -> Disk:
    declared = envelope.disks[disk]
    if declared.file is None:
        raise RuntimeError("only disks that have a file become images")
    region = package.member(declared.file.href)
    return Disk(region, declared.file.href, compressed=bool(declared.file.compression), capacity=declared.capacity)


def _of_all(descriptor: str, package: Package, envelope: Envelope, watch: Watch) -> str:
    """One SHA-256 for a descriptor and the files of its disks."""
    lines = [descriptor]
    for name in sorted({disk.file.href for disk in envelope.disks.values() if disk.file is not None}):
        region = package.member(name)
        with watch(f"reading {name}", region.size) as advance:
            lines.append(f"{_sha256(region, advance)}  {name}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _sha256(region: Region, advance: Advance) -> str:
    digest = hashlib.sha256()
    for chunk in region.chunks():
        digest.update(chunk)
        advance(len(chunk))
    return digest.hexdigest()
