"""What an update costs over the network when the kernel was built anew: every driver and all of the kernel differ.

Debian's archive holds one kernel at a time, so the second build is made of the first: another version in each driver's
vermagic, another signature below it, and no byte of the compressed kernel as it was. All else is as it is in the image,
and goes through the same steps. `-s` shows the figure.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from flashvisor.cli.buildtools import open_cache, open_keyring
from flashvisor.flash.chunks import cut, missing
from flashvisor.image import build as builder
from flashvisor.image.kernel import kernel

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.image.build import BuildResult
    from flashvisor.image.cache import Cache

pytestmark = pytest.mark.tools

GOAL = 0.35  # of the whole image
SETUP = (
    0x8000  # bytes of a bzImage that are not compressed: boot sector and setup code (Documentation/arch/x86/boot.rst)
)
SIGNATURE = slice(-300, -60)  # within the PKCS#7 signature at a module's end
MASK = 0x5A


def other(data: bytearray, part: slice) -> None:
    data[part] = bytes(byte ^ MASK for byte in data[part])


def rebuilt(linux: Path, place: Path) -> Path:
    """Copies a kernel's step, with other bytes wherever a new build has others."""
    shutil.copytree(linux, place, symlinks=True)
    release = (linux / "release").read_text().strip().encode()
    newer = release[:-1] + (b"9" if release[-1:] != b"9" else b"8")
    drivers = list(place.rglob("*.ko"))
    for path in drivers:
        data = bytearray(path.read_bytes().replace(release, newer))
        other(data, SIGNATURE)
        path.write_bytes(data)
    assert len(drivers) > 100
    data = bytearray((place / "bzImage").read_bytes())
    other(data, slice(SETUP, None))
    (place / "bzImage").write_bytes(data)
    return place


def test_a_kernel_built_anew_costs_at_most_a_third(
    built_image: BuildResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def another(cache: Cache, module_key: str) -> Path:
        return rebuilt(kernel(cache, module_key), tmp_path / "linux")

    monkeypatch.setattr(builder, "kernel", another)
    new = builder.build(open_cache(), open_keyring(), tmp_path / "new").efi.read_bytes()
    held = {chunk.sha256 for chunk, _ in cut(built_image.efi.read_bytes())}
    lacking = sum(chunk.length for chunk in missing([chunk for chunk, _ in cut(new)], held))
    print(f"update download: {lacking:,} of {len(new):,} bytes, {lacking / len(new):.1%}")  # noqa: T201 - the figure
    assert 0.1 < lacking / len(new) <= GOAL
