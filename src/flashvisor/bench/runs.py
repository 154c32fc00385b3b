"""One run: a server is powered on, and the lab's clock tells when it is ready and when its guest answers.

Owns what happens with a server between power-on and the end of a run, the same for all. Does not own what the servers
consist of (course.py) or what the numbers mean (measures.py)::

    contestant = warm_up(rack, spec, prepare, keep=Path("build/bench/warm/ours"))
    sample = run_once(rack, Contestant(spec, ready="stage=ready", guest_port=8080))
    sample.ready, sample.answer

Every run's server is a fresh copy of one that has been on before, firmware variables included: no first start is
measured. Seconds count from the moment at which QEMU is called.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import httpx

from flashvisor.errors import WaitTimeoutError
from flashvisor.host import clock
from flashvisor.host.files import copy_sparse
from flashvisor.host.sockets import LOOPBACK
from flashvisor.lab.seriallog import last_lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flashvisor.lab.machine import ServerSpec
    from flashvisor.lab.rack import Rack
    from flashvisor.lab.server import Server

READY_LIMIT = 600.0  # seconds
ANSWER_LIMIT = 600.0  # seconds
INTERVAL = 0.05  # seconds between two questions to a guest
ATTEMPT = 0.5  # seconds after which a question is asked anew: a lost packet must not cost more


@dataclass(frozen=True)
class Contestant:
    """A server that is measured.

    Args:
        spec: What each run's server is a copy of.
        ready: A regular expression; the first line of its console that matches says that it is ready.
        guest_port: The TCP port at which its guest answers over HTTP; None if it runs none.
        ram_used: Asks a ready server for the bytes of RAM in use; None if nobody wants to know.
    """

    spec: ServerSpec
    ready: str
    guest_port: int | None = None
    ram_used: Callable[[Server], int] | None = None


@dataclass(frozen=True)
class Sample:
    """One run: seconds from power-on to ready and to the guest's first answer, and bytes of RAM in use when ready."""

    ready: float
    answer: float | None
    ram: int | None


def warm_up(rack: Rack, spec: ServerSpec, prepare: Callable[[Server], None], keep: Path) -> ServerSpec:
    """Powers a server on for the first time, and keeps copies of what it then consists of.

    Args:
        rack: Where it stands meanwhile.
        spec: The server as it comes.
        prepare: Brings the running server to where runs shall start; then its plug is pulled.
        keep: A directory for the copies.

    Returns:
        The server as it is now, with a system disk and firmware variables.

    Raises:
        LabError: it did not come up.
    """
    keep.mkdir(parents=True, exist_ok=True)
    server = rack.up(spec)
    try:
        prepare(server)
        server.power_off()
        paths = server.paths
        copies = {paths.flash: keep / "flash.img", paths.firmware_vars: keep / "vars.fd"}
        copies[paths.data_disk(0)] = keep / "disk.img"
        for source, target in copies.items():
            copy_sparse(source, target)
    finally:
        rack.down(spec.name)
    return replace(spec, flash=keep / "flash.img", firmware_vars=keep / "vars.fd", system_disk=keep / "disk.img")


def run_once(rack: Rack, contestant: Contestant) -> Sample:
    """Powers a fresh copy of a contestant on, measures it, and takes it away.

    Raises:
        LabError: it died, or did not get ready.
        WaitTimeoutError: its guest did not answer.
    """
    server = rack.up(contestant.spec)
    try:
        port = None if contestant.guest_port is None else server.forward(contestant.guest_port)
        server.wait_for(contestant.ready, READY_LIMIT)
        ready = server.uptime
        answer = None if port is None else wait_answer(server, port)
        ram = contestant.ram_used(server) if contestant.ram_used else None
    finally:
        rack.down(contestant.spec.name)
    return Sample(ready=ready, answer=answer, ram=ram)


def wait_answer(server: Server, port: int) -> float:
    """Asks for a guest's web page until it comes; returns the seconds since the server's power-on.

    Args:
        server: The guest's server.
        port: Of 127.0.0.1, leading to the guest.

    Raises:
        WaitTimeoutError: no answer within ANSWER_LIMIT.
    """
    url = f"http://{LOOPBACK}:{port}/"
    for _ in clock.ticks(INTERVAL, ANSWER_LIMIT):
        try:
            httpx.get(url, timeout=ATTEMPT, trust_env=False).raise_for_status()
        except httpx.HTTPError:
            continue
        return server.uptime
    raise WaitTimeoutError(
        f"the guest of {server.name} did not answer {url} within {ANSWER_LIMIT:.0f} s",
        evidence=last_lines(server.serial_log),
    )
