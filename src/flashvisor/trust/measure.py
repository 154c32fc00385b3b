"""The firmware's event log: what was extended into which PCR. Pure: bytes in, events or an error out. Admin side only.

Owns the log's form and its replay. What an event's `kind` and `data` say is a claim of the log; only digests are what
the TPM holds. So a text counts only where its SHA-256 is the digest (`Event.proven`)::

    events = parse(log)
    replay(events)[4] == value          # the TPM's PCR 4, SHA-256 bank

Source: TCG PC Client Platform Firmware Profile 1.06, chapter 10 (TCG_PCR_EVENT2, EV_*); UEFI 2.10, 8.2.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from dataclasses import dataclass

from flashvisor.errors import EventLogFormatError

SHA256 = 0x000B
DIGEST = 32  # bytes
SPEC_ID = b"Spec ID Event03\0"
SPEC_ID_AT = 28  # bytes into the first event's data: numberOfAlgorithms
LOCALITY = b"StartupLocality\0"  # in an EV_NO_ACTION: what PCR 0 began with
NO_ACTION = 0x3
SEPARATOR = hashlib.sha256(bytes(4)).digest()  # of EV_SEPARATOR: firmware has done its part of this PCR
TEXT_LIMIT = 256  # bytes of an event that is a text: no executable is as short
# What events of PCR 0 and 2 are called, by their type. These words never decide anything.
WORDS = {
    0x01: "a part of the firmware", 0x04: "the mark that ends a part", 0x05: "an action", 0x07: "the firmware's core",
    0x08: "the firmware's version", 0x0A: "the platform's settings", 0x80000001: "a setting",
    0x80000002: "a boot setting", 0x80000003: "a program", 0x80000004: "a driver from a card",
    0x80000005: "a driver that stays", 0x80000007: "an action", 0x80000008: "a volume of firmware",
    0x80000009: "a table", 0x8000000A: "a volume of firmware", 0x8000000B: "a table",
    0x80000010: "the hardware's own measurement",
}  # fmt: skip
_FIRST = struct.Struct("<II20sI")  # PCR, type, SHA-1, length of the data
_EVENT = struct.Struct("<III")  # PCR, type, number of digests
_ALGORITHM = struct.Struct("<HH")  # algorithm, bytes of its digests
_VARIABLE = struct.Struct("<16sQQ")  # vendor, characters of the name, bytes of the data


@dataclass(frozen=True)
class Event:
    """Something that was extended into a PCR: its SHA-256 digest, and what the log says about it."""

    pcr: int
    kind: int
    digest: bytes
    data: bytes

    @property
    def proven(self) -> bool:
        """Whether the data are what was measured."""
        return hashlib.sha256(self.data).digest() == self.digest

    @property
    def text(self) -> str:
        """A short printable text that was measured ("Calling EFI Application from Boot Option"); "" for all else."""
        words = self.data.rstrip(b"\0")
        is_text = self.proven and len(words) <= TEXT_LIMIT and words.isascii() and words.decode().isprintable()
        return words.decode() if is_text else ""

    @property
    def word(self) -> str:
        """What the log calls it, for people."""
        return WORDS.get(self.kind, f"an event of type {self.kind:#x}")


@dataclass(frozen=True)
class Variable:
    """A UEFI variable that was measured."""

    name: str
    guid: uuid.UUID
    data: bytes


def parse(log: bytes) -> tuple[Event, ...]:
    """Reads a log, with what was extended nowhere (EV_NO_ACTION) left in.

    Raises:
        EventLogFormatError: it has another form, or no SHA-256 digests.
    """
    try:
        return tuple(_events(log))
    except (struct.error, ValueError) as error:
        raise EventLogFormatError("the firmware's event log cannot be read", evidence=str(error)) from error


def replay(events: tuple[Event, ...]) -> dict[int, bytes]:
    """Returns what the PCRs of the SHA-256 bank hold after these events; those that are not in it hold zeros."""
    values: dict[int, bytes] = {}
    for event in events:
        if event.kind == NO_ACTION:
            if event.pcr == 0 and event.data.startswith(LOCALITY) and len(event.data) == len(LOCALITY) + 1:
                values[0] = bytes(DIGEST - 1) + event.data[-1:]
            continue
        values[event.pcr] = hashlib.sha256(values.get(event.pcr, bytes(DIGEST)) + event.digest).digest()
    return values


def of_pcr(events: tuple[Event, ...], pcr: int) -> tuple[Event, ...]:
    """Returns what was extended into one PCR, in order."""
    return tuple(event for event in events if event.pcr == pcr and event.kind != NO_ACTION)


def variable(event: Event) -> Variable | None:
    """Returns the variable that an event measured (UEFI_VARIABLE_DATA); None if it was something else."""
    if not event.proven or len(event.data) < _VARIABLE.size:
        return None
    guid, characters, size = _VARIABLE.unpack_from(event.data)
    middle = _VARIABLE.size + 2 * characters
    if len(event.data) != middle + size:
        return None
    name = event.data[_VARIABLE.size : middle].decode("utf-16-le", errors="replace")
    return Variable(name=name, guid=uuid.UUID(bytes_le=guid), data=event.data[middle:])


def _events(log: bytes) -> list[Event]:
    _, kind, _, length = _FIRST.unpack_from(log)
    head = log[_FIRST.size : _FIRST.size + length]
    if kind != NO_ACTION or not head.startswith(SPEC_ID):
        raise ValueError("expected a log with digests of several algorithms (Spec ID Event03)")
    if len(head) != length:
        raise ValueError("the log ends within its first event")
    (count,) = struct.unpack_from("<I", head, SPEC_ID_AT - 4)
    sizes = dict(_ALGORITHM.unpack_from(head, SPEC_ID_AT + index * _ALGORITHM.size) for index in range(count))
    if sizes.get(SHA256) != DIGEST:
        raise ValueError("expected digests of SHA-256 among those in the log")
    found, start = [], _FIRST.size + length
    while start < len(log):
        event, start = _event(log, start, sizes)
        found.append(event)
    return found


def _event(log: bytes, start: int, sizes: dict[int, int]) -> tuple[Event, int]:
    pcr, kind, count = _EVENT.unpack_from(log, start)
    start += _EVENT.size
    digest = b""
    for _ in range(count):
        (algorithm,) = struct.unpack_from("<H", log, start)
        if algorithm not in sizes:
            raise ValueError(f"a digest of algorithm {algorithm:#x}, which the log does not declare")
        if algorithm == SHA256:
            digest = log[start + 2 : start + 2 + DIGEST]
        start += 2 + sizes[algorithm]
    (length,) = struct.unpack_from("<I", log, start)
    start += 4
    if len(digest) != DIGEST or start + length > len(log):
        raise ValueError(f"an event of PCR {pcr} has no SHA-256 digest, or reaches behind the log's end")
    return Event(pcr=pcr, kind=kind, digest=digest, data=log[start : start + length]), start + length
