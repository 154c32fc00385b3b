"""UEFI variables in a directory that looks like efivarfs; virt-firmware reads and writes the same one."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import uuid
from typing import TYPE_CHECKING

import pytest
from virt.firmware.efi import efivar, guids, ucs16
from virt.firmware.varstore.linux import LinuxVarStore

from flashvisor.errors import FirmwareVariableError
from flashvisor.flash.layout import PARTITIONS, SECTOR
from flashvisor.host.efivars import GETFLAGS, IMMUTABLE, NON_VOLATILE, SETFLAGS, EfiVars, boot_variables
from flashvisor.model.bootentry import GLOBAL, LOADER, LoadOption, Partition, encode, encode_order

if TYPE_CHECKING:
    from pathlib import Path

A = PARTITIONS["a"]
ENTRY = LoadOption(
    "flashvisor a", Partition(2, A.start // SECTOR, A.size // SECTOR, uuid.UUID(A.guid)), "\\EFI\\BOOT\\BOOTX64.EFI"
)


class Flags:
    """Immutable files, as efivarfs has them, on any file system: opens for writing fail while the flag is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.of: dict[str, int] = {}
        self.log: list[tuple[str, int]] = []
        self._open = os.open
        self._paths: dict[int, str] = {}
        monkeypatch.setattr(fcntl, "ioctl", self.ioctl)
        monkeypatch.setattr(os, "open", self.open)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_WRONLY and self.of.get(path.name, 0) & IMMUTABLE:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        handle = self._open(path, flags, mode)
        self._paths[handle] = path.name
        return handle

    def ioctl(self, handle: int, request: int, data: bytes) -> bytes:
        name = self._paths[handle]
        if request == SETFLAGS:
            self.of[name] = struct.unpack("@i", data)[0]
            self.log.append((name, self.of[name]))
        else:
            assert request == GETFLAGS
        return struct.pack("@i", self.of.get(name, 0))


def test_virt_firmware_reads_what_we_write(tmp_path: Path) -> None:
    variables = EfiVars(tmp_path)
    variables.write("BootOrder", GLOBAL, NON_VOLATILE, encode_order([3, 0, 0x1A2B]))
    variables.write("BootOrder", GLOBAL, NON_VOLATILE, encode_order([3, 1]))
    found = LinuxVarStore(str(tmp_path)).get_variable("BootOrder", guids.EfiGlobalVariable)
    assert found.data == bytes([3, 0, 1, 0])
    assert found.attr == NON_VOLATILE


def test_we_read_what_virt_firmware_writes(tmp_path: Path) -> None:
    store = LinuxVarStore(str(tmp_path))
    var = efivar.EfiVar(ucs16.from_string("BootNext"), guid=guids.parse_str(guids.EfiGlobalVariable), attr=7)
    var.set_boot_next(9)
    store.set_variable(var)
    assert EfiVars(tmp_path).read("BootNext", GLOBAL) == (7, b"\x09\x00")
    assert EfiVars(tmp_path).names(GLOBAL) == ["BootNext"]


def test_what_firmware_starts_by(tmp_path: Path) -> None:
    variables = EfiVars(tmp_path)
    assert not variables.available()
    variables.write("Boot000A", GLOBAL, NON_VOLATILE, encode(ENTRY))
    variables.write("Boot000B", GLOBAL, NON_VOLATILE, b"junk")
    variables.write("BootOptionSupport", GLOBAL, 6, b"\x01\0\0\0")
    variables.write("BootCurrent", GLOBAL, 6, encode_order([10]))
    variables.write("BootOrder", GLOBAL, NON_VOLATILE, encode_order([10, 11]))
    variables.write("LoaderDevicePartUUID", LOADER, 6, (A.guid + "\0").encode("utf-16-le"))
    boot = boot_variables(variables)
    assert variables.available()
    assert (boot.current, boot.next, boot.order, boot.entries) == (10, None, (10, 11), {10: ENTRY})
    assert boot.device == uuid.UUID(A.guid)


def test_a_machine_without_uefi_has_no_variables(tmp_path: Path) -> None:
    variables = EfiVars(tmp_path / "absent")
    assert not variables.available()
    boot = boot_variables(variables)
    assert (boot.current, boot.next, boot.order, boot.entries, boot.device) == (None, None, (), {}, None)
    with pytest.raises(FirmwareVariableError, match="BootNext"):
        variables.write("BootNext", GLOBAL, NON_VOLATILE, b"\0\0")


@pytest.mark.parametrize(("data", "answer"), [(b"\x01", True), (b"\x00", False), (b"", None)])
def test_flags_of_secure_boot(tmp_path: Path, data: bytes, answer: bool | None) -> None:
    (tmp_path / f"SecureBoot-{GLOBAL}").write_bytes(b"\x06\0\0\0" + data)
    assert EfiVars(tmp_path).flag("SecureBoot") is answer
    assert EfiVars(tmp_path).flag("SetupMode") is None


def test_a_file_that_nobody_has_written_is_no_variable(tmp_path: Path) -> None:
    (tmp_path / f"BootNext-{GLOBAL}").touch()
    assert EfiVars(tmp_path).read("BootNext", GLOBAL) is None


def test_deleting_what_is_not_there_is_fine(tmp_path: Path) -> None:
    variables = EfiVars(tmp_path)
    variables.delete("BootNext", GLOBAL)
    variables.write("BootNext", GLOBAL, NON_VOLATILE, b"\x01\0")
    variables.delete("BootNext", GLOBAL)
    assert variables.read("BootNext", GLOBAL) is None
    with pytest.raises(ValueError, match="delete"):
        variables.write("BootNext", GLOBAL, NON_VOLATILE, b"")


def test_an_immutable_variable_is_written_and_made_immutable_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = EfiVars(tmp_path)
    variables.write("PK", GLOBAL, 39, b"old")
    flags = Flags(monkeypatch)
    name = f"PK-{GLOBAL}"
    flags.of[name] = IMMUTABLE | 0x80
    variables.write("PK", GLOBAL, 39, b"new")
    assert variables.read("PK", GLOBAL) == (39, b"new")
    assert flags.log == [(name, 0x80), (name, IMMUTABLE | 0x80)]
    variables.delete("PK", GLOBAL)
    assert variables.read("PK", GLOBAL) is None


def test_a_refused_write_leaves_nothing_behind_and_each_write_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def refuse(_: int, data: bytes) -> int:
        calls.append(data)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(FirmwareVariableError, match="No space left"):
        EfiVars(tmp_path).write("BootNext", GLOBAL, NON_VOLATILE, b"\x01\0")
    assert calls == [b"\x07\0\0\0\x01\0"]
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_flags_is_written_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> bytes:
        raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")

    monkeypatch.setattr(fcntl, "ioctl", none)
    EfiVars(tmp_path).write("BootNext", GLOBAL, NON_VOLATILE, b"\x01\0")
    EfiVars(tmp_path).write("BootNext", GLOBAL, NON_VOLATILE, b"\x02\0")
    assert EfiVars(tmp_path).read("BootNext", GLOBAL) == (7, b"\x02\0")
