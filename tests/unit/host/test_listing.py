"""Lines of listings, as the tools really print them, and modes there and back."""

from __future__ import annotations

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashvisor.host.listing import CPIO, SQUASHFS, TYPES, Listed, mode_bits, parse


@given(kind=st.sampled_from(sorted(TYPES.values())), bits=st.integers(0, 0o7777))
def test_a_mode_there_and_back(kind: int, bits: int) -> None:
    assert mode_bits(stat.filemode(kind | bits)) == kind | bits


@pytest.mark.parametrize("text", ["-rwxrwxrwq", "-wrxr-xr-x", "xrwxr-xr-x", "-rwtr-xr-x"])
def test_what_is_no_mode_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a mode"):
        mode_bits(text)


@pytest.mark.parametrize(
    ("line", "listed"),
    [
        ("drwxr-xr-x 0/0                      88 2026-01-01 00:00 squashfs", Listed("squashfs", 0o40755, 0, 0, 88)),
        (
            "lrwxrwxrwx 0/0                       4 2026-01-01 00:00 squashfs-root/a link -> ../x",
            Listed("squashfs-root/a link", 0o120777, 0, 0, 4, "../x"),
        ),
        ("crw-r--r-- 0/0                   1,  3 2026-01-01 00:00 s/null", Listed("s/null", 0o20644, 0, 0, 0)),
        ("-rwsr-xr-x 7/8                  129736 2026-01-01 00:00 s/su", Listed("s/su", 0o104755, 7, 8, 129736)),
        ("-rw-r--r-- 0/0                       0 2026-01-01 00:00 s/a -> b", Listed("s/a -> b", 0o100644, 0, 0, 0)),
    ],
)  # fmt: skip
def test_unsquashfs(line: str, listed: Listed) -> None:
    assert parse(line, SQUASHFS) == listed


@pytest.mark.parametrize(
    ("line", "listed"),
    [
        ("-rwxr-xr-x   1 0        0           13048 Jan  1  2026 init", Listed("init", 0o100755, 0, 0, 13048)),
        ("drwxr-xr-x   3 10       11              0 Nov 24 07:50 r/usr", Listed("r/usr", 0o40755, 10, 11, 0)),
        ("crw-rw-rw-   1 0        0          5,   1 Jan  1  2026 dev/console", Listed("dev/console", 0o20666, 0, 0, 0)),
    ],
)
def test_cpio(line: str, listed: Listed) -> None:
    assert parse(line, CPIO) == listed


def test_another_tools_words_are_refused() -> None:
    with pytest.raises(ValueError, match="not a line of a listing"):
        parse("Parallel unsquashfs: Using 2 processors", SQUASHFS)
