"""An agent that serves, and a client of it, for modules that have a fixture `settings`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.api.address import parse_address
from flashvisor.api.client import Client
from sim.agentkit import agent, authority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flashvisor.node.agent import Agent
    from flashvisor.node.settings import Settings
    from flashvisor.trust.keyring import Keyring


@pytest.fixture
def running(settings: Settings, tmp_path: Path) -> Iterator[Agent]:
    with agent(settings, tmp_path / "console") as running:
        yield running


@pytest.fixture
def client(running: Agent, keyring: Keyring) -> Iterator[Client]:
    with Client(parse_address(authority(running)), keyring) as client:
        yield client
