"""The ring under every fault that FlashSim knows: over 2,000 cuts of power, and 4,500 flipped bits."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flashvisor.errors import RingFullError
from flashvisor.flash.ring import Record, Ring
from flashvisor.flash.ringformat import Geometry
from flashvisor.flash.ringplan import COMPACTION, kept
from flashvisor.model.record import Config, Confirm, RecordKind, encode
from sim.flashsim import FlashSim, PowerCut

if TYPE_CHECKING:
    from collections.abc import Iterator

# Small, so that a few dozen records go round the ring; the proportions are the real ones.
SEGMENT, PAGE, SEGMENTS = 4096, 512, 16
SIZE = SEGMENT * SEGMENTS
GEOMETRY = Geometry(SIZE, segment=SEGMENT, page=PAGE)
FAULTS = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


@dataclass(frozen=True)
class Wish:
    """A record to append."""

    kind: int
    payload: bytes


def chance(seed: int) -> Random:
    return Random(seed)  # noqa: S311 it must be repeatable


def noise(length: int, seed: int) -> bytes:
    return chance(seed).randbytes(length)


def wishes() -> st.SearchStrategy[list[Wish]]:
    generation = st.integers(1, 8)
    config = st.builds(
        lambda number, size, seed: Wish(
            RecordKind.CONFIG,
            encode(Config(generation=number, when=0.0, who="t", site_toml=noise(size, seed).hex())),
        ),
        generation, st.integers(0, 900), st.integers(0, 9),
    )  # fmt: skip
    confirm = st.builds(lambda number: Wish(RecordKind.CONFIRM, encode(Confirm(generation=number))), generation)
    latest = st.builds(
        lambda kind, size, seed: Wish(kind, noise(size, seed)),
        st.sampled_from([RecordKind.IDENTITY, RecordKind.WEAR, 99]), st.integers(0, 1500), st.integers(0, 9),
    )  # fmt: skip
    return st.lists(st.one_of(config, confirm, latest), min_size=1, max_size=30)


def everything(ring: Ring) -> list[Record]:
    kinds = [*RecordKind, *range(99, 130)]
    return sorted((record for kind in kinds for record in ring.records(kind)), key=lambda record: record.sequence)


def expected(records: list[Record]) -> list[Record]:
    keep = kept(records)
    return [record for record in records if record.sequence in keep]


def fill(flash: FlashSim, rounds: int) -> list[Record]:
    """Takes the ring's head `rounds` segments further, so that cuts happen to a ring that has gone round."""
    ring = Ring.open(flash, GEOMETRY)
    ring.append(RecordKind.IDENTITY, b"who", cause="claim")
    ring.append(RecordKind.CONFIG, encode(Config(generation=1, when=0.0, who="t", site_toml="")), cause="apply")
    for number in range(rounds * SEGMENT // PAGE):
        ring.append(RecordKind.WEAR, b"%d" % number, cause="wear")
    return everything(ring)


def cut_points(flash: FlashSim, todo: list[Wish]) -> int:
    """Returns how many writes the wishes take on this content."""
    trial = flash.power_on()
    ring = Ring.open(trial, GEOMETRY)
    for wish in todo:
        ring.append(wish.kind, wish.payload, cause="test")
    return len(trial.writes)


def append_until_cut(ring: Ring, todo: list[Wish]) -> Iterator[Record | Wish]:
    """Yields each record once acknowledged, and the wish that the cut interrupted."""
    for wish in todo:
        try:
            yield ring.append(wish.kind, wish.payload, cause="test")
        except PowerCut:
            yield wish
            return
        except RingFullError as error:  # an honest refusal; running out of spare segments is a failure
            assert "to be kept" in error.what
            return


@FAULTS
@given(todo=wishes(), rounds=st.sampled_from([0, 3, 15, 40]), data=st.data(), seed=st.integers(0, 1 << 30))
def test_any_cut_of_power_leaves_all_acknowledged_records(
    todo: list[Wish], rounds: int, data: st.DataObject, seed: int
) -> None:
    base = FlashSim(SIZE)
    before = fill(base, rounds)
    points = range(cut_points(base, todo))
    for point in data.draw(st.lists(st.sampled_from(points), min_size=8, max_size=8)):
        flash = FlashSim(SIZE, content=bytes(base.medium), cut_after=point, chance=chance(seed + point))
        acknowledged, interrupted = list(before), None
        for outcome in append_until_cut(Ring.open(flash, GEOMETRY), todo):
            if isinstance(outcome, Wish):
                interrupted = outcome
            else:
                acknowledged.append(outcome)
        assert interrupted is not None
        check_after_cut(Ring.open(flash.power_on(), GEOMETRY), acknowledged, interrupted)


def test_every_write_of_every_append_cut_short_in_many_ways() -> None:
    content = FlashSim(SIZE)
    fill(content, 7)
    ring = Ring.open(content, GEOMETRY)
    for kind in range(100, 124):  # kinds of a later version, kept for ever: there is always something to copy
        ring.append(kind, b"%d" % kind, cause="test")
    history = everything(ring)
    points = copies = 0
    for step in range(48):
        wish = Wish(RecordKind.WEAR, b"%d" % step)
        if step % 3 == 0:
            wish = Wish(RecordKind.IDENTITY, noise(60 * step, step))
        if step % 8 == 1:
            wish = Wish(RecordKind.CONFIG, encode(Config(generation=step, when=0.0, who="t", site_toml="")))
        whole = FlashSim(SIZE, content=bytes(content.medium))
        ring = Ring.open(whole, GEOMETRY)
        record = ring.append(wish.kind, wish.payload, cause="test")
        copies += COMPACTION in ring.causes
        for point in range(len(whole.writes)):
            for seed in range(15):
                flash = FlashSim(SIZE, content=bytes(content.medium), cut_after=point, chance=chance(seed))
                assert list(append_until_cut(Ring.open(flash, GEOMETRY), [wish])) == [wish]
                check_after_cut(Ring.open(flash.power_on(), GEOMETRY), history, wish)
                points += 1
        history = expected([*history, record])
        content = whole
    assert points > 1200
    assert copies >= 5


def check_after_cut(ring: Ring, acknowledged: list[Record], interrupted: Wish) -> None:
    """The ring holds what was acknowledged, and of the interrupted record all or nothing; and goes on working."""
    seen = everything(ring)
    possible = [expected(acknowledged)]
    sequence = acknowledged[-1].sequence + 1 if acknowledged else 1
    whole = Record(sequence, interrupted.kind, interrupted.payload, "test")
    possible.append(expected([*acknowledged, whole]))
    assert seen in possible
    assert all("power was cut" in line for line in ring.lost)
    assert seen == possible[0] or ring.lost == ()
    added = ring.append(RecordKind.WEAR, b"after the cut", cause="test")
    survived = [*acknowledged, whole] if seen != possible[0] else acknowledged
    assert everything(ring) == expected([*survived, added])


@FAULTS
@given(todo=wishes(), cuts=st.lists(st.integers(0, 12), min_size=4, max_size=12), seed=st.integers(0, 1 << 30))
def test_cut_after_cut_after_cut(todo: list[Wish], cuts: list[int], seed: int) -> None:
    """A server whose plug is pulled at every boot neither loses what was acknowledged nor fills its ring."""
    flash = FlashSim(SIZE, chance=chance(seed))
    alive = fill(flash, 14)
    for after in cuts:
        flash = flash.power_on(cut_after=after)
        ring = Ring.open(flash, GEOMETRY)
        for outcome in append_until_cut(ring, todo):
            if isinstance(outcome, Record):
                alive = expected([*alive, outcome])
        if flash.powered:
            flash.cut()
        seen = everything(Ring.open(flash.power_on(), GEOMETRY))
        in_flight = [record for record in seen if record.sequence > alive[-1].sequence]
        assert len(in_flight) <= 1
        assert seen == expected([*alive, *in_flight])
        alive = seen


@FAULTS
@given(todo=wishes(), rounds=st.sampled_from([0, 3, 15, 40]), data=st.data())
def test_any_flipped_bit_costs_at_most_one_record_and_is_told(
    todo: list[Wish], rounds: int, data: st.DataObject
) -> None:
    flash = FlashSim(SIZE)
    fill(flash, rounds)
    ring = Ring.open(flash, GEOMETRY)
    for wish in todo:
        ring.append(wish.kind, wish.payload, cause="test")
    whole = everything(ring)
    for bit in data.draw(st.lists(st.integers(0, SIZE * 8 - 1), min_size=10, max_size=10)):
        flash.flip(bit)
        damaged = Ring.open(flash, GEOMETRY)
        flash.flip(bit)
        seen = everything(damaged)
        gone = [record for record in whole if record not in seen]
        if any(record.kind == RecordKind.CONFIG for record in gone):  # its CONFIRM says nothing without it
            gone = [record for record in gone if record.kind != RecordKind.CONFIRM]
        assert len(gone) <= 1
        assert not gone or damaged.lost, "a record is gone, and nobody says so"
        assert [record for record in seen if record.sequence > max(row.sequence for row in whole)] == []


def test_every_single_bit_of_one_record() -> None:
    flash = FlashSim(SIZE)
    ring = Ring.open(flash, GEOMETRY)
    first = ring.append(RecordKind.CONFIG, noise(40, 1), cause="apply")
    second = ring.append(RecordKind.CONFIG, noise(40, 2), cause="apply")
    lost = 0
    for bit in range(PAGE * 8):
        flash.flip(bit)
        damaged = Ring.open(flash, GEOMETRY)
        flash.flip(bit)
        rest = damaged.records(RecordKind.CONFIG)
        assert rest in ([first, second], [second])
        if rest == [second]:
            lost += 1
            assert damaged.lost
        else:
            assert all("header" in line for line in damaged.lost)
    assert lost >= 8 * (40 + 100)
