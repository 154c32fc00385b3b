"""The ring as its users see it: what is appended is read again, and an idle ring writes nothing."""

from __future__ import annotations

import pytest

from flashvisor.errors import LayoutError, RingCorruptError, RingFullError
from flashvisor.flash.ring import Ring
from flashvisor.flash.ringformat import PAGE, PAYLOAD_LIMIT, SEGMENT
from flashvisor.flash.ringplan import COMPACTION, KEEP_BOOTS, KEEP_CONFIGS
from flashvisor.model.record import Config, Confirm, RecordKind, encode
from sim.flashsim import FlashSim, PowerCut

MIB = 1 << 20
NOISE = bytes(range(256))


def config(generation: int, *, confirmed: bool = False, text: str = "") -> bytes:
    return encode(Config(generation=generation, when=1.0, who="test", site_toml=text, confirmed=confirmed))


def test_a_blank_device_is_an_empty_ring_and_opening_writes_nothing() -> None:
    flash = FlashSim(2 * MIB)
    ring = Ring.open(flash)
    assert ring.latest(RecordKind.CONFIG) is None
    assert ring.records(RecordKind.BOOT) == []
    assert ring.lost == ()
    assert (flash.writes, flash.flushes, ring.bytes_written) == ([], 0, 0)


def test_what_is_appended_is_read_again_in_order() -> None:
    flash = FlashSim(2 * MIB)
    ring = Ring.open(flash)
    first = ring.append(RecordKind.BOOT, b"one", cause="boot")
    ring.append(RecordKind.IDENTITY, b"who", cause="claim")
    ring.append(RecordKind.BOOT, b"two", cause="boot")
    again = Ring.open(flash.power_on())
    assert [record.payload for record in again.records(RecordKind.BOOT)] == [b"one", b"two"]
    assert again.records(RecordKind.BOOT)[0] == first
    identity = again.latest(RecordKind.IDENTITY)
    assert identity is not None
    assert (identity.payload, identity.cause, identity.sequence) == (b"who", "claim", 2)


def test_every_byte_is_booked_to_its_cause_and_the_sum_survives() -> None:
    flash = FlashSim(2 * MIB)
    ring = Ring.open(flash)
    ring.append(RecordKind.BOOT, b"x", cause="boot")
    ring.append(RecordKind.CONFIG, config(1, text="no repetition: " + str(list(range(2000)))), cause="apply")
    assert ring.causes == {"boot": PAGE, "apply": sum(length for _, length in flash.writes) - PAGE}
    again = Ring.open(flash.power_on())
    assert again.bytes_written == sum(length for _, length in flash.writes)
    assert again.causes == {}


def test_the_largest_record_fits_and_a_larger_one_is_refused_before_anything_is_written() -> None:
    flash = FlashSim(4 * MIB)
    ring = Ring.open(flash)
    noise = b"".join(index.to_bytes(3) * 2 + NOISE[index % 200 :][:10] for index in range(PAYLOAD_LIMIT // 16))
    ring.append(RecordKind.IDENTITY, noise, cause="test")
    latest = Ring.open(flash.power_on()).latest(RecordKind.IDENTITY)
    assert latest is not None
    assert latest.payload == noise
    before = list(flash.writes)
    with pytest.raises(RingFullError, match=str(PAYLOAD_LIMIT + 1)):
        ring.append(RecordKind.IDENTITY, bytes(PAYLOAD_LIMIT + 1), cause="test")
    assert flash.writes == before


def test_incompressible_records_span_segments_and_fill_the_ring_only_so_far(incompressible: bytes) -> None:
    flash = FlashSim(4 * MIB)
    ring = Ring.open(flash)
    for number in range(100, 107):  # kinds of a later version: the newest of each is kept
        ring.append(number, incompressible, cause="test")
    assert max(length for _, length in flash.writes) <= SEGMENT // 4
    with pytest.raises(RingFullError, match="segments"):
        for number in range(107, 200):
            ring.append(number, incompressible, cause="test")
    again = Ring.open(flash.power_on())
    assert all(again.latest(number) for number in range(100, 107))
    assert again.latest(199) is None


def test_retention(incompressible: bytes) -> None:
    flash = FlashSim(8 * MIB)
    ring = Ring.open(flash)
    ring.append(RecordKind.IDENTITY, b"old", cause="claim")
    ring.append(RecordKind.IDENTITY, b"new", cause="claim")
    ring.append(77, incompressible[:9000], cause="later version")
    for generation in range(1, 81):
        ring.append(RecordKind.CONFIG, config(generation), cause="apply")
        if generation <= 10 or generation == 70:
            ring.append(RecordKind.CONFIRM, encode(Confirm(generation=generation)), cause="confirm")
        ring.append(RecordKind.BOOT, b"boot %d" % generation, cause="boot")
    for again in (ring, Ring.open(flash.power_on())):
        assert [record.payload for record in again.records(RecordKind.IDENTITY)] == [b"new"]
        assert again.latest(77) is not None
        assert [record.payload for record in again.records(RecordKind.CONFIG)] == [config(g) for g in range(49, 81)]
        assert [record.payload for record in again.records(RecordKind.CONFIRM)] == [encode(Confirm(generation=70))]
        assert len(again.records(RecordKind.BOOT)) == KEEP_BOOTS
        assert again.lost == ()


def test_the_newest_confirmed_generation_outlives_the_window() -> None:
    flash = FlashSim(8 * MIB)
    ring = Ring.open(flash)
    ring.append(RecordKind.CONFIG, config(1), cause="apply")
    ring.append(RecordKind.CONFIG, config(2), cause="apply")
    ring.append(RecordKind.CONFIRM, encode(Confirm(generation=2)), cause="confirm")
    for generation in range(3, 3 + 5 * KEEP_CONFIGS):
        ring.append(RecordKind.CONFIG, config(generation), cause="apply")
    again = Ring.open(flash.power_on())
    assert again.records(RecordKind.CONFIG)[0].payload == config(2)
    assert len(again.records(RecordKind.CONFIG)) == KEEP_CONFIGS + 1
    assert len(again.records(RecordKind.CONFIRM)) == 1


def test_wear_is_level_and_compaction_is_booked() -> None:
    flash = FlashSim(4 * MIB)
    ring = Ring.open(flash)
    ring.append(RecordKind.IDENTITY, b"kept for ever", cause="claim")
    for number in range(3200):
        ring.append(RecordKind.BOOT, b"%d" % number, cause="boot")
    per_segment = [0] * (flash.size // SEGMENT)
    for offset, length in flash.writes:
        per_segment[offset // SEGMENT] += length
    assert max(per_segment) - min(per_segment) <= SEGMENT
    assert 0 < ring.causes[COMPACTION] < ring.causes["boot"] / 4
    assert sum(per_segment) == ring.bytes_written
    again = Ring.open(flash.power_on())
    assert again.lost == ()
    assert [record.payload for record in again.records(RecordKind.IDENTITY)] == [b"kept for ever"]


def test_a_device_too_small_is_refused() -> None:
    with pytest.raises(LayoutError, match="at least"):
        Ring.open(FlashSim(7 * SEGMENT))


def test_a_failed_append_does_not_confuse_the_next_one() -> None:
    class Flaky(FlashSim):
        fail = False

        def flush(self) -> None:
            if self.fail:
                raise OSError("I/O error")
            super().flush()

    flash = Flaky(2 * MIB)
    ring = Ring.open(flash)
    ring.append(RecordKind.BOOT, b"1", cause="boot")
    flash.fail = True
    with pytest.raises(OSError, match="I/O"):
        ring.append(RecordKind.BOOT, b"2", cause="boot")
    flash.fail = False
    ring.append(RecordKind.BOOT, b"3", cause="boot")
    again = Ring.open(flash.power_on())
    assert [record.payload for record in again.records(RecordKind.BOOT)] == [b"1", b"2", b"3"]
    assert [record.sequence for record in again.records(RecordKind.BOOT)] == [1, 2, 3]


def test_damage_is_an_error_for_those_who_ask() -> None:
    flash = FlashSim(2 * MIB)
    Ring.open(flash).append(RecordKind.IDENTITY, b"only one", cause="claim")
    Ring.open(flash.power_on()).require_intact()
    flash.flip(8 * 20)
    ring = Ring.open(flash.power_on())
    assert ring.latest(RecordKind.IDENTITY) is None
    with pytest.raises(RingCorruptError, match="1 records") as caught:
        ring.require_intact()
    assert "segment 0, page 0" in caught.value.evidence


def test_a_cause_is_required() -> None:
    with pytest.raises(ValueError, match="cause"):
        Ring.open(FlashSim(2 * MIB)).append(RecordKind.BOOT, b"", cause="")


def test_the_simulator_cuts_power() -> None:
    flash = FlashSim(2 * MIB, cut_after=0)
    ring = Ring.open(flash)
    with pytest.raises(PowerCut):
        ring.append(RecordKind.BOOT, b"", cause="boot")
    with pytest.raises(RuntimeError, match="no power"):
        flash.read(0, 1)
