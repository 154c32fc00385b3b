"""PE files: finds and copies the sections of a unified kernel image. Hostile input is safe: every offset is checked.

Source: Microsoft PE Format, "COFF File Header" and "Section Table"; UAPI.5 Unified Kernel Image::

    table = sections(Path("hello.efi"))     # {".linux": Section(offset=..., size=...), ...}
    copy_section(Path("hello.efi"), table[".linux"], Path("linux"))
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from flashvisor.errors import NotAnImageError

if TYPE_CHECKING:
    from pathlib import Path

MZ = b"MZ"
PE_POINTER = 0x3C  # bytes; e_lfanew in the DOS header
COFF = struct.Struct("<4sHHIIIHH")  # signature, machine, sections, time, symbols, symbol count, optional size, flags
ENTRY = struct.Struct("<8sIIII16x")  # name, virtual size, virtual address, raw size, raw offset
DIRECTORY = struct.Struct("<II")  # address, size
PE32_PLUS = b"\x0b\x02"  # the optional header's magic number
CERTIFICATES_AT = 112 + 4 * DIRECTORY.size  # bytes into the optional header: the fifth data directory
SECTION_LIMIT = 96  # sections; the Windows loader's own limit
CHUNK = 1 << 20  # bytes


@dataclass(frozen=True)
class Section:
    """Where a section's bytes stand in the file. Offset and size in bytes; both lie inside the file."""

    offset: int
    size: int


def is_pe(head: bytes) -> bool:
    """Tells whether a file's first bytes are those of a DOS or PE executable."""
    return head.startswith(MZ)


def sections(path: Path) -> dict[str, Section]:
    """Returns the section table of a PE file, by name.

    Raises:
        NotAnImageError: it is no PE file, or a header or section points outside the file.
    """
    total = path.stat().st_size
    with path.open("rb") as file:
        count, start = _coff(file, path, total)
        return dict(_entry(file, path, start + index * ENTRY.size, total) for index in range(count))


def certificate_table(path: Path) -> bytes:
    """Returns the attribute certificate table of a PE32+ file: all its signatures; nothing if it has none.

    Raises:
        NotAnImageError: it is no PE32+ file, or the table lies outside the file.
    """
    total = path.stat().st_size
    with path.open("rb") as file:
        _, after = _coff(file, path, total)
        (start,) = struct.unpack("<I", _read(file, path, PE_POINTER, 4, total))
        optional = start + COFF.size
        if after - optional < CERTIFICATES_AT + DIRECTORY.size:
            return b""
        if _read(file, path, optional, 2, total) != PE32_PLUS:
            raise NotAnImageError(f"{path.name}: expected a 64-bit executable (PE32+)")
        offset, size = DIRECTORY.unpack(_read(file, path, optional + CERTIFICATES_AT, DIRECTORY.size, total))
        # The one directory whose address is a file offset.
        return _read(file, path, offset, size, total) if size else b""


def copy_section(path: Path, section: Section, target: Path) -> None:
    """Copies a section's bytes into a new file.

    Raises:
        NotAnImageError: the file ends before the section does (it shrank since the table was read).
    """
    with path.open("rb") as source, target.open("wb") as sink:
        source.seek(section.offset)
        left = section.size
        while left:
            chunk = source.read(min(left, CHUNK))
            if not chunk:
                raise NotAnImageError(f"{path.name}: a section ends {left} bytes after the end of the file")
            sink.write(chunk)
            left -= len(chunk)


def _coff(file: BinaryIO, path: Path, total: int) -> tuple[int, int]:
    """Returns the number of sections and the table's offset."""
    head = _read(file, path, 0, PE_POINTER + 4, total)
    if not is_pe(head):
        raise NotAnImageError(f"{path.name}: does not begin with {MZ!r}")
    (start,) = struct.unpack_from("<I", head, PE_POINTER)
    signature, _, count, _, _, _, optional, _ = COFF.unpack(_read(file, path, start, COFF.size, total))
    if signature != b"PE\0\0":
        raise NotAnImageError(f"{path.name}: no PE signature at offset {start}")
    if count > SECTION_LIMIT:
        raise NotAnImageError(f"{path.name}: expected at most {SECTION_LIMIT} sections, got {count}")
    return count, start + COFF.size + optional


def _entry(file: BinaryIO, path: Path, where: int, total: int) -> tuple[str, Section]:
    name, virtual, _, raw, offset = ENTRY.unpack(_read(file, path, where, ENTRY.size, total))
    text = name.rstrip(b"\0").decode("ascii", errors="replace")
    # Raw size is rounded up to the file's alignment, virtual size is not: the smaller one is what was put in.
    section = Section(offset=offset, size=min(virtual, raw))
    if section.offset + section.size > total:
        end = section.offset + section.size
        raise NotAnImageError(f"{path.name}: section '{text}' ends at byte {end}, the file at {total}")
    return text, section


def _read(file: BinaryIO, path: Path, offset: int, size: int, total: int) -> bytes:
    if offset + size > total:
        raise NotAnImageError(f"{path.name}: a header ends at byte {offset + size}, the file at {total}")
    file.seek(offset)
    return file.read(size)
