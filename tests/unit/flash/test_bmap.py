"""The block map, read back as bmaptool reads it."""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET

import pytest

from flashvisor.flash.bmap import BLOCK, write_map
from flashvisor.flash.layout import ALIGNMENT, DEVICE_SIZE, PARTITIONS, STATE

A = PARTITIONS["a"]


@pytest.fixture(scope="module")
def image() -> bytes:
    data = bytearray(DEVICE_SIZE)
    data[A.start + 5 * ALIGNMENT] = 1
    data[A.start + 5 * ALIGNMENT + 2 * BLOCK] = 1
    return bytes(data)


@pytest.fixture(scope="module")
def text(image: bytes) -> str:
    return write_map(len(image), lambda offset, length: image[offset : offset + length])


def field(text: str, name: str) -> str:
    return (ET.fromstring(text).findtext(name) or "").strip()  # noqa: S314 it is our own


def blocks(text: str) -> dict[int, None]:
    found: dict[int, None] = {}
    for row in ET.fromstring(text).iter("Range"):  # noqa: S314
        first, _, last = (row.text or "").strip().partition("-")
        found |= dict.fromkeys(range(int(first), int(last or first) + 1))
    return found


def test_its_own_checksum_is_right(text: str) -> None:
    said = field(text, "BmapFileChecksum")
    assert hashlib.sha256(text.replace(said, "0" * 64).encode()).hexdigest() == said


def test_counts_are_right(text: str) -> None:
    assert ET.fromstring(text).get("version") == "2.0"  # noqa: S314
    assert int(field(text, "ImageSize")) == DEVICE_SIZE
    assert int(field(text, "BlocksCount")) == -(-DEVICE_SIZE // BLOCK)
    assert int(field(text, "MappedBlocksCount")) == len(blocks(text))


def test_what_is_not_zero_is_mapped_and_the_rest_of_a_slot_is_not(text: str) -> None:
    first = (A.start + 5 * ALIGNMENT) // BLOCK
    assert [number in blocks(text) for number in range(first - 1, first + 4)] == [False, True, False, True, False]


def test_tables_and_the_whole_state_ring_are_mapped_even_where_blank(text: str) -> None:
    mapped = blocks(text)
    assert 0 in mapped
    assert A.start // BLOCK in mapped
    assert all(number in mapped for number in range(STATE.start // BLOCK, -(-DEVICE_SIZE // BLOCK)))


def test_digests_are_of_the_range(text: str, image: bytes) -> None:
    rows = re.findall(r'chksum="(\w+)"> (\d+)-?(\d*) <', text)
    assert len(rows) >= 5
    for digest, first, last in rows:
        data = image[int(first) * BLOCK : (int(last or first) + 1) * BLOCK]
        assert hashlib.sha256(data).hexdigest() == digest
