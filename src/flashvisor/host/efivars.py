"""efivarfs: UEFI variables as files. Source: Linux, Documentation/filesystems/efivarfs.rst; ioctl_iflags(2).

A file is called NAME-GUID and holds four bytes of attributes, then the data; one write(2) is one SetVariable().
The kernel makes most files immutable, because some firmware does not survive the loss of a variable: the flag is taken
away for the write and put back. Does not own what variables mean (model/bootentry.py, trust/secureboot.py)::

    variables = EfiVars()
    variables.read("BootOrder", GLOBAL)            # (attributes, data), or None
    variables.write("BootNext", GLOBAL, NON_VOLATILE, encode_order([3]))
    boot_variables(variables).order
    variables.flag("SecureBoot")
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.errors import FirmwareVariableError
from flashvisor.model.bootentry import ENTRY_NAME, GLOBAL, LOADER, BootVariables, decode, decode_order

if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECTORY = Path("/sys/firmware/efi/efivars")
# NON_VOLATILE, BOOTSERVICE_ACCESS, RUNTIME_ACCESS (UEFI 2.10, 8.2): what Boot*, BootOrder and BootNext have
NON_VOLATILE = 0x1 | 0x2 | 0x4
GETFLAGS, SETFLAGS, IMMUTABLE = 0x80086601, 0x40086602, 0x10  # FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IMMUTABLE_FL
_ATTRIBUTES = struct.Struct("<I")
_FLAGS = struct.Struct("@i")  # the kernel reads and writes an int, whatever the ioctl's number says (ioctl_iflags(2))
_LIMIT = 1 << 20  # bytes read of a variable
_NO_FLAGS = (errno.ENOTTY, errno.EOPNOTSUPP)  # the file system knows no flags


class EfiVars:
    """The variables of this machine's firmware, or of a directory that looks like efivarfs."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self._directory = directory

    def available(self) -> bool:
        """Returns whether the machine was started by UEFI, and its variables can be reached."""
        return self._directory.is_dir() and any(self._directory.iterdir())

    def names(self, guid: uuid.UUID) -> list[str]:
        """Returns the names of a vendor's variables, sorted; none on a machine without UEFI."""
        end = f"-{guid}"
        if not self._directory.is_dir():
            return []
        return sorted(path.name.removesuffix(end) for path in self._directory.iterdir() if path.name.endswith(end))

    def read(self, name: str, guid: uuid.UUID) -> tuple[int, bytes] | None:
        """Returns attributes and data of a variable; None if there is none.

        Raises:
            FirmwareVariableError: firmware does not give it.
        """
        try:
            handle = os.open(self._path(name, guid), os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = os.read(handle, _LIMIT)
            finally:
                os.close(handle)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FirmwareVariableError(f"UEFI variable {name} cannot be read: {error.strerror}") from error
        # A file without attributes is one that was just made, and that nobody has written yet.
        if len(data) < _ATTRIBUTES.size:
            return None
        return _ATTRIBUTES.unpack_from(data)[0], data[_ATTRIBUTES.size :]

    def write(self, name: str, guid: uuid.UUID, attributes: int, data: bytes) -> None:
        """Sets a variable: firmware takes all of it or nothing.

        Args:
            name: "BootNext".
            guid: Its vendor.
            attributes: NON_VOLATILE, or more for signed variables.
            data: At least a byte; `delete` takes a variable away.

        Raises:
            FirmwareVariableError: firmware refused, has no room, or the machine was not started by UEFI.
        """
        if not data:
            raise ValueError(f"a write of nothing would delete {name}")
        path = self._path(name, guid)
        is_new = not path.exists()
        try:
            with _changeable(path):
                _write(path, _ATTRIBUTES.pack(attributes) + data)
        except OSError as error:
            if is_new:
                with suppress(OSError):  # older kernels leave the empty file of a refused variable
                    path.unlink()
            raise FirmwareVariableError(f"UEFI variable {name} cannot be written: {error.strerror}") from error

    def delete(self, name: str, guid: uuid.UUID) -> None:
        """Takes a variable away; none is fine.

        Raises:
            FirmwareVariableError: firmware refused.
        """
        path = self._path(name, guid)
        try:
            with _changeable(path):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise FirmwareVariableError(f"UEFI variable {name} cannot be deleted: {error.strerror}") from error

    def flag(self, name: str) -> bool | None:
        """Returns a variable of one byte as yes or no ("SecureBoot", "SetupMode"); None where there is none."""
        found = self.read(name, GLOBAL)
        return bool(found[1][0]) if found and found[1] else None

    def _path(self, name: str, guid: uuid.UUID) -> Path:
        return self._directory / f"{name}-{guid}"


def boot_variables(variables: EfiVars) -> BootVariables:
    """Returns what firmware was told to start, and what it started.

    Raises:
        FirmwareVariableError: firmware does not give it.
    """

    def numbers(name: str) -> tuple[int, ...]:
        found = variables.read(name, GLOBAL)
        return decode_order(found[1]) if found else ()

    entries = {}
    for name in variables.names(GLOBAL):
        match = ENTRY_NAME.fullmatch(name)
        found = variables.read(name, GLOBAL) if match else None
        option = decode(found[1]) if found else None
        if match and option:
            entries[int(match[1], 16)] = option
    return BootVariables(
        current=next(iter(numbers("BootCurrent")), None),
        next=next(iter(numbers("BootNext")), None),
        order=numbers("BootOrder"),
        entries=entries,
        device=_device(variables),
        checked=bool(variables.flag("SecureBoot")),
    )


def _device(variables: EfiVars) -> uuid.UUID | None:
    found = variables.read("LoaderDevicePartUUID", LOADER)
    try:
        return uuid.UUID(found[1].decode("utf-16-le").rstrip("\0")) if found else None
    except ValueError:  # not a GUID, or not UTF-16
        return None


def _write(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(handle, data)  # once: each write(2) is a SetVariable() of its own
    finally:
        os.close(handle)


@contextmanager
def _changeable(path: Path) -> Iterator[None]:
    """Takes the immutable flag off a file, and puts it back if the file is still there."""
    before = _flags(path)
    if not before & IMMUTABLE:
        yield
        return
    _set_flags(path, before & ~IMMUTABLE)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            _set_flags(path, before)


def _flags(path: Path) -> int:
    try:
        return _ioctl(path, GETFLAGS, 0)
    except FileNotFoundError:
        return 0
    except OSError as error:
        if error.errno in _NO_FLAGS:
            return 0
        raise


def _set_flags(path: Path, flags: int) -> None:
    _ioctl(path, SETFLAGS, flags)


def _ioctl(path: Path, request: int, flags: int) -> int:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        answer = fcntl.ioctl(handle, request, _FLAGS.pack(flags))
    finally:
        os.close(handle)
    result: int = _FLAGS.unpack(answer)[0]
    return result
