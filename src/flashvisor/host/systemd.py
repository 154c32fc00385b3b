"""systemd: readiness, watchdog, units, power. Without D-Bus: systemctl speaks to PID 1 over its private socket.

Source: sd_notify(3), sd_watchdog_enabled(3), systemctl(1), systemd.special(7)::

    notify("READY=1")
    reload_or_restart("systemd-networkd.service")
    power(Power.REBOOT)
"""

from __future__ import annotations

import os
import socket
from enum import StrEnum

from flashvisor.host.run import run

TIMEOUT = 60.0  # seconds


class Power(StrEnum):
    """What the server can do to itself; the values are systemd's targets."""

    REBOOT = "reboot"
    POWEROFF = "poweroff"


def version() -> str:
    """Returns the first line of `systemctl --version`.

    Raises:
        ToolMissingError: systemctl is not installed.
    """
    return run(["systemctl", "--version"]).stdout.partition("\n")[0]


def notify(state: str) -> None:
    """Tells systemd of the service's state ("READY=1"); does nothing when systemd did not start the process."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    # A leading @ stands for the abstract namespace, unix(7).
    name = f"\0{address[1:]}" if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.sendto(state.encode(), name)


def watchdog_interval() -> float | None:
    """Returns how often systemd wants to hear "WATCHDOG=1", in seconds: half of WatchdogSec; None if it does not."""
    limit, process = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not limit.isdecimal() or int(limit) == 0 or process not in ("", str(os.getpid())):
        return None
    return int(limit) / 2_000_000


def reload_or_restart(unit: str) -> None:
    """Makes a running service read its configuration again.

    Raises:
        CommandFailedError: systemd refused, or the unit failed.
    """
    run(["systemctl", "reload-or-restart", unit], timeout=TIMEOUT)


def power(action: Power) -> None:
    """Queues reboot or power-off and returns. Starts the target itself: there is no logind to ask.

    Raises:
        CommandFailedError: systemd refused.
    """
    run(
        ["systemctl", "--no-block", "--job-mode=replace-irreversibly", "start", f"{action}.target"],
        timeout=TIMEOUT,
    )
