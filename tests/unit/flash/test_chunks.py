"""Chunks add up to the image, keep their limits, and do not all move when one byte does."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashvisor.flash.chunks import CHUNK_LEAST, cut, missing
from flashvisor.model.release import CHUNK_LIMIT

NOISE = random.Random(1).randbytes(4_000_000)  # noqa: S311 - a fixed stand-in for compressed data


@pytest.mark.parametrize("image", [NOISE, bytes(1_000_000), b"\xf1\x40" * 200_000, b"x", b""])
def test_chunks_are_the_image_and_keep_their_limits(image: bytes) -> None:
    pieces = list(cut(image))
    assert b"".join(piece for _, piece in pieces) == image
    assert all(chunk.length == len(piece) <= CHUNK_LIMIT for chunk, piece in pieces)
    assert all(chunk.length >= CHUNK_LEAST for chunk, _ in pieces[:-1])


@given(where=st.integers(0, len(NOISE)), inserted=st.binary(min_size=1, max_size=300))
def test_an_insertion_costs_a_few_chunks(where: int, inserted: bytes) -> None:
    held = {chunk.sha256 for chunk, _ in cut(NOISE)}
    download = missing((chunk for chunk, _ in cut(NOISE[:where] + inserted + NOISE[where:])), held)
    assert 0 < sum(chunk.length for chunk in download) <= 4 * CHUNK_LIMIT


def test_equal_chunks_are_downloaded_once() -> None:
    chunks = [chunk for chunk, _ in cut(bytes(CHUNK_LIMIT * 3))]
    assert (len(chunks), len(missing(chunks, set())), missing(chunks, {chunks[0].sha256})) == (3, 1, [])
