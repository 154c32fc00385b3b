"""udev's news: waits until a device is there, woken by udev itself. Source: netlink(7), libudev's monitor.

Example::

wait_until(Path("/dev/disk/by-partlabel/fv-state").exists, limit=20)
"""

from __future__ import annotations

import errno
import select
import socket
from typing import TYPE_CHECKING

from flashvisor.host.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

NETLINK_KOBJECT_UEVENT = 15
GROUP_UDEV = 2  # what udevd sends on after its rules ran and its links are made; group 1 is the kernel's own
BUFFER = 1 << 16  # bytes


def wait_until(ready: Callable[[], bool], limit: float) -> bool:
    """Waits until `ready()` holds, or `limit` seconds have passed. It is asked at first and after each news of udev.

    Returns:
        Whether it holds.
    """
    if ready():
        return True
    end = monotonic() + limit
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT) as channel:
        channel.bind((0, GROUP_UDEV))
        # Asked again: what came while the socket was being opened sent its news before anyone listened.
        while not ready():
            left = end - monotonic()
            if left <= 0 or not select.select([channel], [], [], left)[0]:
                return ready()
            drop_news(channel)
    return True


def news() -> Generator[None]:
    """Yields once it listens, and then after each news of udev, for ever."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT) as channel:
        channel.bind((0, GROUP_UDEV))
        yield
        while True:
            drop_news(channel)
            yield


def drop_news(channel: socket.socket) -> None:
    """Takes one datagram off a netlink socket. The kernel reports lost ones by ENOBUFS, and that is news as well."""
    try:
        channel.recv(BUFFER)
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
