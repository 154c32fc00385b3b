"""The measurements that a finished image will leave in a TPM. Reads the image, nothing else.

Owns Authenticode's hash and the order in which systemd-stub measures sections. Does not compare (trust/attest.py)::

    write_atomic(path, encode(measure(efi, "flashvisor 0.1.0")))

Sources: Microsoft, "Windows Authenticode Portable Executable Signature Format", "Calculating the PE image hash"; TCG PC
Client Platform Firmware Profile 1.06, 3.3.4.5 (PCR 4); systemd-stub(7), "TPM PCR notes" (PCR 11).
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

from flashvisor.errors import StrangeImageError
from flashvisor.host.pe import CERTIFICATES_AT, COFF, DIRECTORY, ENTRY, PE32_PLUS, PE_POINTER, sections
from flashvisor.model.measurement import Measurements, Section

if TYPE_CHECKING:
    from pathlib import Path

KERNEL = ".linux"
# The stub starts the kernel itself, not by way of the firmware (src/boot/linux.c), so that PCR 4 knows nothing of it.
# What systemd-stub 257 measures of what our images have, in its order (src/fundamental/uki.c).
MEASURED = (KERNEL, ".osrel", ".cmdline", ".initrd", ".uname", ".sbat")
# A section of any other name that the stub would measure, and that we would have to put into the order above.
UNEXPECTED = frozenset((".profile", ".ucode", ".splash", ".dtb", ".dtbauto", ".hwids", ".efifw", ".pcrpkey"))
CHECKSUM_AT = 64  # bytes into the optional header; 4 bytes, not hashed
HEADERS_SIZE_AT = 60  # bytes into the optional header
DIRECTORIES_AT = 108  # bytes into the optional header of PE32+: how many data directories there are
CERTIFICATES = 4  # index of the certificates' directory
RAW = slice(3, 5)  # of a section table's entry: size and offset in the file


def measure(efi: Path, title: str) -> Measurements:
    """Returns what firmware and stub measure when they start an image.

    Args:
        efi: The finished, signed image.
        title: What people call it.

    Raises:
        NotAnImageError: it is no PE file.
        StrangeImageError: it has no kernel, sections whose order is not known here, or is no 64-bit executable.
    """
    data = efi.read_bytes()
    table = sections(efi)
    if KERNEL not in table or UNEXPECTED & table.keys():
        names = ", ".join(sorted(table))
        raise StrangeImageError(f"{efi.name}: expected the sections {', '.join(MEASURED)}, got {names}")
    parts = {name: data[part.offset : part.offset + part.size] for name, part in table.items()}
    return Measurements(
        title=title,
        image=authenticode(data, efi.name),
        sections=tuple(Section(name, hashlib.sha256(parts[name]).hexdigest()) for name in MEASURED if name in parts),
    )


def authenticode(data: bytes, name: str) -> str:
    """Returns the Authenticode hash (SHA-256, hex) of an executable: all but its checksum and its signatures. Pure.

    As edk2 calculates it (SecurityPkg, DxeTpm2MeasureBootLib): what stands behind the last section counts, and is not
    padded.

    Raises:
        StrangeImageError: it is no 64-bit executable (PE32+), or its headers point outside.
    """
    try:
        return _authenticode(memoryview(data))
    except (struct.error, ValueError) as error:
        raise StrangeImageError(f"{name} is not a whole 64-bit executable (PE32+)", evidence=str(error)) from error


def _authenticode(data: memoryview) -> str:
    (start,) = struct.unpack_from("<I", data, PE_POINTER)
    _, _, count, _, _, _, optional_size, _ = COFF.unpack_from(data, start)
    optional = start + COFF.size
    if data[optional : optional + 2] != PE32_PLUS:
        raise ValueError("no PE32+ header")
    (headers,) = struct.unpack_from("<I", data, optional + HEADERS_SIZE_AT)
    (directories,) = struct.unpack_from("<I", data, optional + DIRECTORIES_AT)
    checksum, entry = optional + CHECKSUM_AT, optional + CERTIFICATES_AT
    digest = hashlib.sha256(data[:checksum])
    signatures = 0
    if directories > CERTIFICATES:
        _, signatures = DIRECTORY.unpack_from(data, entry)
        digest.update(data[checksum + 4 : entry])
        digest.update(data[entry + DIRECTORY.size : headers])
    else:
        digest.update(data[checksum + 4 : headers])
    done = headers
    table = [ENTRY.unpack_from(data, optional + optional_size + index * ENTRY.size)[RAW] for index in range(count)]
    for size, offset in sorted(table, key=lambda each: each[1]):
        if offset + size > len(data):
            raise ValueError(f"a section ends at byte {offset + size} of {len(data)}")
        digest.update(data[offset : offset + size])
        done += size
    # Sections follow the headers without gaps, so what was hashed is also how far it reached.
    end = len(data) - signatures
    if done < end:
        digest.update(data[done:end])
    return digest.hexdigest()
