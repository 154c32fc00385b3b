"""The part of a site file that an import becomes, as TOML with its words as comments. Pure.

Owns the text of [image.*] and [guest.*]. Does not own the site file (sitetext.py)::

    text = render(record, wish, lambda image: f"images/{image.file}")
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from flashvisor.errors import CommandLineError
from flashvisor.model.size import UNITS
from flashvisor.transfer.names import NETWORK_LIMIT, disk_name, slug

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from flashvisor.transfer.draft import DiskDraft, GuestDraft, ImportedImage, ImportRecord, NicDraft

COMMENT_LIMIT = 300  # characters


@dataclass(frozen=True)
class Wish:
    """What the site decides: networks by the name that they had elsewhere, and a storage."""

    networks: Mapping[str, str] = field(default_factory=dict)
    storage: str | None = None


def render(record: ImportRecord, wish: Wish, file: Callable[[ImportedImage], str]) -> str:
    """Returns the tables of an import.

    Args:
        record: What was imported.
        wish: Networks and storage of the site.
        file: Gives an image's path as the site file should name it.
    """
    lines = [_comment(f"Imported from {record.source} ({record.source_format}) on {record.imported[:10]}.")]
    lines += [_comment(f"- {note}") for note in record.notes]
    for image in record.images:
        lines += ["", f"[image.{image.name}]", f"file = {_text(file(image))}", f"sha256 = {_text(image.sha256)}"]
    for guest in record.guests:
        lines += ["", *_guest(guest, wish)]
    return "\n".join(lines) + "\n"


def renamed(record: ImportRecord, name: str) -> ImportRecord:
    """Returns an import whose guest, or only image, has another name; the library's files stay as they are.

    Raises:
        CommandLineError: it has several guests.
    """
    if len(record.guests) > 1:
        several = ", ".join(guest.name for guest in record.guests)
        raise CommandLineError(
            f"{record.source} holds several machines: --name cannot name them all",
            next_step=f"Leave --name out; they are called {several}.",
        )
    names = {image.name: disk_name(name, index) for index, image in enumerate(record.images)}
    images = tuple(msgspec.structs.replace(image, name=names[image.name]) for image in record.images)
    guests = tuple(
        msgspec.structs.replace(
            guest,
            name=name,
            disks=tuple(
                msgspec.structs.replace(disk, image=names[disk.image]) if disk.image is not None else disk
                for disk in guest.disks
            ),
        )
        for guest in record.guests
    )
    return msgspec.structs.replace(record, images=images, guests=guests)


def network_names(record: ImportRecord) -> dict[str, str]:
    """Returns for each network that the guests had a name as a site file takes it."""
    names = {nic.network for guest in record.guests for nic in guest.nics}
    return {name: slug(name, limit=NETWORK_LIMIT, otherwise="net") for name in sorted(names)}


def show_exact(size: int) -> str:
    """Returns a size in the largest unit that says it exactly."""
    unit = next(unit for unit in ("TiB", "GiB", "MiB", "KiB", "B") if size % UNITS[unit] == 0)
    return f"{size // UNITS[unit]}{unit}"


def _guest(guest: GuestDraft, wish: Wish) -> Iterator[str]:
    for note in guest.notes:
        yield _comment(f"- {note}")
    yield f"[guest.{guest.name}]"
    yield f"cpus = {guest.cpus}"
    yield f"memory = {_text(show_exact(guest.memory))}"
    yield f"firmware = {_text(guest.firmware)}"
    yield f"profile = {_text(guest.profile)}"
    if wish.storage is not None:
        yield f"storage = {_text(wish.storage)}"
    yield from _array("disks", [_disk(disk) for disk in guest.disks])
    yield from _array("nics", [_nic(nic, wish) for nic in guest.nics])


def _array(key: str, items: list[str]) -> Iterator[str]:
    if len(items) == 1:
        yield f"{key} = [{items[0]}]"
    elif items:
        yield f"{key} = ["
        yield from (f"  {item}," for item in items)
        yield "]"


def _disk(disk: DiskDraft) -> str:
    size = show_exact(disk.size) if disk.size is not None else None
    return _inline({"image": disk.image, "bus": disk.bus, "size": size})


def _nic(nic: NicDraft, wish: Wish) -> str:
    network = wish.networks.get(nic.network) or slug(nic.network, limit=NETWORK_LIMIT, otherwise="net")
    return _inline({"network": network, "mac": nic.mac, "model": nic.model})


def _inline(pairs: Mapping[str, str | None]) -> str:
    return "{ " + ", ".join(f"{key} = {_text(value)}" for key, value in pairs.items() if value is not None) + " }"


def _text(value: str) -> str:
    # JSON's strings are TOML's basic strings; what a site file refuses (controls) is not in names and paths of ours.
    return msgspec.json.encode(value).decode()


def _comment(text: str) -> str:
    """One line of comment, whatever a stranger's descriptor put into it."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return f"# {shown if len(shown) <= COMMENT_LIMIT else shown[:COMMENT_LIMIT] + '…'}"
