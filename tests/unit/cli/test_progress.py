"""Progress in pipes and on a terminal, on a clock that the tests drive."""

from __future__ import annotations

import io
import sys

import pytest

from flashvisor.cli.progress import progress, timed
from flashvisor.host import clock


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock: its last entry is now."""
    hands = [100.0]
    monkeypatch.setattr(clock, "monotonic", lambda: hands[-1])
    return hands


def test_plain_lines_tell_the_remaining_time(capsys: pytest.CaptureFixture[str], seconds: list[float]) -> None:
    with progress("uploading", total=1000) as advance:
        for _ in range(4):
            seconds.append(seconds[-1] + 10)
            advance(250)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "uploading …",
        "uploading: 20 %, 30.00 s left",
        "uploading: 50 %, 20.00 s left",
        "uploading: 70 %, 10.00 s left",
        "uploading: done in 40.00 s",
    ]


def test_an_unknown_total_and_an_empty_one(capsys: pytest.CaptureFixture[str], seconds: list[float]) -> None:
    for total in (None, 0):
        with progress("waiting", total=total) as advance:
            seconds.append(seconds[-1] + 2)
            advance(5)
        assert capsys.readouterr().err.splitlines() == ["waiting …", "waiting: done in 2.00 s"]


def test_a_failure_is_not_called_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), progress("dividing", total=None):
        raise ZeroDivisionError
    assert capsys.readouterr().err.splitlines() == ["dividing …"]


class Terminal(io.StringIO):
    """Standard error on a terminal."""

    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Puts a terminal in place of standard error (not in a fixture: pytest sets its own for each phase)."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return screen


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with progress("uploading", total=2048) as advance:
        advance(1024)
        advance(1024)
    assert "2.0/2.0 KiB" in terminal.getvalue()


def test_a_spinner_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with progress("waiting", total=None):
        pass
    assert "waiting" in terminal.getvalue()
    assert "0:00:00" in terminal.getvalue()


def test_a_bar_that_time_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with timed("compiling", expected=300.0):
        pass
    assert "5 min 00 s left" in terminal.getvalue()


def test_expected_time_in_plain_lines(capsys: pytest.CaptureFixture[str], seconds: list[float]) -> None:
    with timed("compiling", expected=300.0):
        seconds.append(seconds[-1] + 250)
    assert capsys.readouterr().err.splitlines() == [
        "compiling (about 5 min 00 s) …",
        "compiling (about 5 min 00 s): done in 4 min 10 s",
    ]
