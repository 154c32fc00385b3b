"""A guest's console on this terminal: both directions, and the three ways to end."""

from __future__ import annotations

import os
import queue
import sys
from typing import TYPE_CHECKING

import pytest

from flashvisor.cli import terminal_session

if TYPE_CHECKING:
    from collections.abc import Iterator


class Line:
    """A console that answers each key with its capital, like `api.client.Console`; "q" makes the guest hang up."""

    def __init__(self) -> None:
        self.said: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.typed = b""

    def send(self, data: bytes) -> None:
        self.typed += data
        self.said.put(b"" if data == b"q" else data.upper())

    def receive(self) -> bytes:
        return self.said.get(timeout=10)

    def close(self) -> None:
        self.said.put(b"")


class LastWord(Line):
    """A console that answers once and then closes."""

    def send(self, data: bytes) -> None:
        super().send(data)
        self.close()


class File:
    """A stream of which only the descriptor is used."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def fileno(self) -> int:
        return self.descriptor


@pytest.fixture
def pipes() -> Iterator[tuple[int, int, int, int]]:
    """Yields keyboard to type into, standard input, standard output, screen to read."""
    keyboard, screen = os.pipe(), os.pipe()
    descriptors = (keyboard[1], keyboard[0], screen[1], screen[0])
    yield descriptors
    for descriptor in descriptors:
        os.close(descriptor)


@pytest.mark.parametrize(("typed", "sent", "shown"), [(b"ab\x1dcd", b"ab", b"AB"), (b"q", b"q", b"")])
def test_leaving_and_being_left(
    pipes: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch, typed: bytes, sent: bytes, shown: bytes
) -> None:
    keyboard, stdin, stdout, screen = pipes
    monkeypatch.setattr(sys, "stdin", File(stdin))
    monkeypatch.setattr(sys, "stdout", File(stdout))
    line = Line()
    os.write(keyboard, typed)
    terminal_session.run(line)
    assert line.typed == sent
    os.write(stdout, b".")
    assert os.read(screen, 100) == shown + b"."


def test_at_the_end_of_input_the_answer_is_still_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    keyboard, screen = os.pipe(), os.pipe()
    monkeypatch.setattr(sys, "stdin", File(keyboard[0]))
    monkeypatch.setattr(sys, "stdout", File(screen[1]))
    line = LastWord()
    os.write(keyboard[1], b"hello")
    os.close(keyboard[1])
    line.said.put(b"before ")
    terminal_session.run(line)
    assert os.read(screen[0], 100) == b"before HELLO"
    for descriptor in (keyboard[0], *screen):
        os.close(descriptor)
