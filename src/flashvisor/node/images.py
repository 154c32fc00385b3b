"""The image store on a data disk: one file for each SHA-256, complete or not there.

Owns receiving, recognising and unpacking images. Does not own guests' disks (guestfiles.py)::

    store = ImageStore(Path("/var/lib/flashvisor/storage/main/images"))
    with store.receive(sha256) as incoming:
        for chunk in chunks:
            incoming.write(chunk)
        image = incoming.finish()
    store.boot_files(sha256).kernel
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.api.types import ImageKind
from flashvisor.errors import CommandFailedError, DigestMismatchError, ImageNotUploadedError, NotAnImageError
from flashvisor.guests.domain import DiskFormat
from flashvisor.host import pe, qemu_img
from flashvisor.host.files import need_space, on_disk, sync
from flashvisor.node.storagehealth import comfortable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

SHA256 = re.compile(r"[0-9a-f]{64}")
PART = ".part-"  # begins the name of a file that is still coming in
BOOT = ".boot"  # ends the name of the directory that an appliance's sections are unpacked to
QCOW2_MAGIC = b"QFI\xfb"  # docs/interop/qcow2.rst
GPT_MAGIC = b"EFI PART"  # UEFI 2.10, table 5.5; at byte 512
MBR_MAGIC = b"\x55\xaa"  # at byte 510
HEAD = 520  # bytes that tell all of them
KERNEL, INITRD, CMDLINE = ".linux", ".initrd", ".cmdline"  # UAPI.5
CMDLINE_LIMIT = 4096  # bytes; COMMAND_LINE_SIZE of x86 is 2048
DIRECTORY_MODE = 0o711  # guests' QEMU passes through to its own files, and sees no others
FILE_MODE = 0o644
IMAGE = "the image"  # in errors
MAKE_ROOM = "Make room on the server's storage: `flashvisor node show` says how much there is."


@dataclass(frozen=True)
class StoredImage:
    """An image that the store holds. `format` is what a disk's file holds; None for an appliance. Size in bytes."""

    sha256: str
    path: Path
    size: int
    kind: ImageKind
    format: DiskFormat | None


@dataclass(frozen=True)
class BootFiles:
    """What an appliance starts from; `initrd` is None when it has none."""

    kernel: Path
    initrd: Path | None
    cmdline: str


class Incoming:
    """An image that is coming in. Bytes go to a temporary file beside its place, and through the hash."""

    def __init__(self, store: ImageStore, sha256: str, file: BinaryIO, path: Path) -> None:
        self._store, self._sha256, self._file, self._path = store, sha256, file, path
        self._digest = hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        """Takes the next bytes.

        Raises:
            NoSpaceError, DeviceFaultyError: the disk does not take them.
        """
        self._digest.update(chunk)
        with on_disk(self._store.place, IMAGE, advice=MAKE_ROOM):
            self._file.write(chunk)

    def finish(self) -> StoredImage:
        """Checks and keeps what came.

        Raises:
            DigestMismatchError: it is not what was announced.
            NotAnImageError: it is nothing that a guest starts from.
        """
        got = self._digest.hexdigest()
        if got != self._sha256:
            raise DigestMismatchError(f"expected an image with SHA-256 {self._sha256}, got {got}")
        with on_disk(self._store.place, IMAGE, advice=MAKE_ROOM):
            self._file.flush()
            os.fsync(self._file.fileno())
        recognise(self._path)
        self._path.chmod(FILE_MODE)
        self._path.replace(self._store.place / self._sha256)
        sync(self._store.place)
        return self._store.get(self._sha256)


class ImageStore:
    """The images under one directory."""

    def __init__(self, place: Path) -> None:
        self.place = place

    @contextmanager
    def receive(self, sha256: str, size: int = 0) -> Iterator[Incoming]:
        """Takes an image in. Whatever happens before `finish`, nothing is kept.

        Args:
            sha256: 64 hex digits, announced by the sender.
            size: Bytes announced; 0 if unknown.

        Raises:
            DigestMismatchError: `sha256` is no SHA-256.
            NoSpaceError: the disk has less free than announced, or so little more that guests would have to wait.
            DeviceFaultyError: it cannot be written.
        """
        if not SHA256.fullmatch(sha256):
            raise DigestMismatchError(f"'{sha256}' is not a SHA-256: expected 64 hex digits in lower case")
        need_space(self.place, size, IMAGE, keep=comfortable, advice=MAKE_ROOM)
        with on_disk(self.place, IMAGE, advice=MAKE_ROOM):
            self.place.mkdir(parents=True, exist_ok=True)
            self.place.chmod(DIRECTORY_MODE)
            handle, name = tempfile.mkstemp(dir=self.place, prefix=PART)
        path = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                yield Incoming(self, sha256, file, path)
        finally:
            path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Takes away what a cut of power left half-written."""
        for path in self.place.glob(f"{PART}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def holds(self, sha256: str) -> bool:
        """Tells whether an image is there."""
        return bool(SHA256.fullmatch(sha256)) and (self.place / sha256).is_file()

    def get(self, sha256: str) -> StoredImage:
        """Returns an image.

        Raises:
            ImageNotUploadedError: it is not there.
            NotAnImageError: it is damaged.
        """
        if not self.holds(sha256):
            raise ImageNotUploadedError(f"no image with SHA-256 {sha256} is on this server")
        path = self.place / sha256
        kind, disk_format = recognise(path)
        return StoredImage(sha256=sha256, path=path, size=path.stat().st_size, kind=kind, format=disk_format)

    def digests(self) -> frozenset[str]:
        """Returns the SHA-256s of all images."""
        return frozenset(path.name for path in self.place.glob("*") if SHA256.fullmatch(path.name))

    def boot_files(self, sha256: str) -> BootFiles:
        """Returns an appliance's kernel, initrd and command line, unpacked at the first call.

        Raises:
            ImageNotUploadedError: it is not there.
            NotAnImageError: it is no appliance, or damaged.
        """
        image = self.get(sha256)
        table = pe.sections(image.path) if image.kind is ImageKind.APPLIANCE else {}
        if KERNEL not in table:
            raise NotAnImageError(f"image {sha256} is no appliance: it has no {KERNEL} section")
        place = self.place / f"{sha256}{BOOT}"
        if not place.is_dir():
            self._unpack(image.path, table, place)
        initrd, cmdline = place / INITRD[1:], place / CMDLINE[1:]
        words = cmdline.read_bytes()[:CMDLINE_LIMIT] if cmdline.exists() else b""
        return BootFiles(
            kernel=place / KERNEL[1:],
            initrd=initrd if initrd.exists() else None,
            cmdline=words.rstrip(b"\0 \n").decode("ascii", errors="replace"),
        )

    def _unpack(self, image: Path, table: dict[str, pe.Section], place: Path) -> None:
        half = Path(tempfile.mkdtemp(dir=self.place, prefix=PART))
        try:
            half.chmod(DIRECTORY_MODE)
            for name in (KERNEL, INITRD, CMDLINE):
                if name in table:
                    target = half / name[1:]
                    pe.copy_section(image, table[name], target)
                    target.chmod(FILE_MODE)
                    sync(target)
            # A pulled plug must not leave a directory of empty files that looks whole.
            sync(half)
            half.rename(place)
            sync(self.place)
        finally:
            shutil.rmtree(half, ignore_errors=True)


class Library:
    """The image stores of a site as one: new images go to the first, and are found in any."""

    def __init__(self, stores: Sequence[ImageStore]) -> None:
        self.stores = tuple(stores)

    @property
    def first(self) -> ImageStore:
        """The store that takes uploads."""
        return self.stores[0]

    def digests(self) -> frozenset[str]:
        """Returns the SHA-256s of all images."""
        return frozenset(sha256 for store in self.stores for sha256 in store.digests())

    def get(self, sha256: str) -> StoredImage:
        """Returns an image; raises as `ImageStore.get`."""
        return self._of(sha256).get(sha256)

    def boot_files(self, sha256: str) -> BootFiles:
        """Returns what an appliance starts from; raises as `ImageStore.boot_files`."""
        return self._of(sha256).boot_files(sha256)

    def sweep(self) -> None:
        """Takes away what a cut of power left half-written."""
        for store in self.stores:
            store.sweep()

    def _of(self, sha256: str) -> ImageStore:
        return next((store for store in self.stores if store.holds(sha256)), self.first)


def recognise(path: Path) -> tuple[ImageKind, DiskFormat | None]:
    """Tells what a file is, by its first bytes; a qcow2 image must not read from any other file.

    Raises:
        NotAnImageError: nothing that a guest starts from, or an image that leans on another file.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    if pe.is_pe(head):
        if KERNEL not in pe.sections(path):
            raise NotAnImageError(f"a PE file without a {KERNEL} section is no appliance")
        return ImageKind.APPLIANCE, None
    if head.startswith(QCOW2_MAGIC):
        try:
            other = qemu_img.info(path, kind="qcow2").leans_on()
        except CommandFailedError as error:
            raise NotAnImageError("it begins as a qcow2 image does, and is none", evidence=error.evidence) from error
        if other is not None:
            # Such an image would hand the server's own files to a guest.
            raise NotAnImageError(
                "a qcow2 image must be complete, and this one reads from another file", evidence=other
            )
        return ImageKind.DISK, DiskFormat.QCOW2
    if head[510:512] == MBR_MAGIC or head[512:520] == GPT_MAGIC:
        return ImageKind.DISK, DiskFormat.RAW
    raise NotAnImageError(
        "expected a unified kernel image, a qcow2 image, or a raw disk with a partition table",
        evidence=f"it begins with {head[:16].hex(' ')}",
    )
