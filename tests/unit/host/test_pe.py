"""The PE reader against whole and hostile files."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flashvisor.errors import NotAnImageError
from flashvisor.host.pe import Section, certificate_table, copy_section, is_pe, sections
from sim.nodekit import uki

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = uki(b"the kernel", b"quiet\0", initrd=b"the root")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.efi"


def test_sections_are_found_without_their_padding(file: Path) -> None:
    file.write_bytes(WHOLE)
    table = sections(file)
    assert set(table) == {".linux", ".cmdline", ".initrd"}
    copy_section(file, table[".linux"], file.with_suffix(".out"))
    assert file.with_suffix(".out").read_bytes() == b"the kernel"


def test_a_virtual_size_beyond_the_raw_data_is_cut(file: Path) -> None:
    data = bytearray(WHOLE)
    where = data.index(b".linux") + 8
    struct.pack_into("<I", data, where, 1 << 31)
    file.write_bytes(data)
    assert sections(file)[".linux"].size == 16


@pytest.mark.parametrize("length", range(0, len(WHOLE) - 16, 7))
def test_a_file_cut_short_is_refused(file: Path, length: int) -> None:
    file.write_bytes(WHOLE[:length])
    with pytest.raises(NotAnImageError, match=r"file\.efi"):
        sections(file)


@pytest.mark.parametrize(("offset", "value"), [(0x3C, 0xFFFFFFFF), (0x3C, 1), (0x46, 0xFFFF), (0x54, 0xFFFF)])
def test_offsets_and_counts_that_lie_are_refused(file: Path, offset: int, value: int) -> None:
    data = bytearray(WHOLE)
    form = "<I" if offset == 0x3C else "<H"
    struct.pack_into(form, data, offset, value)
    file.write_bytes(data)
    with pytest.raises(NotAnImageError):
        sections(file)


def test_a_section_outside_the_file_is_refused(file: Path) -> None:
    data = bytearray(WHOLE)
    struct.pack_into("<I", data, data.index(b".linux") + 20, len(WHOLE))
    file.write_bytes(data)
    with pytest.raises(NotAnImageError, match="ends at byte"):
        sections(file)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=12))
def test_whatever_bytes_change_it_reads_inside_the_file_or_refuses(file: Path, changes: list[tuple[int, int]]) -> None:
    data = bytearray(WHOLE)
    for place, value in changes:
        data[place] = value
    file.write_bytes(data)
    try:
        table = sections(file)
    except NotAnImageError:
        return
    assert all(0 <= part.offset <= part.offset + part.size <= len(data) for part in table.values())


def test_a_file_that_shrank_meanwhile(file: Path) -> None:
    file.write_bytes(b"MZ")
    with pytest.raises(NotAnImageError, match="after the end"):
        copy_section(file, Section(offset=0, size=10), file.with_suffix(".out"))


def test_the_first_bytes() -> None:
    assert is_pe(WHOLE[:8])
    assert not is_pe(b"QFI\xfb")


def test_a_file_without_room_for_signatures_has_none(file: Path) -> None:
    file.write_bytes(WHOLE)
    assert certificate_table(file) == b""


@pytest.mark.parametrize(("offset", "size"), [(0, 4), (0xFFFFFFFF, 1), (10, 0xFFFFFFFF)])
def test_a_certificate_table_outside_the_file_is_refused(file: Path, offset: int, size: int) -> None:
    optional = struct.pack("<H", 0x20B).ljust(112 + 4 * 8, b"\0") + struct.pack("<II", offset, size)
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    file.write_bytes(head + struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, 0, 0, 0, 0, len(optional), 0) + optional)
    if offset == 0:
        assert certificate_table(file) == b"MZ\0\0"
    else:
        with pytest.raises(NotAnImageError):
            certificate_table(file)
