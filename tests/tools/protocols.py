"""Small clients of the protocols that appliances speak, on Python's own sockets. Only what the tests say and hear.

Each raises OSError while nobody answers, so that `until` (guestbench.py) asks again::

    until(lambda: dns_addresses(port, "printer.lan"), limit=60)
"""

from __future__ import annotations

import socket
import struct
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
ATTEMPT = 5.0  # seconds
NTP_EPOCH = 2_208_988_800  # seconds from 1900 to 1970 (RFC 5905)
BROADCAST = b"\xff" * 6
DHCP_COOKIE = b"\x63\x82\x53\x63"  # RFC 2131
DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5  # RFC 2132, option 53
HOSTNAME, ADDRESS, MESSAGE, SERVER = 12, 50, 53, 54  # options


@contextmanager
def tcp(port: int) -> Iterator[socket.socket]:
    """A connection to a port of this machine."""
    with closing(socket.create_connection((HOST, port), timeout=ATTEMPT)) as connection:
        yield connection


def read_exactly(connection: socket.socket, count: int) -> bytes:
    """Reads `count` bytes. QEMU accepts connections for guests that do not listen yet, and closes them again."""
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise ConnectionError("the other side closed the connection")
        data += more
    return data


def ask_udp(port: int, question: bytes) -> bytes:
    """Sends a datagram and returns the one that comes back."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as channel:
        channel.settimeout(1.0)
        channel.connect((HOST, port))
        channel.send(question)
        return channel.recv(2048)


def send_udp(port: int, message: bytes) -> None:
    """Sends a datagram that nobody answers."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as channel:
        channel.sendto(message, (HOST, port))


def dns_addresses(port: int, name: str) -> list[str]:
    """Returns the IPv4 addresses that a name server knows for a name (RFC 1035)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = labels + b"\0" + struct.pack("!HH", 1, 1)
    answer = ask_udp(port, struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + question)
    number, flags, _, answers, _, _ = struct.unpack_from("!HHHHHH", answer)
    assert (number, flags & 0x8000) == (7, 0x8000)
    if flags & 0x0F:
        raise ConnectionError(f"{name}: the server answers with code {flags & 0x0F}")
    found, at = [], 12 + len(question)
    for _ in range(answers):
        # dnsmasq names the question by a pointer, which is two bytes.
        kind, _, _, size = struct.unpack_from("!HHIH", answer, at + 2)
        at += 12 + size
        if kind == 1:
            found.append(socket.inet_ntoa(answer[at - size : at]))
    return found


def ntp_time(port: int) -> tuple[int, float]:
    """Returns a time server's stratum, and its time in seconds since 1970 (RFC 5905, figure 8)."""
    answer = ask_udp(port, b"\x23" + bytes(47))
    assert len(answer) >= 48
    assert answer[0] & 0x07 == 4  # mode: server
    seconds, fraction = struct.unpack_from("!II", answer, 40)
    return answer[1], seconds - NTP_EPOCH + fraction / 2**32


def redis(connection: socket.socket, *words: str) -> bytes:
    """Sends a command and returns the answer's first line, and the text behind a "$" (RESP2)."""
    parts = [word.encode() for word in words]
    connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
    line = b""
    while not line.endswith(b"\r\n"):
        line += read_exactly(connection, 1)
    if line.startswith(b"$") and line != b"$-1\r\n":
        return read_exactly(connection, int(line[1:]) + 2)[:-2]
    return line.strip()


class Mqtt:
    """A client of MQTT 3.1.1, with packets shorter than 128 bytes and no quality of service."""

    def __init__(self, connection: socket.socket, name: str) -> None:
        self._connection = connection
        self._send(0x10, _text("MQTT") + bytes([4, 2]) + struct.pack("!H", 60) + _text(name))
        assert self._receive() == (0x20, b"\0\0")

    def subscribe(self, topic: str) -> None:
        """Returns when the broker has agreed."""
        self._send(0x82, struct.pack("!H", 1) + _text(topic) + b"\0")
        assert self._receive() == (0x90, struct.pack("!HB", 1, 0))

    def publish(self, topic: str, message: str, *, retain: bool = False) -> None:
        """Sends a message; the broker keeps the last one that was retained."""
        self._send(0x30 | retain, _text(topic) + message.encode())

    def message(self) -> tuple[str, str]:
        """Returns the topic and the text of the next message."""
        kind, body = self._receive()
        assert kind & 0xF0 == 0x30
        (size,) = struct.unpack_from("!H", body)
        return body[2 : 2 + size].decode(), body[2 + size :].decode()

    def _send(self, kind: int, body: bytes) -> None:
        assert len(body) < 128
        self._connection.sendall(bytes([kind, len(body)]) + body)

    def _receive(self) -> tuple[int, bytes]:
        kind, size = read_exactly(self._connection, 2)
        return kind, read_exactly(self._connection, size)


def _text(text: str) -> bytes:
    return struct.pack("!H", len(text)) + text.encode()


class Wire:
    """The end of a network cable as QEMU gives it (`-netdev socket,udp=…`): one datagram for each frame."""

    def __init__(self, port: int, far: int, mac: bytes) -> None:
        self._channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._channel.bind((HOST, port))
        self._channel.connect((HOST, far))
        self._channel.settimeout(1.0)
        self._mac = mac

    def close(self) -> None:
        """Pulls the cable."""
        self._channel.close()

    def lease(self, server: str, hostname: str) -> str:
        """Asks one of the network's DHCP servers for an address, takes it, and returns it (RFC 2131)."""
        identity = {SERVER: socket.inet_aton(server)}
        self._send(DISCOVER, {})
        address = self._await(OFFER, identity)
        self._send(REQUEST, {**identity, ADDRESS: address, HOSTNAME: hostname.encode()})
        assert self._await(ACK, identity) == address
        return socket.inet_ntoa(address)

    def _send(self, kind: int, options: dict[int, bytes]) -> None:
        head = struct.pack("!BBBBIHH16x", 1, 1, 6, 0, 7, 0, 0x8000) + self._mac + bytes(10 + 64 + 128)
        listed = b"".join(bytes([code, len(value)]) + value for code, value in options.items())
        payload = head + DHCP_COOKIE + bytes([MESSAGE, 1, kind]) + listed + b"\xff"
        datagram = struct.pack("!HHHH", 68, 67, 8 + len(payload), 0) + payload
        start = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(datagram), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
        packet = start[:10] + struct.pack("!H", _checksum(start)) + start[12:] + datagram
        self._channel.send(BROADCAST + self._mac + b"\x08\x00" + packet)

    def _await(self, kind: int, wanted: dict[int, bytes]) -> bytes:
        """Returns the address in the next answer of that kind that has the wanted options."""
        while True:
            frame = self._channel.recv(2048)
            payload = frame[14 + 20 + 8 :]
            if frame[12:14] != b"\x08\x00" or frame[34:38] != struct.pack("!HH", 67, 68) or payload[:1] != b"\x02":
                continue
            options = _options(payload[240:])
            if options.get(MESSAGE) == bytes([kind]) and wanted.items() <= options.items():
                return payload[16:20]


def _options(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while data[at] != 0xFF:
        if data[at] == 0:
            at += 1
            continue
        size = data[at + 1]
        found[data[at]] = data[at + 2 : at + 2 + size]
        at += 2 + size
    return found


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF
