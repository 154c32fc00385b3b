"""The archive that goes behind an appliance's initramfs, field by field; tests/tools has the kernel read it."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from flashvisor.guests.overlay import appended


@dataclass(frozen=True)
class Item:
    mode: int
    owner: tuple[int, int]
    content: bytes


def unpacked(data: bytes) -> dict[str, Item]:
    """Reads a newc archive as buffer-format.rst describes it."""
    items: dict[str, Item] = {}
    at = 0
    while True:
        assert at % 4 == 0
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * index : at + 14 + 8 * index], 16) for index in range(13)]
        _, mode, uid, gid, _, _, size, *_, length, check = fields
        assert check == 0
        start = at + 110
        name = data[start : start + length]
        assert name.endswith(b"\0")
        body = -(-(start + length) // 4) * 4
        if name == b"TRAILER!!!\0":
            assert body == len(data)
            return items
        items[name[:-1].decode()] = Item(mode, (uid, gid), data[body : body + size])
        at = -(-(body + size) // 4) * 4


def test_files_come_with_their_directories_first() -> None:
    items = unpacked(appended(0, {"/etc/site.d/site.conf": "a\n", "/srv/www/index.html": "é"}))
    assert list(items) == ["etc", "etc/site.d", "srv", "srv/www", "etc/site.d/site.conf", "srv/www/index.html"]
    assert items["etc/site.d"] == Item(0o40755, (0, 0), b"")
    assert items["srv/www/index.html"] == Item(0o100644, (0, 0), "é".encode())


def test_the_same_files_give_the_same_bytes() -> None:
    assert appended(0, {"/a": "1", "/b": "2"}) == appended(0, {"/b": "2", "/a": "1"})


@given(st.integers(0, 50), st.dictionaries(st.from_regex(r"/[a-z]{1,9}", fullmatch=True), st.text(max_size=20)))
def test_it_is_aligned_whatever_it_stands_behind(size: int, files: dict[str, str]) -> None:
    data = appended(size, files)
    start = -size % 4
    assert data[:start] == b"\0" * start
    items = unpacked(data[start:])
    assert {f"/{name}": item.content.decode() for name, item in items.items()} == files
