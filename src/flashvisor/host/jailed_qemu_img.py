"""qemu-img on images that nobody trusts: it sees that one file, no network, and only so much of this machine.

Owns qemu-img's arguments for conversions between formats. Not in flash (qemu_img.py is). Source: qemu-img(1),
qemu-block-drivers(7)::

    source = Source(Path("web.ova"), "vmdk", offset=2048, size=91_136)
    virtual_size(source, limits)
    convert(source, work / "disk.qcow2", QCOW2, limits, on_percent=show)
"""

from __future__ import annotations

import errno
import os
import re
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from flashvisor.errors import CommandFailedError, ExplodingImageError, NoSpaceError
from flashvisor.host.bubblewrap import jail
from flashvisor.host.qemu_img import ImageInfo
from flashvisor.host.run import follow, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flashvisor.errors import FlashvisorError
    from flashvisor.host.bubblewrap import Limits

INFO_TIMEOUT = 1800.0  # seconds; a check reads all tables
CONVERT_TIMEOUT = 172_800.0  # seconds: two days; CPU time is what is limited
INSIDE, OUT = "/in/disk", "/out"
SECTOR = 512  # bytes: QEMU's raw layer counts in these
# Compressed: see docs/adr/0026.
QCOW2 = ("-O", "qcow2", "-c", "-o", "compression_type=zstd")
# VMware takes a streamed disk only with a hardware version and a controller that it knows, whatever its bus is.
STREAM_VMDK = ("-O", "vmdk", "-o", "subformat=streamOptimized,adapter_type=lsilogic,compat6=on")
PERCENT = re.compile(r"\((\d+\.\d+)/100%\)")
CORRUPT = 2  # qemu-img check's status; 3 are leaks, which only waste space
LEAKS = 3
WRITTEN = "what was written reached its limit"
# How bwrap tells of a signal: 128 and its number. qemu-img itself may say EFBIG instead of being ended.
STOPPED = {128 + signal.SIGXFSZ: WRITTEN, 128 + signal.SIGXCPU: "the time to convert it reached its limit"}


@dataclass(frozen=True)
class Source:
    """An image: `kind` is QEMU's name of its format; offset and size in bytes where it is a part of a file."""

    path: Path
    kind: str
    offset: int = 0
    size: int | None = None

    def options(self) -> str:
        """Returns it as --image-opts takes it: as seen inside, so that no name from outside is ever parsed."""
        words = [f"driver={self.kind}"]
        if self.kind == "vpc":
            # By default QEMU guesses from the creator's name whether to believe the size or the geometry.
            words.append("force_size_calc=current_size")
        if self.size is None:
            return ",".join([*words, "file.driver=file", f"file.filename={INSIDE}"])
        rounded = -(-self.size // SECTOR) * SECTOR
        words += ["file.driver=raw", f"file.offset={self.offset}", f"file.size={rounded}"]
        return ",".join([*words, "file.file.driver=file", f"file.file.filename={INSIDE}"])


def info(source: Source, limits: Limits) -> ImageInfo:
    """Returns what an image is.

    Raises:
        CommandFailedError: it is no such image.
    """
    words = [*jail(readable={source.path: INSIDE}, writable={}, limits=limits), "qemu-img", "info", "--output=json"]
    text = run([*words, "--image-opts", source.options()], timeout=INFO_TIMEOUT).stdout
    return msgspec.json.decode(text, type=ImageInfo)


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `qemu-img check` counts. Clusters that leak only waste space, and are none of these."""

    corruptions: int = 0
    errors: int = msgspec.field(default=0, name="check-errors")


def check(source: Source, limits: Limits) -> CheckResult:
    """Looks for corruption in an image's tables.

    Raises:
        CommandFailedError: it cannot be checked.
    """
    words = [*jail(readable={source.path: INSIDE}, writable={}, limits=limits), "qemu-img", "check"]
    argv = [*words, "--output=json", "--image-opts", source.options()]
    done = run(argv, timeout=INFO_TIMEOUT, accept=(CORRUPT, LEAKS))
    return msgspec.json.decode(done.stdout, type=CheckResult)


def convert(
    source: Source,
    target: Path,
    to: tuple[str, ...],
    limits: Limits,
    *,
    on_percent: Callable[[float], None],
) -> None:
    """Converts an image. The target's directory is all that qemu-img may write to.

    Args:
        source: What is read.
        target: Made anew.
        to: QCOW2 or STREAM_VMDK.
        limits: What qemu-img may use.
        on_percent: Hears how far it is, 0 to 100.

    Raises:
        CommandFailedError: the image is broken.
        ExplodingImageError: a limit was reached.
        NoSpaceError: the disk is full.
        CommandTimeoutError: it took longer than CONVERT_TIMEOUT.
    """
    words = jail(readable={source.path: INSIDE}, writable={target.parent: OUT}, limits=limits)
    argv = [*words, "qemu-img", "convert", "-p", *to, "--image-opts", source.options(), f"{OUT}/{target.name}"]

    def hear(text: str) -> None:
        found = PERCENT.findall(text)
        if found:
            on_percent(float(found[-1]))

    target.unlink(missing_ok=True)
    try:
        status = follow(argv, on_output=hear, timeout=CONVERT_TIMEOUT, accept=tuple(STOPPED))
    except CommandFailedError as error:
        target.unlink(missing_ok=True)
        explained = _explained(source, limits, error)
        if explained is None:
            raise
        raise explained from error
    if status:
        target.unlink(missing_ok=True)
        raise _exploding(source, limits, STOPPED[status])


def _explained(source: Source, limits: Limits, error: CommandFailedError) -> FlashvisorError | None:
    if os.strerror(errno.EFBIG) in error.evidence:
        return _exploding(source, limits, WRITTEN)
    if os.strerror(errno.ENOSPC) in error.evidence:
        return NoSpaceError(f"the disk filled up while {source.path.name} was converted")
    return None


def _exploding(source: Source, limits: Limits, why: str) -> ExplodingImageError:
    return ExplodingImageError(
        f"{source.path.name} became more than it could honestly be: {why}",
        evidence=f"{limits.file_size} bytes, {limits.cpu} s of CPU time",
        next_step="Do not trust where it comes from.",
    )
