"""A client's side of DNS, for tests: queries as bytes, and a name server of the world that knows one address."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flashvisor.model.dnsmessage import A, Record, answer, encode_name, read_question

if TYPE_CHECKING:
    from collections.abc import Iterator

FAR = bytes([192, 0, 2, 80])  # RFC 5737: what the world's name server says of every name


def query(name: str, kind: int, *, identity: int = 1) -> bytes:
    """A recursive question."""
    return struct.pack(">HHHHHH", identity, 0x0100, 1, 0, 0, 0) + encode_name(name) + struct.pack(">HH", kind, 1)


def code_of(reply: bytes) -> int:
    """How an answer ended."""
    return reply[3] & 0x0F


def data_of(reply: bytes) -> list[bytes]:
    """The answers' data. Names in answers are pointers, as our server and the one below write them."""
    found, place = [], 12
    while reply[place]:
        place += reply[place] + 1
    place += 5
    for _ in range(struct.unpack_from(">H", reply, 6)[0]):
        (length,) = struct.unpack_from(">H", reply, place + 10)
        found.append(reply[place + 12 : place + 12 + length])
        place += 12 + length
    return found


@contextmanager
def world(address: str, port: int) -> Iterator[list[str]]:
    """A name server that says FAR to all; yields the names that it was asked for."""
    asked: list[str] = []
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.create_server((address, port), reuse_port=False) as calls,
    ):
        datagrams.bind((address, port))

        def reply(message: bytes) -> bytes:
            question = read_question(message)
            assert question is not None
            asked.append(question.name)
            return answer(question, [Record(A, FAR)])

        def by_datagram() -> None:
            while True:
                message, client = datagrams.recvfrom(1 << 16)
                if not message:
                    return
                datagrams.sendto(reply(message), client)

        def by_call() -> None:
            while True:
                call, _ = calls.accept()
                with call:
                    head = call.recv(2)
                    if not head:
                        return
                    said = reply(call.recv(struct.unpack(">H", head)[0]))
                    call.sendall(struct.pack(">H", len(said)) + said)

        threads = [threading.Thread(target=target) for target in (by_datagram, by_call)]
        for thread in threads:
            thread.start()
        try:
            yield asked
        finally:
            datagrams.sendto(b"", (address, port))
            socket.create_connection((address, port)).close()
            for thread in threads:
                thread.join()
