"""Whatever a file holds, reading it ends in an answer or in one of our errors, never in a traceback."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashvisor.errors import FlashvisorError
from flashvisor.transfer.archive import open_ova
from flashvisor.transfer.formats import DISKS, Kind, detect
from flashvisor.transfer.hardware import draft_guest
from flashvisor.transfer.inspect import inspect
from flashvisor.transfer.manifest import parse_manifest
from flashvisor.transfer.ovf import parse_ovf
from flashvisor.transfer.region import Region
from sim.appliances import virtualbox, vmware, write_tar, xenserver
from unit.transfer.test_inspect import qcow2, vdi, vhd, vhdx, vmdk

IMAGES = {
    Kind.QCOW2: qcow2(),
    Kind.VMDK: vmdk(),
    Kind.VHD: vhd(),
    Kind.VDI: vdi(),
    Kind.VHDX: vhdx(),
}
# Where headers and tables lie: bytes elsewhere are a guest's.
PLACES = st.one_of(st.integers(0, 600), st.integers(0, 1 << 20))
CHANGES = st.lists(st.tuples(PLACES, st.binary(min_size=1, max_size=8)), min_size=1, max_size=4)
NAMES = ("one", "two")
TEXTS = [vmware(NAMES, 8 << 20).decode(), virtualbox(NAMES, 8 << 20).decode(), xenserver(NAMES, 8 << 20).decode()]


def changed(data: bytes, changes: list[tuple[int, bytes]]) -> bytes:
    spoilt = bytearray(data)
    for place, new in changes:
        start = place % len(data)
        spoilt[start : start + len(new)] = new
    return bytes(spoilt)


@pytest.mark.parametrize("kind", IMAGES)
@given(changes=CHANGES, left=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_images_with_other_bytes(kind: Kind, changes: list[tuple[int, bytes]], left: float) -> None:
    data = changed(IMAGES[kind], changes)
    with TemporaryDirectory() as place:
        for length in (len(data), int(len(data) * left)):
            path = Path(place) / "x"
            path.write_bytes(data[:length])
            with suppress(FlashvisorError):
                found = detect(Region.of(path))
                if found in DISKS:
                    inspect(Region.of(path), found)


@given(changes=CHANGES)
@settings(max_examples=60, deadline=None)
def test_archives_with_other_bytes(changes: list[tuple[int, bytes]]) -> None:
    with TemporaryDirectory() as place:
        path = write_tar(Path(place) / "x", {"a.ovf": b"<Envelope/>", "b": bytes(600)})
        path.write_bytes(changed(path.read_bytes()[:4096], [(at % 2048, new) for at, new in changes]))
        with suppress(FlashvisorError):
            package = open_ova(Region.of(path))
            for name in package.members:
                package.member(name).read(0, 10)


@given(
    text=st.sampled_from(TEXTS),
    cuts=st.lists(st.tuples(st.integers(0, 8000), st.integers(0, 60), st.text(max_size=20)), max_size=3),
)
@settings(max_examples=100, deadline=None)
def test_descriptors_with_other_text(text: str, cuts: list[tuple[int, int, str]]) -> None:
    for place, length, new in cuts:
        start = place % len(text)
        text = text[:start] + new + text[start + length :]
    with suppress(FlashvisorError):
        envelope = parse_ovf(text.encode("utf-8", errors="surrogatepass"), "x.ovf")
        for system in envelope.systems:
            draft_guest(system, envelope.disks, name="x")


@given(
    text=st.sampled_from(TEXTS),
    values=st.lists(
        st.tuples(st.integers(0, 60), st.text(alphabet="0123456789abc/:^* ٣\u2460", max_size=25)), max_size=4
    ),
)
@settings(max_examples=100, deadline=None)
def test_descriptors_with_other_values(text: str, values: list[tuple[int, str]]) -> None:
    parts = text.split("</")
    for place, new in values:
        index = place % len(parts)
        head, bracket, _ = parts[index].rpartition(">")
        parts[index] = f"{head}{bracket}{new}"
    with suppress(FlashvisorError):
        envelope = parse_ovf("</".join(parts).encode(), "x.ovf")
        for system in envelope.systems:
            draft_guest(system, envelope.disks, name="x")


@given(st.text(max_size=200))
def test_manifests_of_any_text(text: str) -> None:
    with suppress(FlashvisorError):
        parse_manifest(text, "x.mf")
