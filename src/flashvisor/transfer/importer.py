"""Imports a source into the library. May be killed at any point: what was finished is kept, and nothing half is seen.

Owns the order of an import::

    record, fresh = import_source(Order("web.ova"), Library(Path("images")), watch, now)
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flashvisor.errors import CommandLineError, UsageError, WrongChecksumError
from flashvisor.host.files import sha256_file, write_atomic
from flashvisor.transfer.conversion import convert_disk
from flashvisor.transfer.download import URL_FORM, download
from flashvisor.transfer.draft import GuestDraft, ImportedImage, ImportRecord
from flashvisor.transfer.library import key_of
from flashvisor.transfer.names import file_name, is_url, shown
from flashvisor.transfer.sources import open_source, plan_import, verify

if TYPE_CHECKING:
    from datetime import datetime

    from flashvisor.transfer.conversion import Disk
    from flashvisor.transfer.library import Library
    from flashvisor.transfer.sources import Source
    from flashvisor.transfer.watch import Watch

HALF = "half"  # the one directory that qemu-img may write to


@dataclass(frozen=True)
class Order:
    """What to import: a path or URL, under which name ("": its own), its SHA-256 if known, its disk's size if told."""

    source: str
    name: str = ""
    sha256: str | None = None
    capacity: int | None = None


def import_source(order: Order, library: Library, watch: Watch, now: datetime) -> tuple[ImportRecord, bool]:
    """Brings a source into the library.

    Args:
        order: What.
        library: Where to.
        watch: Hears of progress.
        now: For the record.

    Returns:
        Its record, and whether anything was made: False if the library had it.

    Raises:
        UsageError: the source is not taken; nothing of it stays.
        MachineError: this machine could not do it; what was finished stays, and the same order goes on with it.
    """
    if not is_url(order.source):
        return _import_file(order, Path(order.source).expanduser(), library, watch, now)
    if order.sha256 is None:
        raise CommandLineError(
            "a download needs --sha256", next_step="Take it from a place that you trust, not from beside the file."
        )
    try:
        file = file_name(order.source)
    except ValueError as error:
        raise CommandLineError(f"'{order.source}' is no URL", next_step=URL_FORM) from error
    known = library.find(order.sha256)
    if known is not None:
        return known, False
    with library.working(f"{key_of(order.sha256)}-download") as work:
        target = work / file
        try:
            download(order.source, target, order.sha256, watch)
            result = _import_file(order, target, library, watch, now)
        except CommandLineError:
            raise  # the file is good, and need not be fetched again
        except UsageError:
            shutil.rmtree(work)
            raise
        shutil.rmtree(work)
    return result


def _import_file(order: Order, path: Path, library: Library, watch: Watch, now: datetime) -> tuple[ImportRecord, bool]:
    source = open_source(path, watch)
    if order.sha256 is not None and source.file_sha256 != order.sha256:
        raise WrongChecksumError(f"{path} has the SHA-256 {source.file_sha256}: expected {order.sha256}")
    known = library.find(source.sha256)
    if known is not None:
        return known, False
    with library.working(key_of(source.sha256)) as work:
        known = library.find(source.sha256)  # somebody else was quicker
        if known is not None:
            shutil.rmtree(work)
            return known, False
        try:
            return _make(order, source, library, work, watch, now), True
        except UsageError:
            shutil.rmtree(work)
            raise


def _make(order: Order, source: Source, library: Library, work: Path, watch: Watch, now: datetime) -> ImportRecord:
    plan = plan_import(source, order.name, order.source)
    verify(source, watch)
    base = f"{plan.name}-{key_of(source.sha256)}"
    images, notes, parts = [], list(plan.notes), []
    for index, (name, disk) in enumerate(plan.images.items()):
        file = f"{base}{f'-{index + 1}' if index else ''}.qcow2"
        part = work / f"{index}.qcow2"
        wanted = disk if order.capacity is None else replace(disk, capacity=order.capacity)
        image, said = _image(name, file, wanted, part, watch)
        images.append(image)
        notes += [f"{disk.name}: {note}" for note in said]
        parts.append(part)
    record = ImportRecord(
        name=base,
        source=shown(order.source),
        source_format=source.kind.value,
        source_sha256=source.sha256,
        imported=now.isoformat(timespec="seconds"),
        images=tuple(images),
        guests=tuple(_sized(guest, images) for guest in plan.guests),
        notes=tuple(notes),
    )
    library.keep(record, work, parts)
    return record


class _Finished(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of a disk that is converted while others are not."""

    image: ImportedImage
    notes: tuple[str, ...]


def _image(name: str, file: str, disk: Disk, part: Path, watch: Watch) -> tuple[ImportedImage, tuple[str, ...]]:
    """Converts a disk to `part`, or finds that an earlier try has done it."""
    note = part.with_suffix(".json")
    with suppress(OSError, msgspec.DecodeError):
        finished = msgspec.json.decode(note.read_bytes(), type=_Finished)
        if part.stat().st_size == finished.image.size:
            return msgspec.structs.replace(finished.image, name=name, file=file), finished.notes
    half = part.parent / HALF
    if half.exists():
        shutil.rmtree(half)
    half.mkdir()
    unpacked = part.parent / "unpacked"
    try:
        facts = convert_disk(disk, unpacked, half / part.name, watch)
    finally:
        unpacked.unlink(missing_ok=True)
    (half / part.name).replace(part)
    with watch(f"reading back {name}", part.stat().st_size) as advance:
        sha256 = sha256_file(part, advance)
    image = ImportedImage(
        name=name,
        file=file,
        member=disk.name,
        format=facts.kind.value,
        virtual_size=facts.virtual_size,
        size=part.stat().st_size,
        sha256=sha256,
    )
    write_atomic(note, msgspec.json.encode(_Finished(image=image, notes=facts.notes)))
    return image, facts.notes


def _sized(guest: GuestDraft, images: list[ImportedImage]) -> GuestDraft:
    """Leaves out the sizes of disks that are as large as their image."""
    sizes = {image.name: image.virtual_size for image in images}
    disks = [
        msgspec.structs.replace(disk, size=None)
        if disk.image is not None and (disk.size or 0) <= sizes[disk.image]
        else disk
        for disk in guest.disks
    ]
    return msgspec.structs.replace(guest, disks=tuple(disks))
