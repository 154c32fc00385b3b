"""Starts one guest under emulation for a test, and waits for what it answers. No server, no libvirt.

Example::

    with guest(directory, ["-kernel", ...], forward=80) as port:
        page = fetch(f"http://127.0.0.1:{port}/", limit=120)
    with boot(directory, appliance_hardware(...), forwards=["udp:53"]) as running:
        running.ports["udp:53"]
        running.push_power_button(limit=60)
"""

from __future__ import annotations

import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from flashvisor.errors import WaitTimeoutError
from flashvisor.host import clock, processes, qemu_system, sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

Answer = TypeVar("Answer")
SERIAL = "serial.log"
ATTEMPT = 5.0  # seconds for one request
INTERVAL = 0.2  # seconds between two


@dataclass(frozen=True)
class Running:
    """A running guest: its directory, and the ports of 127.0.0.1 that lead to it, by what they lead to."""

    directory: Path
    process: processes.ProcessMark
    ports: dict[str, int]

    def push_power_button(self, *, limit: float) -> None:
        """Returns when the guest has switched itself off."""
        with qemu_system.Qmp.connect(self.directory) as monitor:
            monitor.execute("system_powerdown")
        self.wait_for_end(limit=limit)

    def wait_for_end(self, *, limit: float) -> None:
        """Returns when the guest is off."""
        if not processes.wait_for_end(self.process, limit):
            raise WaitTimeoutError(f"the guest still runs after {limit:.0f} s", evidence=self.serial())

    def serial(self) -> str:
        """What it has said so far."""
        return (self.directory / SERIAL).read_text(errors="replace")


@contextmanager
def boot(directory: Path, hardware: Sequence[str], *, forwards: Sequence[str], card: str = "net") -> Iterator[Running]:
    """Gives a running guest.

    Args:
        directory: Takes its logs and its monitor.
        hardware: QEMU's arguments beside machine, card, clock and serial port.
        forwards: Ports of the guest, as in "tcp:80".
        card: The network that the card is on: "net" is QEMU's own, with DHCP.
    """
    ports: dict[str, int] = {}
    for forward in forwards:
        ports[forward] = sockets.free_port(taken=ports.values())
    leads = "".join(
        f",hostfwd={name.partition(':')[0]}:127.0.0.1:{port}-:{name.partition(':')[2]}" for name, port in ports.items()
    )
    argv = [
        qemu_system.PROGRAM, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max,-la57",
        "-netdev", f"user,id=net{leads}",
        *hardware,
        "-device", f"virtio-net-pci,netdev={card},mac=52:54:00:00:00:01,romfile=",
        "-device", "virtio-rng-pci",
        "-serial", f"file:{directory / SERIAL}",
        "-qmp", f"unix:{qemu_system.MONITOR},server=on,wait=off",
        "-D", str(directory / qemu_system.LOG_FILE), "-pidfile", str(directory / qemu_system.PID_FILE), "-daemonize",
    ]  # fmt: skip
    process = qemu_system.start(argv, directory)
    try:
        yield Running(directory, process, ports)
    finally:
        processes.stop(process, grace=0)


@contextmanager
def guest(directory: Path, hardware: Sequence[str], *, forward: int) -> Iterator[int]:
    """Gives a running guest; yields the port of 127.0.0.1 that leads to its TCP port `forward`."""
    with boot(directory, hardware, forwards=[f"tcp:{forward}"]) as running:
        yield running.ports[f"tcp:{forward}"]


def until(ask: Callable[[], Answer], *, limit: float) -> Answer:
    """Asks until there is an answer, at most `limit` seconds. Who cannot be reached raises OSError."""
    for _ in clock.ticks(INTERVAL, limit):
        try:
            return ask()
        except OSError as error:
            last = error
    raise WaitTimeoutError(f"no answer within {limit:.0f} s: {last}")


def fetch(url: str, *, limit: float) -> tuple[str, str]:
    """Asks until there is an answer, at most `limit` seconds. Returns the body and the Server header."""

    def ask() -> tuple[str, str]:
        with urllib.request.urlopen(url, timeout=ATTEMPT) as answer:  # noqa: S310 - our own loopback
            return answer.read().decode(), answer.headers["Server"]

    return until(ask, limit=limit)
