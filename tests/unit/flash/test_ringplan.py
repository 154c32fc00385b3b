"""Retention and planning, without a device."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flashvisor.errors import RingFullError
from flashvisor.flash.ringformat import HEADER, PAGE, SEGMENT, Geometry, cut, write_part
from flashvisor.flash.ringplan import (
    KEEP_CONFIGS,
    RESERVE,
    Flush,
    Record,
    State,
    Write,
    kept,
    plan_append,
    recover,
    window,
)
from flashvisor.model.record import Config, Confirm, RecordKind, encode

GEOMETRY = Geometry(32 * SEGMENT)


def config(sequence: int, generation: int, *, confirmed: bool = False) -> Record:
    payload = encode(Config(generation=generation, when=0.0, who="t", site_toml="", confirmed=confirmed))
    return Record(sequence, RecordKind.CONFIG, payload, "t")


def confirm(sequence: int, generation: int) -> Record:
    return Record(sequence, RecordKind.CONFIRM, encode(Confirm(generation=generation)), "t")


def test_a_confirmation_speaks_of_the_generation_before_it() -> None:
    assert kept([config(1, 5), confirm(2, 5), config(3, 5), confirm(4, 6)]) == {1, 2, 3}
    assert kept([confirm(1, 5), config(2, 5)]) == {2}
    assert kept([config(1, 5), confirm(2, 5), confirm(3, 5)]) == {1, 3}


def test_a_generation_born_confirmed_outlives_the_window() -> None:
    records = [config(1, 1, confirmed=True), *(config(n, n) for n in range(2, KEEP_CONFIGS + 9))]
    assert kept(records) == {1, *range(9, KEEP_CONFIGS + 9)}


def test_what_cannot_be_read_is_kept() -> None:
    strange = Record(1, RecordKind.CONFIRM, b"\xff of a later version", "t")
    assert kept([strange, Record(2, RecordKind.CONFIG, b"?", "t"), Record(3, 99, b"", "t")]) == {1, 2, 3}


def test_an_identity_has_copies_and_no_ancestors() -> None:
    def identity(sequence: int, payload: bytes) -> Record:
        return Record(sequence, RecordKind.IDENTITY, payload, "t")

    assert kept([identity(1, b"anna"), identity(2, b"anna"), identity(3, b"anna")]) == {2, 3}
    assert kept([identity(1, b"anna"), identity(2, b"anna"), identity(3, b"ben")]) == {3}


def test_the_newest_trust_is_kept_and_the_one_before() -> None:
    others = [Record(number, RecordKind.BOOT, b"x", "t") for number in range(10, 200)]
    trusts = [Record(number, RecordKind.TRUST, b"root", "t") for number in (1, 2, 3)]
    assert {number for number in kept([*trusts, *others]) if number < 10} == {2, 3}


def test_a_ledger_of_wear_leaves_the_one_before_it() -> None:
    ledgers = [Record(sequence, RecordKind.WEAR, b"{}", "wear ledger") for sequence in (1, 2, 3)]
    assert kept(ledgers) == {2, 3}


@pytest.mark.parametrize("kind", [RecordKind.IDENTITY, RecordKind.TRUST])
def test_a_flipped_bit_in_either_copy_leaves_what_is_burnt_twice(kind: RecordKind) -> None:
    first = plan_append(State(GEOMETRY), kind, b"anna", "burn")
    second = plan_append(first.state, kind, b"anna", "burn")
    writes = [action for plan in (first, second) for action in plan.actions if isinstance(action, Write)]
    for hit in writes:
        flash = bytearray(b"\xff" * SEGMENT)
        for write in writes:
            flash[write.offset : write.offset + len(write.data)] = write.data
        flash[hit.offset + HEADER] ^= 1
        state, _ = recover(GEOMETRY, {0: bytes(flash)})
        assert [record.payload for record in state.records] == [b"anna"]


def test_an_append_is_written_then_flushed() -> None:
    plan = plan_append(State(GEOMETRY), RecordKind.BOOT, b"x", "boot")
    assert [type(action) for action in plan.actions] == [Write, Flush]
    assert plan.booked == {"boot": PAGE}
    assert (plan.state.sequence, plan.state.page, plan.state.written) == (2, 1, PAGE)


def test_room_is_made_by_copying_then_flushing_before_the_record() -> None:
    state = plan_append(State(GEOMETRY), RecordKind.IDENTITY, b"kept", "claim").state
    plan = plan_append(replace(state, epoch=16), RecordKind.BOOT, b"x", "boot")
    assert [type(action) for action in plan.actions] == [Write, Flush, Write, Flush]
    assert plan.booked == {"boot": PAGE, "compaction": PAGE}
    assert plan.state.tail == 16


def test_a_kept_segment_is_never_written_over() -> None:
    state = plan_append(State(GEOMETRY), RecordKind.IDENTITY, b"kept", "claim").state
    cornered = replace(state, epoch=GEOMETRY.segments - 1, page=GEOMETRY.pages)
    with pytest.raises(RingFullError, match="spare"):
        plan_append(cornered, RecordKind.BOOT, b"x", "boot")


def test_opening_reads_what_is_in_use_and_a_little_beyond() -> None:
    state = State(GEOMETRY, epoch=40, page=0)
    part = plan_append(state, RecordKind.BOOT, b"x", "boot").actions[0]
    assert isinstance(part, Write)
    heads = [bytes(HEADER)] * GEOMETRY.segments
    assert window(GEOMETRY, heads) == list(range(GEOMETRY.segments))
    heads[40 % GEOMETRY.segments] = part.data[:HEADER]
    assert window(GEOMETRY, heads) == [epoch % GEOMETRY.segments for epoch in range(40, 40 + RESERVE + 1)]


def test_a_damaged_record_keeps_its_number_and_what_is_older_than_the_tail_does_not_count() -> None:
    first = plan_append(State(GEOMETRY, sequence=9), RecordKind.IDENTITY, b"secret", "claim")
    write = first.actions[0]
    assert isinstance(write, Write)
    state, lost = recover(GEOMETRY, {0: write.data.replace(b"secret", b"Secret").ljust(SEGMENT, b"\0")})
    assert (state.records, state.sequence, len(lost)) == ((), 10, 1)
    assert "record 9 (IDENTITY, written for 'claim')" in lost[0]
    later = plan_append(State(GEOMETRY, epoch=5, sequence=10), RecordKind.BOOT, b"x", "boot").actions[0]
    assert isinstance(later, Write)
    state, lost = recover(GEOMETRY, {0: write.data.ljust(SEGMENT, b"\0"), 5: later.data.ljust(SEGMENT, b"\0")})
    assert [record.sequence for record in state.records] == [10]
    assert lost == ()


def test_pieces_of_a_number_used_twice_are_not_mixed(incompressible: bytes) -> None:
    leftover = plan_append(State(GEOMETRY), RecordKind.IDENTITY, incompressible, "claim").actions[1]
    whole = plan_append(State(GEOMETRY, epoch=3), RecordKind.IDENTITY, b"small", "claim").actions[0]
    assert isinstance(leftover, Write)
    assert isinstance(whole, Write)
    medium = bytearray(GEOMETRY.size)
    for write in (leftover, whole):
        medium[write.offset : write.offset + len(write.data)] = write.data
    # Without a tail that says otherwise, the leftover counts as the second piece of a number in use.
    part = replace(cut(GEOMETRY, 1, RecordKind.IDENTITY, b"small", "claim")[0], epoch=3)
    medium[whole.offset : whole.offset + PAGE] = write_part(GEOMETRY, part)
    state, lost = recover(GEOMETRY, {index: bytes(medium[index * SEGMENT :][:SEGMENT]) for index in range(4)})
    assert [record.payload for record in state.records] == [b"small"]
    assert lost == ()
