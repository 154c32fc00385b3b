"""The whole agent in a test: a real ring in a file, fake hypervisor and machine.

Example::

    make_ring(settings.state, keyring)
    with agent(settings, tmp_path / "console") as running: ...
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flashvisor.flash.ring import Ring
from flashvisor.host.block import BlockFile
from flashvisor.host.console import Console
from flashvisor.model.record import Identity, RecordKind, encode
from flashvisor.node.agent import Agent
from flashvisor.node.settings import parse_arguments
from sim.nodekit import RING_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flashvisor.model.release import Memory
    from flashvisor.node.settings import Settings
    from flashvisor.trust.keyring import Keyring


def make_ring(path: Path, keyring: Keyring | None, *, size: int = RING_SIZE, trust: Memory | None = None) -> None:
    """A state ring as burning leaves it; of nobody's server without a keyring. `size` is in bytes."""
    with path.open("wb") as file:
        file.truncate(size)
    if keyring:
        node = keyring.issue_node("alpha")
        identity = Identity(
            node_name="alpha",
            owner_ca_pem=keyring.ca_pem.decode(),
            node_cert_pem=node.cert_pem.decode(),
            node_key_pem=node.key_pem.decode(),
        )
        with BlockFile(path, write=True) as device:
            ring = Ring.open(device)
            ring.append(RecordKind.IDENTITY, encode(identity), cause="burn")
            if trust:
                ring.append(RecordKind.TRUST, encode(trust), cause="burn")


def settings_of(ring: Path, *words: str) -> Settings:
    """An agent's settings: its ring, all else beside it, any free port of this machine."""
    place = ["--state", str(ring), "--root", str(ring.parent), "--address", "127.0.0.1", "--port", "0"]
    return parse_arguments(["--fake-driver", *words, *place])


@contextmanager
def agent(settings: Settings, console: Path) -> Iterator[Agent]:
    """The agent, booted."""
    console.touch()
    with Agent(settings, Console([console])) as agent:
        agent.boot()
        waiting = threading.Thread(target=agent.attend)
        waiting.start()
        try:
            yield agent
        finally:
            agent.stop()
            waiting.join()


def authority(running: Agent) -> str:
    """Where its API answers."""
    assert running.api is not None
    return f"127.0.0.1:{running.api.port}"
