"""Shared by the command line's tests: the program as a user calls it, against a server in memory."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from flashvisor.api import rollout
from flashvisor.api.client import Client
from flashvisor.cli import session
from flashvisor.cli.main import run
from sim.nodesim import NodeSim, guest_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flashvisor.trust.keyring import Keyring


@dataclass(frozen=True)
class Ran:
    """What a command left."""

    status: int
    stdout: str
    stderr: str


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory, and no settings in the environment."""
    path = tmp_path / "home"
    path.mkdir()
    monkeypatch.setenv("HOME", str(path))
    monkeypatch.setenv("USER", "admin")
    monkeypatch.setenv("LOGNAME", "admin")
    settings = ("NODE", "KEYS", "PASSPHRASE_FILE", "NEW_PASSPHRASE_FILE", "PIN_FILE")
    for name in (f"FLASHVISOR_{setting}" for setting in settings):
        monkeypatch.delenv(name, raising=False)
    return path


@pytest.fixture
def flashvisor(home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs the program with the given words."""
    del home

    def call(*words: str) -> Ran:
        capsys.readouterr()
        status = run(words)
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return call


@pytest.fixture
def sim(home: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> NodeSim:
    """The server that every command reaches, whatever its address."""
    del home
    sim = NodeSim(guests={"web": guest_report("web")})
    monkeypatch.setenv("FLASHVISOR_KEYS", str(keyring.directory))
    monkeypatch.setenv("FLASHVISOR_NODE", "alpha.example")
    monkeypatch.setattr(session, "Client", functools.partial(Client, transport=sim.transport()))
    return sim


@pytest.fixture
def five_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting looks five times and takes no time."""

    def ticks(interval: float, limit: float) -> Iterator[float]:
        del interval, limit
        yield from (0.0, 1.0, 2.0, 3.0, 4.0)

    monkeypatch.setattr(rollout, "ticks", ticks)
