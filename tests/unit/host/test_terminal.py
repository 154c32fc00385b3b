"""The terminal on a pseudo-terminal of its own."""

from __future__ import annotations

import os
import termios
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from flashvisor.host import terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCAL_FLAGS = 3  # index in what tcgetattr returns


@contextmanager
def pseudo_terminal() -> Iterator[tuple[int, int]]:
    """Yields the person's end and the program's end."""
    person, program = os.openpty()
    try:
        yield person, program
    finally:
        os.close(person)
        os.close(program)


def is_raw(descriptor: int) -> bool:
    return not termios.tcgetattr(descriptor)[LOCAL_FLAGS] & (termios.ICANON | termios.ECHO)


def test_raw_ends_with_the_block_even_after_a_failure() -> None:
    with pseudo_terminal() as (_, program):
        before = termios.tcgetattr(program)
        with pytest.raises(ZeroDivisionError), terminal.raw(program):
            assert is_raw(program)
            raise ZeroDivisionError
        assert termios.tcgetattr(program) == before


def test_keys_arrive_as_typed_without_a_line_feed() -> None:
    with pseudo_terminal() as (person, program), terminal.raw(program):
        assert terminal.read_keys(program, 0) is None
        os.write(person, b"\x03")
        assert terminal.read_keys(program, 10) == b"\x03"


def test_a_pipe_is_left_alone_and_has_an_end() -> None:
    read_end, write_end = os.pipe()
    with terminal.raw(read_end):
        terminal.write(write_end, b"x" * 5000)
        os.close(write_end)
        assert terminal.read_keys(read_end, 0) == b"x" * 4096
        assert terminal.read_keys(read_end, 0) == b"x" * 904
        assert terminal.read_keys(read_end, 0) == b""
    os.close(read_end)
