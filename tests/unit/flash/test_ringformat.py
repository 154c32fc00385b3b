"""Parts as bytes: what is written is read, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flashvisor.errors import RingFullError
from flashvisor.flash.ringformat import (
    HEADER,
    PAGE,
    SEGMENT,
    Geometry,
    Part,
    Verdict,
    cut,
    join,
    kind_name,
    read_part,
    write_part,
)

GEOMETRY = Geometry(16 * SEGMENT)


def placed(part: Part, epoch: int = 3, page: int = 2) -> tuple[Part, bytes]:
    """Returns a part put somewhere, and the segment that holds it."""
    part = replace(part, epoch=epoch, page=page, tail=1, written=4096)
    return part, bytes(page * PAGE) + write_part(GEOMETRY, part)


def test_the_header_fits_the_first_sector() -> None:
    assert HEADER <= 512


def test_a_part_says_all_it_was_given() -> None:
    part, segment = placed(cut(GEOMETRY, 7, 2, b"payload", "apply")[0])
    found = read_part(GEOMETRY, segment, GEOMETRY.place(3, 2))
    assert (found.verdict, found.part, found.pages) == (Verdict.INTACT, part, 1)


def test_a_part_in_another_place_is_not_a_part() -> None:
    _, segment = placed(cut(GEOMETRY, 7, 2, b"payload", "apply")[0])
    assert read_part(GEOMETRY, segment, GEOMETRY.place(4, 2)).verdict is Verdict.NOTHING
    moved = segment[2 * PAGE :]
    assert read_part(GEOMETRY, moved, GEOMETRY.place(3, 0)).verdict is Verdict.NOTHING


def test_a_damaged_body_still_says_whose_it_was() -> None:
    part, segment = placed(cut(GEOMETRY, 7, 2, b"payload", "apply")[0])
    damaged = segment.replace(b"payload", b"pay1oad")
    found = read_part(GEOMETRY, damaged, GEOMETRY.place(3, 2))
    assert (found.verdict, found.part) == (Verdict.BODY_DAMAGED, replace(part, body=b""))


def test_text_is_compressed_and_noise_is_not(incompressible: bytes) -> None:
    text = b"[guest.web]\nmemory = '64MiB'\n" * 7000
    parts = cut(GEOMETRY, 1, 2, text, "apply")
    assert len(parts) == 1
    assert join(parts) == text
    parts = cut(GEOMETRY, 1, 2, incompressible, "apply")
    assert sum(len(part.body) for part in parts) == len(incompressible)
    assert all(GEOMETRY.pages_of(len(part.body)) <= GEOMETRY.part_pages for part in parts)
    assert join(parts) == incompressible


def test_parts_of_two_records_never_join(incompressible: bytes) -> None:
    one = cut(GEOMETRY, 1, 2, incompressible, "apply")
    two = cut(GEOMETRY, 1, 2, incompressible[::-1], "apply")
    assert join([*one[:-1], two[-1]]) is None
    assert join(one[:-1]) is None
    assert join(one[1:]) is None


def test_a_lie_about_the_length_does_not_pass() -> None:
    parts = cut(GEOMETRY, 1, 2, b"a" * 5000, "apply")
    assert join([replace(parts[0], total=4999)]) is None


def test_more_parts_than_a_header_can_count_are_refused(incompressible: bytes) -> None:
    with pytest.raises(RingFullError, match="parts"):
        cut(Geometry(64 * 2048, segment=2048, page=512), 1, 2, incompressible, "apply")


def test_kinds_of_later_versions_have_a_name() -> None:
    assert (kind_name(2), kind_name(99)) == ("CONFIG", "kind 99")
