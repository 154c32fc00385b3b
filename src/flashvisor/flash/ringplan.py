"""What the state ring keeps, where the next write goes, and what a damaged ring still says. Pure.

Bytes in, records out (`window`, `recover`); records and a wish in, writes out (`plan_append`). flash/ring.py does I/O.

Why it survives:

- A record counts when all its parts are intact. A write touches only pages that hold no kept record.
- Room is made by copying the kept records of the oldest segment to the head *with their numbers*; the segment counts as
  free only after a flush. Records read twice are one record, so a copy cut short does no harm.
- Nothing points to anything: which records are kept follows from the records themselves.
- RESERVE segments stay free, so that what one append writes between two flushes never reaches a kept record, and so
  that opening knows how far beyond the newest segment such writes may have come.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flashvisor.errors import RingFullError
from flashvisor.flash.ringformat import Geometry, Part, Verdict, cut, join, kind_name, read_part, write_part
from flashvisor.model.record import RecordKind, claim

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

KEEP_CONFIGS = 32  # generations, beside the newest confirmed one
KEEP_BOOTS = 64  # records
IDENTITY_COPIES = 2  # records; one flipped bit must not leave a server without its owner
TRUST_COPIES = 2  # records; nor without the root that its updates are verified by
# Older ones are what is left when the newest is damaged. A stale Slots names digests that flash no longer has.
KEEP_NEWEST = {RecordKind.BOOT: KEEP_BOOTS, RecordKind.SLOTS: 8, RecordKind.TRUST: TRUST_COPIES, RecordKind.WEAR: 2}
WINDOW = 16  # segments in use before room is made; more means less copying, and more to read at boot (2 MiB)
RESERVE = 6  # segments: 3 for the largest record, 2 for the copies of one segment, 1 to spare
COMPACTION = "compaction"  # the cause that copies are booked to
_FULL = 0.75  # share of the usable segments that kept records may fill; beyond it copying costs too much


@dataclass(frozen=True)
class Record:
    """A record as its writer gave it, and its number."""

    sequence: int
    kind: int
    payload: bytes
    cause: str


@dataclass(frozen=True)
class Write:
    """An action: bytes to an offset (bytes)."""

    offset: int
    data: bytes


@dataclass(frozen=True)
class Flush:
    """An action: what was written so far must reach flash before anything after it."""


@dataclass(frozen=True)
class State:
    """The ring as known: the kept records and where their parts stand, and where the next part goes."""

    geometry: Geometry
    records: tuple[Record, ...] = ()
    parts: tuple[Part, ...] = ()
    epoch: int = 0
    page: int = 0
    sequence: int = 1
    written: int = 0

    @property
    def tail(self) -> int:
        """The oldest epoch that holds a kept part."""
        return min((part.epoch for part in self.parts), default=self.epoch)


@dataclass(frozen=True)
class Plan:
    """The actions of one append, and what is true once they are done. `booked` is bytes by cause."""

    actions: tuple[Write | Flush, ...]
    state: State
    record: Record
    booked: Mapping[str, int]

    def batches(self, cause: str) -> Iterator[tuple[str, list[Write]]]:
        """Yields the writes up to each flush, with what they are booked to: the last ones write the record."""
        flushes = sum(isinstance(action, Flush) for action in self.actions)
        writes: list[Write] = []
        for action in self.actions:
            if isinstance(action, Write):
                writes.append(action)
            else:
                flushes -= 1
                yield COMPACTION if flushes else cause, writes
                writes = []


def kept(records: Iterable[Record]) -> set[int]:
    """Returns the numbers of the records that are kept: the newest of a kind; more of CONFIG, CONFIRM, KEEP_NEWEST.

    Of IDENTITY, copies of the newest are kept, never an older owner's: damage must not bring that one back.
    Kinds of later versions keep their newest, so that an older image does not lose them.
    """
    by_kind: dict[int, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.sequence):
        by_kind[record.kind].append(record)
    configs, confirms = by_kind.pop(RecordKind.CONFIG, []), by_kind.pop(RecordKind.CONFIRM, [])
    result = {record.sequence for kind, count in KEEP_NEWEST.items() for record in by_kind.get(kind, [])[-count:]}
    identities = by_kind.get(RecordKind.IDENTITY, [])[-IDENTITY_COPIES:]
    # A damaged record (asked about by `recover`) has no payload: it may have been a copy.
    result |= {record.sequence for record in identities if record.payload in {identities[-1].payload, b""}}
    result |= {rows[-1].sequence for rows in by_kind.values()}
    return result | _kept_configs(configs, confirms)


def _kept_configs(configs: list[Record], confirms: list[Record]) -> set[int]:
    result = {record.sequence for record in configs[-KEEP_CONFIGS:]}
    confirmed = _confirmations(configs, confirms)
    if confirmed:
        result.add(max(confirmed))
    result |= {confirmed[sequence] for sequence in result & confirmed.keys()}
    # What another version wrote, and what is damaged (asked about by `recover`), is not ours to drop.
    return result | {record.sequence for record in confirms[-KEEP_CONFIGS:] if claim(record.payload) is None}


def _confirmations(configs: list[Record], confirms: list[Record]) -> dict[int, int]:
    """Returns the numbers of confirmed CONFIG records, each with what confirms it: the newest CONFIRM, or itself.

    A CONFIRM speaks of the newest CONFIG of its generation that was written before it.
    """
    result: dict[int, int] = {}
    by_generation: dict[int, int] = {}
    for record in sorted([*configs, *confirms], key=lambda record: record.sequence):
        found = claim(record.payload)
        if found is None:
            continue
        if record.kind == RecordKind.CONFIG:
            by_generation[found.generation] = record.sequence
            if found.confirmed:
                result[record.sequence] = record.sequence
        elif found.generation in by_generation:
            result[by_generation[found.generation]] = record.sequence
    return result


def window(geometry: Geometry, heads: Sequence[bytes]) -> list[int]:
    """Returns which segments may hold anything that counts.

    Args:
        geometry: The ring's measures.
        heads: The first bytes (at least HEADER of them) of every segment, in order.
    """
    count = geometry.segments
    found = [read_part(geometry, head, index * geometry.pages).part for index, head in enumerate(heads)]
    known = [part for part in found if part]
    if not known:
        return list(range(count))
    newest = max(part.epoch for part in known)
    first = max(max(part.tail for part in known), newest - count + 1)
    return list(dict.fromkeys(epoch % count for epoch in range(first, newest + RESERVE + 1)))


def recover(geometry: Geometry, segments: Mapping[int, bytes]) -> tuple[State, tuple[str, ...]]:
    """Returns the ring's state, and in plain words what is lost.

    Args:
        geometry: The ring's measures.
        segments: The bytes of the segments that `window` named.
    """
    intact, damaged, lost = _walk(geometry, segments)
    floor = max((part.tail for part in [*intact, *damaged]), default=0)
    live = [part for part in intact if part.epoch >= floor]
    records, placed, broken = _assemble(live)
    ghosts = {part.sequence: part for part in [*damaged, *broken] if part.epoch >= floor}
    known = {record.sequence for record in records}
    missing = [
        Record(part.sequence, part.kind, b"", part.cause) for part in ghosts.values() if part.sequence not in known
    ]
    for sequence in sorted(kept([*records, *missing]) - known):
        part = ghosts[sequence]
        lost.append(
            f"record {sequence} ({kind_name(part.kind)}, written for '{part.cause}') at segment "
            f"{part.epoch % geometry.segments}, page {part.page} is not whole: power was cut while it was written, "
            "or flash is damaged there"
        )
    keep = kept(records)
    head = max(live, key=lambda part: (part.epoch, part.page), default=None)
    state = State(
        geometry,
        tuple(record for record in records if record.sequence in keep),
        tuple(part for part in placed if part.sequence in keep),
        epoch=head.epoch if head else floor,
        page=head.page + geometry.pages_of(len(head.body)) if head else 0,
        sequence=max((part.sequence for part in [*intact, *damaged]), default=0) + 1,
        written=max((part.written for part in [*intact, *damaged]), default=0),
    )
    return state, tuple(lost)


def _walk(geometry: Geometry, segments: Mapping[int, bytes]) -> tuple[list[Part], list[Part], list[str]]:
    """Returns intact parts, parts with a damaged body, and words about damaged headers."""
    intact: list[Part] = []
    damaged: list[Part] = []
    words: list[str] = []
    for index, data in segments.items():
        page = 0
        while page < geometry.pages:
            found = read_part(geometry, data, index * geometry.pages + page)
            if found.verdict is Verdict.HEADER_DAMAGED:
                words.append(
                    f"a record at segment {index}, page {page} has a damaged header: power was cut while it was "
                    "written, or flash is damaged there"
                )
            elif found.part:
                (intact if found.verdict is Verdict.INTACT else damaged).append(found.part)
            page += found.pages
    return intact, damaged, words


def _assemble(parts: list[Part]) -> tuple[list[Record], list[Part], list[Part]]:
    """Returns whole records by number, the newest copies of their parts, and parts of records that are not whole."""
    groups: dict[tuple[int, bytes], dict[int, Part]] = defaultdict(dict)
    for part in sorted(parts, key=lambda part: (part.epoch, part.page)):
        groups[part.sequence, part.whole][part.part] = part
    records: list[Record] = []
    placed: list[Part] = []
    broken: list[Part] = []
    for (sequence, _), group in sorted(groups.items()):
        pieces = [group[index] for index in sorted(group)]
        payload = join(pieces)
        if payload is None:
            broken += pieces
        else:
            records.append(Record(sequence, pieces[0].kind, payload, pieces[0].cause))
            placed += pieces
    return records, placed, broken


def plan_append(state: State, kind: int, payload: bytes, cause: str) -> Plan:
    """Returns how to append a record: first make room, then write it.

    Args:
        state: The ring as known.
        kind: RecordKind.
        payload: At most PAYLOAD_LIMIT bytes.
        cause: Why flash is written, 1 to CAUSE_LIMIT bytes of UTF-8.

    Raises:
        RingFullError: the record, or all kept records together, are too large.
    """
    record = Record(state.sequence, kind, payload, cause)
    pen = _Pen(state)
    parts = cut(state.geometry, record.sequence, kind, payload, cause)
    _check_room(state, parts)
    pen.make_room()
    copied = pen.written
    placed = [pen.put(part) for part in parts]
    pen.flush()
    records = (*state.records, record)
    keep = kept(records)
    after = State(
        state.geometry,
        tuple(row for row in records if row.sequence in keep),
        tuple(part for part in (*pen.parts, *placed) if part.sequence in keep),
        epoch=pen.epoch,
        page=pen.page,
        sequence=state.sequence + 1,
        written=pen.written,
    )
    booked = {cause: pen.written - copied}
    if copied > state.written:
        booked[COMPACTION] = copied - state.written
    return Plan(tuple(pen.actions), after, record, booked)


def _check_room(state: State, more: Sequence[Part]) -> None:
    geometry = state.geometry
    need, limit = _segments_for(geometry, (*state.parts, *more)), (geometry.segments - RESERVE) * _FULL
    if need > limit:
        raise RingFullError(
            f"the records to be kept would fill {need} segments of the state ring; {int(limit)} are usable"
        )


def _segments_for(geometry: Geometry, parts: Sequence[Part]) -> int:
    """Returns how many segments the parts fill at worst: a part that does not fit leaves a rest unused."""
    pages = sum(geometry.pages_of(len(part.body)) for part in parts)
    return -(-pages // (geometry.pages - geometry.part_pages + 1))


class _Pen:
    """Collects the actions of one plan while the head moves on."""

    def __init__(self, state: State) -> None:
        self.geometry = state.geometry
        self.parts = list(state.parts)
        self.epoch, self.page, self.written = state.epoch, state.page, state.written
        self.tail = state.tail
        self.actions: list[Write | Flush] = []

    def put(self, part: Part) -> Part:
        """Places a part at the head; it says the tail that was true at the last flush."""
        pages = self.geometry.pages_of(len(part.body))
        if self.page + pages > self.geometry.pages:
            self.epoch, self.page = self.epoch + 1, 0
        if self.epoch - self.geometry.segments >= self.tail:
            raise RingFullError("the state ring has no segment to spare; its last appends were all cut short")
        self.written += pages * self.geometry.page
        placed = replace(part, epoch=self.epoch, page=self.page, tail=self.tail, written=self.written)
        place = self.geometry.place(self.epoch, self.page)
        self.actions.append(Write(place * self.geometry.page, write_part(self.geometry, placed)))
        self.page += pages
        return placed

    def flush(self) -> None:
        """Ends a batch."""
        self.actions.append(Flush())

    def make_room(self) -> None:
        """Copies the kept parts of the oldest segments to the head until few enough segments are in use."""
        usable = self.geometry.segments - RESERVE
        target = min(max(WINDOW, 2 * _segments_for(self.geometry, self.parts)), usable)
        while self.epoch - self.tail + 1 > target:
            moving = [part for part in self.parts if part.epoch == self.tail]
            self.parts = [part for part in self.parts if part.epoch != self.tail]
            self.parts += [self.put(part) for part in moving]
            self.flush()
            self.tail = min((part.epoch for part in self.parts), default=self.epoch)
