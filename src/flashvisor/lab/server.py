"""One virtual server: power, console, screen, ports, and waiting for what it says.

Owns what can be done with a server that is in the rack. Does not own its coming and going (rack.py)::

    server = rack.get("alpha")
    server.wait_for(r"stage=ready", limit=120)
    server.power_off()                  # the plug is pulled
    server.power_on()
    server.forward(8080)                # returns the port of 127.0.0.1 that leads there
    server.resting_flash.corrupt("a", 70_000)  # off: a bit tips over
"""

from __future__ import annotations

import re
import shutil
import socket
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from flashvisor.errors import (
    ConsoleBusyError,
    MonitorError,
    NoFreePortError,
    ServerDiedError,
    ServerOffError,
    ServerOnError,
    WaitTimeoutError,
)
from flashvisor.host import clock, processes, qemu_system, sockets
from flashvisor.host.locks import exclusive
from flashvisor.lab import power as switch
from flashvisor.lab.flashslot import FlashSlot
from flashvisor.lab.machine import API_PORT, SERIAL_SOCKET, UPLINK, Accel, Paths
from flashvisor.lab.restingflash import RestingFlash
from flashvisor.lab.seriallog import LOOK, Moment, SerialLog, Tail, last_lines, settle
from flashvisor.lab.state import read_server, read_servers, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

    from flashvisor.lab.machine import ServerSpec
    from flashvisor.lab.state import Power, ServerState

CONNECT_LIMIT = 10.0  # seconds
RESET_LIMIT = 30.0  # seconds
CHUNK = 4096  # bytes


class PowerState(StrEnum):
    """Whether a server runs. ENDED: by itself; its system shut down, or its QEMU died (qemu.log tells)."""

    ON = "on"
    OFF = "off"
    ENDED = "ended"


class ServerReport(msgspec.Struct, frozen=True, kw_only=True):
    """A server at a glance. `uptime` is in seconds since power-on; `api` is HOST:PORT; `forwards` by server's port."""

    name: str
    state: PowerState
    uptime: float | None
    accel: Accel | None
    api: str
    forwards: dict[int, int]
    directory: str
    serial_log: str
    timeline: tuple[Moment, ...]


class Server:
    """A server of a rack. Every call reads the server's file anew: other commands may have changed it.

    Args:
        directory: The server's own.
        lock: The rack's lock file.
    """

    def __init__(self, directory: Path, lock: Path) -> None:
        self.paths = Paths(directory)
        self._lock = lock

    @property
    def name(self) -> str:
        """The server's name."""
        return self.paths.directory.name

    @property
    def spec(self) -> ServerSpec:
        """What the server consists of."""
        return self._state().spec

    @property
    def api_port(self) -> int:
        """The TCP port of 127.0.0.1 that leads to the server's API."""
        return self._state().forwards[API_PORT]

    @property
    def forwards(self) -> dict[int, int]:
        """TCP ports of 127.0.0.1 by the server's port."""
        return self._state().forwards

    @property
    def serial_log(self) -> Path:
        """The file with all that the serial console said since power-on."""
        return self.paths.serial_log

    @property
    def power(self) -> PowerState:
        """Whether the server runs."""
        power = self._state().power
        if power is None:
            return PowerState.OFF
        return PowerState.ON if processes.alive(power.qemu) else PowerState.ENDED

    @property
    def uptime(self) -> float:
        """Seconds since power-on.

        Raises:
            ServerOffError: it is off.
        """
        return clock.monotonic() - self._power().since

    def report(self) -> ServerReport:
        """Returns the server at a glance."""
        state, power = self._state(), self.power
        on = state.power if power is PowerState.ON else None
        return ServerReport(
            name=self.name,
            state=power,
            uptime=round(clock.monotonic() - on.since, 1) if on else None,
            accel=on.accel if on else None,
            api=f"{sockets.LOOPBACK}:{state.forwards[API_PORT]}",
            forwards=state.forwards,
            directory=str(self.paths.directory),
            serial_log=str(self.serial_log),
            timeline=self.timeline(),
        )

    def power_on(self) -> None:
        """Presses the button of a server that is off; one that runs goes on running.

        Raises:
            NoFreePortError: another program took one of its ports.
            ServerDiedError: it did not start.
        """
        with exclusive(self._lock):
            if self.power is not PowerState.ON:
                switch.power_on(self.paths, switch.power_off(self.paths, self._state()))

    def power_off(self) -> None:
        """Pulls the plug: the server has no time to write anything. Also when it is off."""
        with exclusive(self._lock):
            switch.power_off(self.paths, self._state())

    def forget_firmware(self) -> None:
        """Puts the firmware's variables back to what they were when the server was made, as an empty battery does.

        Raises:
            ServerOnError: it runs.
        """
        with exclusive(self._lock):
            if self.power is PowerState.ON:
                raise ServerOnError(f"{self.name} runs: its firmware's memory is in use")
            shutil.copyfile(self._state().spec.firmware_vars, self.paths.firmware_vars)

    def reset(self) -> None:
        """Pulls the reset line, and returns when the firmware starts anew.

        Raises:
            ServerOffError: it is off.
        """
        with self._monitor() as qmp:
            qmp.execute("system_reset")
            qmp.wait_event("RESET", limit=RESET_LIMIT)

    def press_power_button(self) -> None:
        """Presses the button of a running server: its system hears of it by ACPI and may shut down.

        Raises:
            ServerOffError: it is off.
        """
        with self._monitor() as qmp:
            qmp.execute("system_powerdown")

    @property
    def flash_slot(self) -> FlashSlot:
        """Where the flash device is pulled and put in while the server runs."""
        return FlashSlot(self.paths, self._monitor)

    @property
    def resting_flash(self) -> RestingFlash:
        """The flash device while the server is off."""
        return RestingFlash(self.paths, self._at_rest)

    def forward(self, guest_port: int, host_port: int | None = None) -> int:
        """Leads a TCP port of 127.0.0.1 to a port of the server, now and after every power-on.

        Args:
            guest_port: The server's port.
            host_port: Ours; any free one, or the one that leads there already, if None.

        Returns:
            Our port.

        Raises:
            NoFreePortError: `host_port` is taken.
            MonitorError: QEMU refused.
        """
        with exclusive(self._lock):
            state = self._state()
            now = state.forwards.get(guest_port)
            if now is not None and host_port in (None, now):
                return now
            port = host_port or sockets.free_port(self._taken_ports())
            if port in self._taken_ports() or not sockets.is_free(port):
                raise NoFreePortError(f"port {port} of {sockets.LOOPBACK} is taken")
            if self.power is PowerState.ON:
                self._change_forward(guest_port, old=now, new=port)
            write(self.paths.state, msgspec.structs.replace(state, forwards={**state.forwards, guest_port: port}))
        return port

    def position(self) -> int:
        """Returns where the serial log ends now, in bytes: what comes later is told from what was there before."""
        return self.serial_log.stat().st_size if self.serial_log.exists() else 0

    def wait_for(self, pattern: str, limit: float, *, since: int = 0) -> str:
        """Blocks until a line of the serial console matches, and stamps all stage lines that come meanwhile.

        Args:
            pattern: A regular expression, searched in each line; the last line counts before it is whole.
            limit: Seconds.
            since: Where in the log to start, from `position`.

        Returns:
            The line.

        Raises:
            ServerOffError: the server was put off.
            ServerDiedError: its QEMU ended before the line came.
            WaitTimeoutError: the line did not come.
        """
        power, wanted = self._power(), re.compile(pattern)
        stamps, tail = SerialLog(self.paths, power.since), Tail(self.serial_log, since)
        end = clock.monotonic() + limit
        while True:
            # First whether QEMU runs, then the log: what it said last must not be missed.
            ended = processes.wait_for_end(power.qemu, LOOK)
            stamps.look()
            for line in tail.read().decode(errors="replace").splitlines():
                if wanted.search(line):
                    return line
            if ended:
                raise self._died(f"{self.name} went off before its console said /{pattern}/")
            if clock.monotonic() > end:
                raise WaitTimeoutError(
                    f"the console of {self.name} did not say /{pattern}/ within {limit:.0f} s",
                    evidence=last_lines(self.serial_log),
                )

    def wait_off(self, limit: float) -> None:
        """Blocks until the server has gone off by itself.

        Raises:
            WaitTimeoutError: it still runs after `limit` seconds.
        """
        power = self._state().power
        if power is not None and not processes.wait_for_end(power.qemu, limit):
            raise WaitTimeoutError(f"{self.name} still runs after {limit:.0f} s", evidence=last_lines(self.serial_log))

    def timeline(self) -> tuple[Moment, ...]:
        """Returns the stages since power-on on the lab's clock, with "kernel-start" among them (`seriallog.settle`)."""
        power = self._state().power
        log = SerialLog(self.paths, power.since if power else 0.0)
        if power is not None:
            log.look()
        return settle(log.moments())

    def flash_bytes_written(self) -> int:
        """Returns the bytes written to the flash device since power-on, counted from outside.

        Raises:
            ServerOffError: it is off.
        """
        with self._monitor() as qmp:
            found = {item["device"]: item["stats"] for item in qmp.execute("query-blockstats")}
        return int(found["flash"]["wr_bytes"])

    def screenshot(self, path: Path) -> None:
        """Writes what the screen shows, as PNG.

        Raises:
            ServerOffError: it is off.
            MonitorError: QEMU cannot write it.
        """
        with self._monitor() as qmp:
            qmp.execute("screendump", filename=str(path.absolute()), format="png")

    def console(self) -> SerialLine:
        """Returns the serial console's line, both ways. A context manager.

        Raises:
            ServerOffError: it is off.
            ConsoleBusyError: somebody else has the line.
        """
        with self._monitor() as qmp:
            lines = {item["label"]: str(item["filename"]) for item in qmp.execute("query-chardev")}
        if not lines["serial"].startswith("disconnected:"):
            raise ConsoleBusyError(f"the console of {self.name} is in use")
        connection = sockets.connect(self.paths.directory, SERIAL_SOCKET, limit=CONNECT_LIMIT)
        return SerialLine(connection)

    def _state(self) -> ServerState:
        return read_server(self.paths.state)

    def _power(self) -> Power:
        power = self._state().power
        if power is None:
            raise ServerOffError(f"{self.name} is off")
        return power

    @contextmanager
    def _at_rest(self) -> Iterator[None]:
        with exclusive(self._lock):
            if self.power is PowerState.ON:
                raise ServerOnError(f"{self.name} runs: its flash is in use")
            yield

    def _monitor(self) -> qemu_system.Qmp:
        if not processes.alive(self._power().qemu):
            raise self._died(f"{self.name} has gone off by itself")
        return qemu_system.Qmp.connect(self.paths.directory)

    def _died(self, what: str) -> ServerDiedError:
        words = [last_lines(self.serial_log), last_lines(self.paths.directory / qemu_system.LOG_FILE)]
        return ServerDiedError(what, evidence="\n".join(words), next_step=ServerOffError.advice)

    def _taken_ports(self) -> set[int]:
        return {port for state in read_servers(self.paths.directory.parent) for port in state.forwards.values()}

    def _change_forward(self, guest_port: int, *, old: int | None, new: int) -> None:
        with self._monitor() as qmp:
            if old is not None:
                qmp.hmp(f"hostfwd_remove {UPLINK} tcp:{sockets.LOOPBACK}:{old}")
            if words := qmp.hmp(f"hostfwd_add {UPLINK} tcp:{sockets.LOOPBACK}:{new}-:{guest_port}"):
                raise MonitorError(f"QEMU refuses port {new} for {self.name}", evidence=words)


class SerialLine:
    """The serial console's line. A context manager; QEMU keeps the log whether or not somebody is on it."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(None)  # a quiet console is no fault
        self._connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Types; what is typed after the server went off is lost, as on a real line."""
        with suppress(OSError):
            self._connection.sendall(data)

    def receive(self) -> bytes:
        """Returns what the console says next; b"" when the line is closed."""
        try:
            return self._connection.recv(CHUNK)
        except OSError:
            return b""

    def close(self) -> None:
        """Leaves the line; a thread that waits in `receive` returns (close(2) alone would let it wait)."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
