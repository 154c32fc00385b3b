"""What a guest needs on disk before it starts: unpacked kernel, its own disk, cloud-init's seed.

Owns the way from a site's guest to a `DomainSpec` with everything resolved. Starts nothing. A guest's disk is made
once and then belongs to the guest: a newer image, or a site without the guest, never touches it.

Example::

    spec = prepare(desired, "web", Places(images=library, guests=directory, consoles=run))
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.api.types import ImageKind
from flashvisor.errors import DiskTooSmallError, ImageNotUploadedError, UnknownGuestError
from flashvisor.guests.domain import Bios, DirectKernel, Disk, DiskFormat, DomainSpec, Uefi
from flashvisor.guests.kernelline import address_words, completed
from flashvisor.guests.seed import SEED_LABEL, SeedGuest, seed_files
from flashvisor.host import mtools, qemu_img
from flashvisor.host.files import sync
from flashvisor.model.names import guest_uuid
from flashvisor.model.site import Firmware, OnCrash
from flashvisor.model.size import parse_size, show_size
from flashvisor.node.cards import resolve_cards, seed_cards
from flashvisor.node.guestoverlay import with_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flashvisor.model.site import CloudInit, Guest, Site
    from flashvisor.node.images import BootFiles, Library, StoredImage
    from flashvisor.node.plan import Desired

DIRECTORY_MODE = 0o711  # QEMU's own user passes through
SEED_SIZE = 1 << 20  # bytes
DISK, NVRAM = "disk.qcow2", "nvram.fd"
CONSOLE = "console=ttyS0"  # added to an appliance's command line that names no console


@dataclass(frozen=True)
class Places:
    """Where things are: the images, the directory of the guests' own files, and that of console sockets."""

    images: Library
    guests: Path
    consoles: Path


def prepare(desired: Desired, name: str, places: Places) -> DomainSpec:
    """Makes what is missing of a guest's files, and returns what to start.

    Raises:
        UnknownGuestError: the site has no such guest.
        ImageNotUploadedError: its image is not on this server.
        NotAnImageError: its image is damaged.
        DiskTooSmallError: its disk would be smaller than it may be.
        CommandFailedError: qemu-img or mtools failed.
    """
    site = desired.site
    guest = site.guest.get(name)
    if guest is None:
        raise UnknownGuestError(f"no guest '{name}' is in the server's site")
    ref = desired.images.get(guest.image)
    if ref is None:
        raise ImageNotUploadedError(f"guest.{name}: nothing says which bytes image '{guest.image}' is")
    image = places.images.get(ref.sha256)
    own = places.guests / name
    own.mkdir(parents=True, exist_ok=True)
    for directory in (places.guests, own):
        directory.chmod(DIRECTORY_MODE)
    places.consoles.mkdir(parents=True, exist_ok=True)
    boot: DirectKernel | Bios | Uefi
    if image.kind is ImageKind.APPLIANCE:
        boot = _direct(places.images.boot_files(image.sha256), guest, name, own)
        disks = _data_disk(guest, name, own)
    else:
        boot = Uefi(nvram=str(own / NVRAM)) if guest.firmware is Firmware.UEFI else Bios()
        disks = (_system_disk(guest, name, image, own),)
    return DomainSpec(
        name=name,
        uuid=guest_uuid(site.node.name, name),
        memory=parse_size(guest.memory),
        cpus=guest.cpus,
        boot=boot,
        console_socket=str(places.consoles / f"{name}.sock"),
        disks=disks,
        seed=_seed(guest.cloud_init, site, name, own) if guest.cloud_init else "",
        cards=resolve_cards(site, name),
        keep=guest.on_crash is OnCrash.KEEP,
        agent=guest.probe is not None and guest.probe.agent,
    )


def _direct(files: BootFiles, guest: Guest, name: str, own: Path) -> DirectKernel:
    files = with_files(files, guest.appliance.files if guest.appliance else {}, own)
    words = [] if "console=" in files.cmdline else [CONSOLE]
    cmdline = completed(files.cmdline, [*words, *address_words(guest.appliance, name)])
    return DirectKernel(kernel=str(files.kernel), initrd=str(files.initrd or ""), cmdline=cmdline)


def _system_disk(guest: Guest, name: str, image: StoredImage, own: Path) -> Disk:
    path = own / DISK
    kind = (image.format or DiskFormat.RAW).value
    size = parse_size(guest.disk) if guest.disk else None
    if not path.exists():
        least = qemu_img.info(image.path, kind=kind).virtual_size
        _check_size(name, size, least, "its image")
        _make(path, lambda new: qemu_img.make_overlay(new, base=image.path, base_kind=kind, size=size))
    else:
        _grow(path, name, size)
    return Disk(path=str(path), format=DiskFormat.QCOW2)


def _data_disk(guest: Guest, name: str, own: Path) -> tuple[Disk, ...]:
    """An appliance's root is in its image: a disk is for its data, and blank at first."""
    if guest.disk is None:
        return ()
    path, size = own / DISK, parse_size(guest.disk)
    if not path.exists():
        _make(path, lambda new: qemu_img.make_blank(new, size=size))
    else:
        _grow(path, name, size)
    return (Disk(path=str(path), format=DiskFormat.QCOW2),)


def _grow(path: Path, name: str, size: int | None) -> None:
    now = qemu_img.info(path, kind="qcow2").virtual_size
    if size is not None and size != now:
        _check_size(name, size, now, "it is already")
        qemu_img.grow(path, size=size)


def _check_size(name: str, size: int | None, least: int, what: str) -> None:
    if size is not None and size < least:
        raise DiskTooSmallError(
            f"guest.{name}.disk: expected at least {show_size(least)} ({what}), got {show_size(size)}"
        )


def _make(path: Path, make: Callable[[Path], None]) -> None:
    """A disk is there whole or not at all, whatever happens to the power."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    make(new)
    sync(new)
    new.replace(path)
    sync(path.parent)


def _seed(wish: CloudInit, site: Site, name: str, own: Path) -> str:
    files = seed_files(SeedGuest(name, guest_uuid(site.node.name, name)), wish, seed_cards(site, name))
    digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:12]
    path = own / f"seed-{digest}.img"
    if not path.exists():
        for old in own.glob("seed-*"):
            old.unlink()
        _make(path, lambda new: mtools.make_fat(new, size=SEED_SIZE, label=SEED_LABEL, files=files))
    return str(path)
