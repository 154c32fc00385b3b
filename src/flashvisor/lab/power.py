"""Putting virtual servers on and off: processes started and stopped, and the server's file that tells of them.

Owns the order of the steps. Does not lock: callers hold the rack's lock::

    state = power_on(paths, state)
    state = power_off(paths, state)

Whatever happens in between, a process is found again: by the mark in the server's file, or by the pid file that the
process itself wrote, provided that its command line names this server's directory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flashvisor.errors import NoFreePortError
from flashvisor.host import clock, processes, qemu_system, sockets, swtpm
from flashvisor.lab import accel
from flashvisor.lab.machine import SERIAL_SOCKET, Wiring, qemu_argv
from flashvisor.lab.state import Power, write

if TYPE_CHECKING:
    from flashvisor.lab.machine import Paths
    from flashvisor.lab.state import ServerState

TPM_GRACE = 5.0  # seconds in which a TPM ends by itself once its server has gone


def power_on(paths: Paths, state: ServerState) -> ServerState:
    """Starts a server that is off. Nothing runs when it fails.

    Returns:
        The state that was written.

    Raises:
        NoFreePortError: another program took one of the server's ports while it was off.
        ServerDiedError: QEMU did not start.
        CommandFailedError: the TPM did not start.
        ToolMissingError: one of them is not installed.
    """
    for port in state.forwards.values():
        if not sockets.is_free(port):
            raise NoFreePortError(f"port {port} of {sockets.LOOPBACK}, which leads to {state.spec.name}, is taken")
    chosen = accel.choose(paths.directory.parent, state.spec.accel)
    _clear_last_run(paths)
    try:
        if state.spec.tpm:
            swtpm.start(paths.directory)
        since = clock.monotonic()
        argv = qemu_argv(state.spec, paths, Wiring(state.switch, state.forwards), chosen)
        qemu = qemu_system.start(argv, paths.directory)
        new = msgspec.structs.replace(state, power=Power(qemu=qemu, accel=chosen, since=since))
        write(paths.state, new)
    except BaseException:
        stop_processes(paths, state)
        raise
    return new


def power_off(paths: Paths, state: ServerState) -> ServerState:
    """Pulls a server's plug, also when it is off already. What it wrote to its disks stays; nothing is flushed.

    Returns:
        The state that was written.
    """
    stop_processes(paths, state)
    new = msgspec.structs.replace(state, power=None)
    write(paths.state, new)
    return new


def stop_processes(paths: Paths, state: ServerState | None) -> None:
    """Ends whatever runs for a server directory; `state` may be unknown when its file was never written."""
    found = processes.from_pid_file(paths.directory / qemu_system.PID_FILE, mentions=str(paths.directory))
    for qemu in {mark for mark in (found, state.power.qemu if state and state.power else None) if mark}:
        processes.stop(qemu, grace=0)
    tpm = processes.from_pid_file(paths.directory / "swtpm.pid", mentions=str(paths.directory))
    if tpm is not None and not processes.wait_for_end(tpm, TPM_GRACE if found else 0):
        processes.stop(tpm)


def _clear_last_run(paths: Paths) -> None:
    # A killed QEMU leaves its sockets behind. The last log is kept for one more run: it says why a server went away.
    for name in (qemu_system.MONITOR, SERIAL_SOCKET):
        (paths.directory / name).unlink(missing_ok=True)
    paths.moments.unlink(missing_ok=True)
    if paths.serial_log.exists():
        paths.serial_log.replace(paths.directory / "serial.previous.log")
