"""qemu-img: disk images. Source: qemu-img(1).

Example::

info(Path("debian.qcow2"))           # ImageInfo(kind="qcow2", virtual_size=...)
make_overlay(Path("disk.qcow2"), base=Path("debian.qcow2"), base_kind="qcow2", size=8 * GIB)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flashvisor.host.run import run

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT = 120.0  # seconds
CONVERT_TIMEOUT = 900.0  # seconds; every byte is read and compressed


class _Data(msgspec.Struct, frozen=True):
    file: str | None = msgspec.field(default=None, name="data-file")


class _Specific(msgspec.Struct, frozen=True):
    data: _Data = _Data()


class ImageInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What `qemu-img info` tells; sizes in bytes."""

    kind: str = msgspec.field(name="format")
    virtual_size: int = msgspec.field(name="virtual-size")
    backing: str | None = msgspec.field(default=None, name="backing-filename")
    specific: _Specific = msgspec.field(default=_Specific(), name="format-specific")

    def leans_on(self) -> str | None:
        """Returns the other file that this image reads its data from, if it names one."""
        return self.backing or self.specific.data.file


def version() -> str:
    """Returns the first line of `qemu-img --version`.

    Raises:
        ToolMissingError: qemu-img is not installed.
    """
    return run(["qemu-img", "--version"]).stdout.partition("\n")[0]


def info(path: Path, *, kind: str) -> ImageInfo:
    """Returns what an image is. The format is given, never guessed: a guest writes its disk's first bytes.

    Raises:
        CommandFailedError: it is not such an image.
    """
    text = run(["qemu-img", "info", "-f", kind, "--output=json", path], timeout=TIMEOUT).stdout
    return msgspec.json.decode(text, type=ImageInfo)


def make_overlay(path: Path, *, base: Path, base_kind: str, size: int | None) -> None:
    """Makes a qcow2 image that holds only what differs from its base.

    Args:
        path: The new image.
        base: What it leans on; read only from now on.
        base_kind: "qcow2" or "raw".
        size: Bytes that the guest sees; the base's own size if None.

    Raises:
        CommandFailedError: the base is no such image, or there is no space.
    """
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", base_kind, "-b", str(base), str(path)]
    run([*argv, *([str(size)] if size is not None else [])], timeout=TIMEOUT)


def make_blank(path: Path, *, size: int) -> None:
    """Makes an empty qcow2 image of `size` bytes.

    Raises:
        CommandFailedError: there is no space.
    """
    run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), str(size)], timeout=TIMEOUT)


def grow(path: Path, *, size: int) -> None:
    """Makes a qcow2 image that nothing uses larger; qemu-img refuses to make it smaller.

    Raises:
        CommandFailedError: it is in use, or would shrink.
    """
    run(["qemu-img", "resize", "-q", "-f", "qcow2", str(path), str(size)], timeout=TIMEOUT)


def compress(raw: Path, target: Path) -> None:
    """Makes a compressed qcow2 image (zstd) of a raw one.

    Raises:
        CommandFailedError: there is no space.
    """
    argv = ["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", "-c", "-o", "compression_type=zstd"]
    run([*argv, raw, target], timeout=CONVERT_TIMEOUT)
