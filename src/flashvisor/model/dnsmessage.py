"""DNS messages, as far as a server of a few names needs them: one question in, one answer out. Pure.

Owns bytes. Does not own sockets, nor who may ask what (node/nameserver.py)::

    question = read_question(datagram)          # None: not a query that anybody can answer
    answer(question, [Record(A, address.packed)])

Source: RFC 1035, 4.1 (header, question, resource record, compression).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HEADER = struct.Struct(">HHHHHH")  # identity, flags, then the counts of questions, answers, authorities, additions
TAIL = struct.Struct(">HH")  # type and class after a name
RECORD = struct.Struct(">HHHIH")  # pointer to the question's name, type, class, time to live, length
QR, AA, RD, RA = 0x8000, 0x0400, 0x0100, 0x0080
OPCODE = 0x7800
A, PTR, AAAA, ANY = 1, 12, 28, 255
INTERNET = 1
NAME_LIMIT = 255  # bytes
LABEL_LIMIT = 63  # bytes
FIRST_NAME = 0xC00C  # a pointer to right behind the header
TTL = 30  # seconds: a guest may have another address after the next apply


class Code(IntEnum):
    """How an answer ends (RFC 1035, 4.1.1)."""

    OK = 0
    FAILED = 2
    NO_SUCH_NAME = 3
    REFUSED = 5


@dataclass(frozen=True)
class Question:
    """What is asked. `name` is in lower case without the last dot; `raw` is the question's own bytes."""

    identity: int
    recursive: bool
    name: str
    kind: int
    raw: bytes


@dataclass(frozen=True)
class Record:
    """One answer to a question: its type and its bytes."""

    kind: int
    data: bytes


def read_question(message: bytes) -> Question | None:
    """Returns the question of a query; None if it is no query with exactly one question about the Internet."""
    if len(message) < HEADER.size:
        return None
    identity, flags, questions, *_ = HEADER.unpack_from(message)
    if flags & (QR | OPCODE) or questions != 1:
        return None
    found = _read_name(message)
    if found is None or found[1] + TAIL.size > len(message):
        return None
    name, place = found
    kind, space = TAIL.unpack_from(message, place)
    if space != INTERNET:
        return None
    raw = message[HEADER.size : place + TAIL.size]
    return Question(identity, bool(flags & RD), name, kind, raw)


def _read_name(message: bytes) -> tuple[str, int] | None:
    """The name right behind the header, and where it ends."""
    labels: list[str] = []
    place = HEADER.size
    while place < len(message) and place - HEADER.size < NAME_LIMIT:
        length = message[place]
        place += 1
        if length == 0:
            return ".".join(labels), place
        # Longer than any label: a pointer. A question has nothing to point at.
        if length > LABEL_LIMIT or place + length > len(message):
            return None
        labels.append(message[place : place + length].decode("ascii", "replace").lower())
        place += length
    return None


def answer(question: Question, records: Sequence[Record] = (), code: Code = Code.OK) -> bytes:
    """Returns the answer to a question."""
    flags = QR | AA | RA | (RD if question.recursive else 0) | code
    head = HEADER.pack(question.identity, flags, 1, len(records), 0, 0)
    body = b"".join(
        RECORD.pack(FIRST_NAME, record.kind, INTERNET, TTL, len(record.data)) + record.data for record in records
    )
    return head + question.raw + body


def answers(reply: bytes, query: bytes) -> bool:
    """Tells whether a message is a reply to this query: the same identity and the same question."""
    asked = read_question(query)
    if asked is None or len(reply) < HEADER.size:
        return False
    identity, flags, *_ = HEADER.unpack_from(reply)
    theirs = reply[HEADER.size : HEADER.size + len(asked.raw)]
    return bool(flags & QR) and identity == asked.identity and theirs.lower() == asked.raw.lower()


def encode_name(name: str) -> bytes:
    """Returns a name as a message has it, without compression."""
    labels = [label.encode("ascii") for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
