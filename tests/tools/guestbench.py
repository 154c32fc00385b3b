"""Starts one guest under emulation for a test, and waits for what it answers. No server, no libvirt.

Example::

    with guest(directory, ["-kernel", ...], forward=80) as port:
        page = fetch(f"http://127.0.0.1:{port}/", limit=120)
"""

from __future__ import annotations

import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flashvisor.errors import WaitTimeoutError
from flashvisor.host import clock, processes, qemu_system, sockets

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SERIAL = "serial.log"
ATTEMPT = 5.0  # seconds for one request
INTERVAL = 0.2  # seconds between two


@contextmanager
def guest(directory: Path, hardware: Sequence[str], *, forward: int) -> Iterator[int]:
    """Gives a running guest; yields the port of 127.0.0.1 that leads to its TCP port `forward`."""
    port = sockets.free_port()
    argv = [
        qemu_system.PROGRAM, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max,-la57",
        *hardware,
        "-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{port}-:{forward}",
        "-device", "virtio-net-pci,netdev=net,mac=52:54:00:00:00:01,romfile=",
        "-device", "virtio-rng-pci",
        "-serial", f"file:{directory / SERIAL}",
        "-D", str(directory / qemu_system.LOG_FILE), "-pidfile", str(directory / qemu_system.PID_FILE), "-daemonize",
    ]  # fmt: skip
    process = qemu_system.start(argv, directory)
    try:
        yield port
    finally:
        processes.stop(process, grace=0)


def fetch(url: str, *, limit: float) -> tuple[str, str]:
    """Asks until there is an answer, at most `limit` seconds. Returns the body and the Server header."""
    for _ in clock.ticks(INTERVAL, limit):
        try:
            with urllib.request.urlopen(url, timeout=ATTEMPT) as answer:  # noqa: S310 - our own loopback
                return answer.read().decode(), answer.headers["Server"]
        except OSError:
            continue
    raise WaitTimeoutError(f"{url} did not answer within {limit:.0f} s")
