"""Flash in RAM reads as a row of bytes would."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashvisor.flash.ramdevice import PAGE, RamDevice

SIZE = 3 * PAGE + 100  # bytes; the last page is not whole
writes = st.lists(st.tuples(st.integers(0, SIZE), st.binary(max_size=2 * PAGE) | st.just(bytes(PAGE))), max_size=8)


@given(writes=writes, offset=st.integers(0, SIZE), length=st.integers(0, SIZE))
def test_it_reads_what_was_written(writes: list[tuple[int, bytes]], offset: int, length: int) -> None:
    device, row = RamDevice(SIZE), bytearray(SIZE)
    for start, data in writes:
        fitting = data[: SIZE - start]
        device.write(start, fitting)
        row[start : start + len(fitting)] = fitting
    length = min(length, SIZE - offset)
    assert device.read(offset, length) == row[offset : offset + length]


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (SIZE, 1), (0, SIZE + 1)])
def test_outside_is_a_bug(offset: int, length: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        RamDevice(SIZE).read(offset, length)
