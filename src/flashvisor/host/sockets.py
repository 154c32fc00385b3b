"""Unix sockets in directories of any depth, and free ports of the loopback interface.

A socket's address ends at 108 bytes (unix(7)), and a rack may lie deeper. The directory is opened, and the address
goes through /proc/self/fd, which is always short::

    with connect(directory, "qmp.sock", limit=5.0) as connection: ...
    port = free_port(taken={20443})
"""

from __future__ import annotations

import os
import secrets
import socket
from typing import TYPE_CHECKING

from flashvisor.errors import NoFreePortError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

LOOPBACK = "127.0.0.1"
# Below 32768, where the kernel takes the ports of outgoing connections from (ip(7), ip_local_port_range).
FIRST_PORT, LAST_PORT = 20000, 32767


def connect(directory: Path, name: str, *, limit: float) -> socket.socket:
    """Connects to the unix socket `name` in a directory. Later reads and writes wait at most `limit` seconds each.

    Raises:
        OSError: nobody listens there.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(limit)
        connection.connect(f"/proc/self/fd/{handle}/{name}")
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(handle)
    return connection


def free_port(taken: Collection[int] = ()) -> int:
    """Returns a TCP port of 127.0.0.1 on which nobody listens and that is not in `taken`.

    Raises:
        NoFreePortError: all are in use.
    """
    ports = range(FIRST_PORT, LAST_PORT + 1)
    start = secrets.randbelow(len(ports))  # two racks that choose at the same moment rarely meet
    for step in range(len(ports)):
        port = ports[(start + step) % len(ports)]
        if port not in taken and is_free(port):
            return port
    raise NoFreePortError(f"all TCP ports from {FIRST_PORT} to {LAST_PORT} of {LOOPBACK} are in use")


def is_free(port: int) -> bool:
    """Tells whether a TCP port of 127.0.0.1 could be listened on right now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As QEMU does it: a connection that has ended a minute ago does not keep its port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True
