"""qemu-system-x86_64: start, version, and the monitor (QMP) of a running one.

Source: QEMU's docs/interop/qmp-spec, qemu-qmp-ref(7) for commands, qemu-system-x86_64(1) for options::

    mark = start(argv, directory)
    with Qmp.connect(directory) as qmp:
        qmp.execute("query-status")                       # {"status": "running", ...}
        qmp.hmp("hostfwd_add uplink tcp:127.0.0.1:20443-:443")
        qmp.wait_event("RESET", limit=5.0)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Self

import msgspec

from flashvisor.errors import CommandFailedError, MonitorError, ServerDiedError
from flashvisor.host import clock, processes, sockets
from flashvisor.host.run import run

if TYPE_CHECKING:
    import socket
    from pathlib import Path

PROGRAM = "qemu-system-x86_64"
MONITOR = "qmp.sock"  # relative to the server's directory, as are all its sockets
PID_FILE = "qemu.pid"
LOG_FILE = "qemu.log"
ANSWER_LIMIT = 30.0  # seconds; under emulation on a loaded machine the monitor may take a few
CHUNK = 65536  # bytes


class _Refusal(msgspec.Struct, frozen=True):
    desc: str


class _Message(msgspec.Struct, frozen=True):
    """Greeting, answer, refusal or event: whichever of these is set."""

    greeting: Any = msgspec.field(default=None, name="QMP")
    answer: Any = msgspec.field(default=msgspec.UNSET, name="return")
    error: _Refusal | None = None
    event: str = ""


def version() -> tuple[int, int]:
    """Returns major and minor version of the QEMU on this machine.

    Raises:
        ToolMissingError: it is not installed.
        ServerDiedError: it says nothing that looks like a version.
    """
    said = run([PROGRAM, "--version"]).stdout
    match = re.search(r"version (\d+)\.(\d+)", said)
    if match is None:
        raise ServerDiedError(f"{PROGRAM} --version does not tell its version", evidence=said)
    return int(match[1]), int(match[2])


def start(argv: list[str], directory: Path) -> processes.ProcessMark:
    """Starts a QEMU that goes to the background (`-daemonize`), and returns when its devices are there.

    Args:
        argv: The whole call; its pid file and log must be PID_FILE and LOG_FILE in `directory`.
        directory: The server's; relative names of sockets start there.

    Raises:
        ToolMissingError: QEMU is not installed.
        ServerDiedError: it did not start; its own words are the evidence.
    """
    try:
        return processes.start_daemon(argv, pid_file=directory / PID_FILE, log_to=directory / LOG_FILE, cwd=directory)
    except CommandFailedError as error:
        raise ServerDiedError(f"QEMU did not start for {directory.name}", evidence=error.evidence) from error


class Qmp:
    """The monitor of a running QEMU. A context manager; one client at a time, the next one waits its turn.

    Attributes:
        events: Names of the events that came since the connection, oldest first.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._decoder = msgspec.json.Decoder(_Message)
        self._pending = b""
        self.events: list[str] = []

    @classmethod
    def connect(cls, directory: Path, *, limit: float = ANSWER_LIMIT) -> Self:
        """Connects to the QEMU whose sockets lie in a directory, and agrees on capabilities.

        Raises:
            MonitorError: nobody answers within `limit` seconds.
        """
        try:
            monitor = cls(sockets.connect(directory, MONITOR, limit=limit))
        except OSError as error:
            raise MonitorError(f"the monitor of {directory.name} cannot be reached: {error}") from error
        try:
            monitor._next()
            monitor.execute("qmp_capabilities")
        except BaseException:
            monitor.close()
            raise
        return monitor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets the next client have the monitor. QEMU goes on."""
        self._connection.close()

    def greet(self) -> None:
        """Takes QEMU's greeting and agrees on capabilities: before that, QEMU takes no other command.

        Raises:
            MonitorError: QEMU did not answer.
        """
        self._next()
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: object) -> Any:  # noqa: ANN401 - each command has its own answer
        """Carries out a command. Keyword `_` stands for `-` in argument names.

        Returns:
            What the command returns, as plain dicts, lists and values.

        Raises:
            MonitorError: QEMU refused it or did not answer.
        """
        call = {"execute": command, "arguments": {name.replace("_", "-"): value for name, value in arguments.items()}}
        try:
            self._connection.sendall(msgspec.json.encode(call) + b"\n")
        except OSError as error:
            raise MonitorError(f"the monitor is gone before '{command}': {error}") from error
        while True:
            message = self._next()
            if message.error is not None:
                raise MonitorError(f"QEMU refuses '{command}': {message.error.desc}")
            if message.answer is not msgspec.UNSET:
                return message.answer

    def hmp(self, line: str) -> str:
        """Carries out a command of the human monitor, for what QMP lacks. Returns its words, empty for most.

        Raises:
            MonitorError: QEMU did not answer. A refusal is only told by the words.
        """
        return str(self.execute("human-monitor-command", command_line=line)).strip()

    def wait_event(self, name: str, *, limit: float) -> None:
        """Blocks until an event has come, also if it came before this call.

        Raises:
            MonitorError: it did not come within `limit` seconds.
        """
        end = clock.monotonic() + limit
        while name not in self.events:
            left = end - clock.monotonic()
            if left <= 0:
                raise MonitorError(f"QEMU's event {name} did not come within {limit:.0f} s")
            self._connection.settimeout(left)
            self._next(wait_for=f"event {name}")

    def _next(self, *, wait_for: str = "an answer") -> _Message:
        while b"\n" not in self._pending:
            self._pending += self._receive(wait_for)
        line, _, self._pending = self._pending.partition(b"\n")
        message = self._decoder.decode(line)
        if message.event:
            self.events.append(message.event)
        return message

    def _receive(self, wait_for: str) -> bytes:
        try:
            data = self._connection.recv(CHUNK)
        except OSError as error:
            raise MonitorError(f"the monitor did not give {wait_for}: {error}") from error
        if not data:
            raise MonitorError(f"QEMU ended while the monitor waited for {wait_for}")
        return data
