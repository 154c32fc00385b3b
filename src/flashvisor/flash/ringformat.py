"""How records lie in flash: bytes to parts and back. Pure.

The ring is a row of segments as large as an erase block; a segment is a row of pages. A record is cut into parts; each
part starts on a page, inside one segment, with a header, so that a write never touches a page that holds another
record (a torn page costs one record). Segments are used strictly in turn: the segment with epoch E stands at
E mod segments, which levels wear and tells stale content from new.

Checksums are SHA-256 cut to 128 bits. CRC-32 would find every single flipped bit, too, but lets one in 2^32 torn
writes pass, and stale pages beneath a torn write are themselves well-formed records; hashing costs 0.1 s for a whole
ring of 25 MiB, and opening reads only the part in use.

The header stands within the page's first sector (512 bytes), so that it is torn only if the sector itself is. It begins
and ends with a magic: one flipped bit cannot hide that a record stood there.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from enum import Enum, IntEnum

from flashvisor.errors import LayoutError, RingFullError
from flashvisor.model.record import RecordKind

SEGMENT = 128 << 10  # bytes; the erase block of common NOR and small NAND flash
PAGE = 4 << 10  # bytes; the unit that flash translation layers program
PAYLOAD_LIMIT = 256 << 10  # bytes of a record before compression
CAUSE_LIMIT = 40  # bytes of UTF-8
COMPRESS_FROM = 512  # bytes; smaller payloads fill one page anyway

_MAGIC = b"FVRING1\n"
_END = b"\nrecord\n"
# magic, place, epoch, tail, sequence, written | kind, encoding, part, parts | length, total | cause, whole, body
_FIELDS = struct.Struct("<8sIQQQQHBBBxII40s16s16s")
_DIGEST = 16  # bytes
HEADER = _FIELDS.size + _DIGEST + len(_END)  # bytes


class _Encoding(IntEnum):
    RAW = 0
    ZLIB = 1


class Verdict(Enum):
    """What a page holds where a part could start."""

    INTACT = "intact"
    BODY_DAMAGED = "not complete"
    HEADER_DAMAGED = "damaged"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Geometry:
    """The ring's measures, in bytes. The defaults are the real ones; tests use smaller ones."""

    size: int
    segment: int = SEGMENT
    page: int = PAGE

    @property
    def segments(self) -> int:
        """Whole segments in the ring."""
        return self.size // self.segment

    @property
    def pages(self) -> int:
        """Pages of a segment."""
        return self.segment // self.page

    @property
    def part_pages(self) -> int:
        """Most pages of a part. A quarter of a segment, so that little is left over at a segment's end."""
        return max(1, self.pages // 4)

    @property
    def body_limit(self) -> int:
        """Most bytes of a part's body."""
        return self.part_pages * self.page - HEADER

    def pages_of(self, body: int) -> int:
        """Returns how many pages a part with a body of so many bytes takes."""
        return -(-(HEADER + body) // self.page)

    def place(self, epoch: int, page: int) -> int:
        """Returns the page's number counted from the start of the device."""
        return epoch % self.segments * self.pages + page

    def check(self, reserve: int) -> None:
        """Raises LayoutError if the device is too small to be a ring with so many spare segments."""
        if self.segments < reserve + 2:
            raise LayoutError(
                f"the state ring has {self.size} bytes, and needs at least {(reserve + 2) * self.segment}"
            )


@dataclass(frozen=True)
class Part:
    """A piece of a record as it stands in flash, with everything its header says.

    `sequence` names the record; `part` of `parts` the piece. `epoch` and `page` say where it stands; `tail` is the
    oldest epoch in use, and `written` all bytes ever written to the ring, when it was written. `total` is the length
    of the payload; `whole` the digest of the record's encoded bytes.
    """

    sequence: int
    kind: int
    part: int
    parts: int
    encoding: int
    total: int
    cause: str
    whole: bytes
    body: bytes
    epoch: int = 0
    page: int = 0
    tail: int = 0
    written: int = 0


@dataclass(frozen=True)
class Found:
    """What `read_part` makes of a page. With a damaged body, `part` has an empty one and is else to be trusted."""

    verdict: Verdict
    part: Part | None = None
    pages: int = 1


def _digest(data: bytes | memoryview) -> bytes:
    return hashlib.sha256(data).digest()[:_DIGEST]


def kind_name(kind: int) -> str:
    """Returns a kind's name; kinds of later versions are called by number."""
    return RecordKind(kind).name if kind in set(RecordKind) else f"kind {kind}"


def cut(geometry: Geometry, sequence: int, kind: int, payload: bytes, cause: str) -> list[Part]:
    """Returns a record's parts, not placed yet.

    Args:
        geometry: The ring's measures.
        sequence: The record's number.
        kind: RecordKind, or the number of a later version's kind.
        payload: At most PAYLOAD_LIMIT bytes.
        cause: Why flash is written, in at most CAUSE_LIMIT bytes of UTF-8.

    Raises:
        RingFullError: the payload is too large for a record.
    """
    if len(payload) > PAYLOAD_LIMIT:
        raise RingFullError(f"a {kind_name(kind)} record has {len(payload)} bytes; a record may have {PAYLOAD_LIMIT}")
    if not cause or len(cause.encode()) > CAUSE_LIMIT:
        raise ValueError(f"a cause is 1 to {CAUSE_LIMIT} bytes, got {cause!r}")
    data, encoding = payload, _Encoding.RAW
    if len(payload) >= COMPRESS_FROM:
        squeezed = zlib.compress(payload, 9)
        if len(squeezed) < len(payload):
            data, encoding = squeezed, _Encoding.ZLIB
    limit = geometry.body_limit
    bodies = [data[start : start + limit] for start in range(0, len(data), limit)] or [b""]
    if len(bodies) > 255:
        raise RingFullError(f"a {kind_name(kind)} record of {len(data)} bytes would need {len(bodies)} parts")
    return [
        Part(sequence, kind, index, len(bodies), encoding, len(payload), cause, _digest(data), body)
        for index, body in enumerate(bodies)
    ]


def join(parts: list[Part]) -> bytes | None:
    """Returns the payload of a record from its parts in order, or None if they are not one whole record."""
    first = parts[0]
    if [part.part for part in parts] != list(range(first.parts)):
        return None
    data = b"".join(part.body for part in parts)
    if _digest(data) != first.whole:
        return None
    if first.encoding == _Encoding.RAW:
        return data
    try:
        payload = zlib.decompressobj().decompress(data, first.total + 1)
    except zlib.error:
        return None
    return payload if len(payload) == first.total else None


def write_part(geometry: Geometry, part: Part) -> bytes:
    """Returns the bytes of a placed part, whole pages of them."""
    head = _FIELDS.pack(
        _MAGIC, geometry.place(part.epoch, part.page), part.epoch, part.tail, part.sequence, part.written,
        part.kind, part.encoding, part.part, part.parts, len(part.body), part.total,
        part.cause.encode(), part.whole, _digest(part.body),
    )  # fmt: skip
    data = head + _digest(head) + _END + part.body
    return data.ljust(geometry.pages_of(len(part.body)) * geometry.page, b"\0")


def read_part(geometry: Geometry, segment: bytes, place: int) -> Found:
    """Returns what stands on a page.

    Args:
        geometry: The ring's measures.
        segment: The bytes of a segment, or its first page alone.
        place: The page's number counted from the start of the device.
    """
    page = place % geometry.pages
    start = page * geometry.page
    fields, rest = segment[start : start + _FIELDS.size], segment[start + _FIELDS.size : start + HEADER]
    if not fields.startswith(_MAGIC) and not rest.endswith(_END):
        return Found(Verdict.NOTHING)
    if len(rest) != HEADER - _FIELDS.size or rest[:_DIGEST] != _digest(fields):
        return Found(Verdict.HEADER_DAMAGED)
    values = _FIELDS.unpack(fields)
    _, stood, epoch, tail, sequence, written, kind, encoding, index, parts, length, total, cause, whole, check = values
    if stood != place or epoch % geometry.segments != place // geometry.pages:
        return Found(Verdict.NOTHING)  # a whole header, but of another place: another ring's, or part of a payload
    body = segment[start + HEADER : start + HEADER + length]
    whole_body = len(body) == length and _digest(body) == check
    text = cause.rstrip(b"\0").decode(errors="replace")
    part = Part(
        sequence, kind, index, parts, encoding, total, text, whole, body if whole_body else b"",
        epoch=epoch, page=page, tail=tail, written=written,
    )  # fmt: skip
    return Found(Verdict.INTACT if whole_body else Verdict.BODY_DAMAGED, part, geometry.pages_of(length))
