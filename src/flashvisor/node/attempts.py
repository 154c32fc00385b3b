"""One question to one guest, in pieces that never block: a TCP connection, an HTTP status, what a serial port says.

Owns what is sent, and what counts as an answer. A guest may be hostile: little is read of it, and nothing is kept.
Does not own when to ask, or how long to wait (probes.py)::

    call = Call(Tcp("10.77.0.10", 80))
    selector.register(call.channel, call.events)
    call.step()                        # when it is ready: None while it goes on, "" for an answer, else what is wrong
"""

from __future__ import annotations

import errno
import os
import re
import selectors
import socket
import threading
from typing import TYPE_CHECKING

from flashvisor.node.questions import Http

if TYPE_CHECKING:
    from collections.abc import Callable

    from flashvisor.node.questions import Serial, Tcp

STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})[ \r\n]")  # RFC 9112, section 4
STATUS_LIMIT = 64  # bytes; a status line with its status is shorter
SAID_LIMIT = 1 << 16  # bytes of a serial port that are kept until they are looked at
LINE_LIMIT = 256  # bytes of a line that a pattern is held against at once
LINE_END = re.compile(rb"[\r\n]+")


class Call:
    """One TCP connection: opened, and asked for an HTTP status if that is the target."""

    def __init__(self, target: Tcp | Http) -> None:
        family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
        self.channel = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self.connected = False
        self._expect = 0
        self._unsent = self._heard = b""
        if isinstance(target, Http):
            self._expect = target.expect
            host = f"[{target.address}]" if family is socket.AF_INET6 else target.address
            lines = (f"GET {target.path} HTTP/1.1", f"Host: {host}:{target.port}", "Connection: close", "", "")
            self._unsent = "\r\n".join(lines).encode()
        code = self.channel.connect_ex((target.address, target.port))
        self.failed = "" if code in (0, errno.EINPROGRESS) else os.strerror(code)

    @property
    def events(self) -> int:
        """What it waits for."""
        waits_to_write = not self.connected or self._unsent
        return selectors.EVENT_WRITE if waits_to_write else selectors.EVENT_READ

    def step(self) -> str | None:
        """Goes on as far as it can without waiting.

        Returns:
            None while it goes on; "" for an answer; else what is wrong.
        """
        try:
            return self._step()
        except BlockingIOError:
            return None
        except OSError as error:
            return error.strerror or str(error)

    def close(self) -> None:
        """Hangs up."""
        self.channel.close()

    def _step(self) -> str | None:
        if not self.connected:
            code = self.channel.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                return os.strerror(code)
            self.connected = True
            return None if self._expect else ""
        if self._unsent:
            self._unsent = self._unsent[self.channel.send(self._unsent) :]
            return None
        data = self.channel.recv(STATUS_LIMIT)
        self._heard += data
        match = STATUS_LINE.match(self._heard)
        if match:
            status = int(match[1])
            return "" if status == self._expect else f"it answered with status {status}, not {self._expect}"
        return "it answered with something else than HTTP" if not data or len(self._heard) >= STATUS_LIMIT else None


class Ear:
    """What a guest says on its serial port until a line matches.

    Args:
        target: What is waited for.
        attach: Has a function hear the port from now on, and what was said before; returns what ends that.
    """

    def __init__(self, target: Serial, attach: Callable[[Callable[[bytes], None]], Callable[[], None]]) -> None:
        self._pattern = re.compile(target.pattern.encode())
        self._lock = threading.Lock()
        self._said = bytearray()
        self._line = b""
        self.close = attach(self._hear)

    def heard_it(self) -> bool:
        """Returns whether a line matched since the last call. Looks at what was said, at most `SAID_LIMIT` of it."""
        with self._lock:
            said, self._said = self._said, bytearray()
        lines = LINE_END.split(self._line + said)
        self._line = lines[-1][-LINE_LIMIT:]
        return any(self._matches(line) for line in lines)

    def _hear(self, data: bytes) -> None:
        with self._lock:
            self._said += data
            del self._said[:-SAID_LIMIT]

    def _matches(self, line: bytes) -> bool:
        # Half a piece further each time: what is found across two pieces is not missed.
        starts = range(0, max(1, len(line) - LINE_LIMIT // 2), LINE_LIMIT // 2)
        return any(self._pattern.search(line[start : start + LINE_LIMIT]) for start in starts)
