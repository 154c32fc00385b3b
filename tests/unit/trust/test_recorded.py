"""A real answer: the lab's OVMF and swtpm, a start of our image with the owner's keys in the firmware.

recorded.json was taken on 2026-11-24 from a server of the lab (QEMU q35, OVMF 2022.11, swtpm 0.7, systemd-stub 257.13).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashvisor.api.types import AttestReport
from flashvisor.errors import BadQuoteError, EventLogFormatError, FalseEventLogError, TrustError
from flashvisor.host.tpm import Quote
from flashvisor.model.measurement import Measurements
from flashvisor.trust import attest, measure


class Recorded(msgspec.Struct, frozen=True):
    """The file's shape."""

    report: AttestReport
    owner: dict[str, bytes]
    measurements: Measurements


TAKEN = msgspec.json.decode(Path(__file__).with_name("recorded.json").read_bytes(), type=Recorded)
REAL = Quote(**msgspec.structs.asdict(TAKEN.report))
NONCE = bytes(range(32))
EVENTS = measure.parse(REAL.log)
FIRMWARE = attest.read(REAL, NONCE).firmware()
JUDGED = [event for event in EVENTS if event.pcr in attest.PCRS]


SIZES = {0x4: 20, 0xB: 32, 0xC: 48, 0xD: 64}  # bytes of the digests in this log
STARTS = [len(REAL.log)]
for one in reversed(EVENTS):
    digests = sum(2 + size for size in SIZES.values())
    STARTS.insert(0, STARTS[0] - (12 + digests + 4 + len(one.data)))


def findings(answer: Quote, expected: Measurements = TAKEN.measurements) -> list[attest.Finding]:
    measured = attest.read(answer, NONCE)
    return list(attest.compare(measured, expected, owner=TAKEN.owner, known=FIRMWARE))


def test_it_is_as_it_should_be() -> None:
    found = findings(REAL)
    assert [each.pcr for each in found] == [4, 11, 12, 7, 0, 2]
    assert all(each.good for each in found)


@pytest.mark.parametrize("name", [section.name for section in TAKEN.measurements.sections])
def test_each_section_is_told_by_name(name: str) -> None:
    sections = tuple(
        msgspec.structs.replace(one, sha256="0" * 64) if one.name == name else one
        for one in TAKEN.measurements.sections
    )
    found = findings(REAL, msgspec.structs.replace(TAKEN.measurements, sections=sections))
    (bad,) = (each for each in found if not each.good)
    assert bad.pcr == 11
    assert f"({name}) is not the one that was built" in bad.what


def flipped(data: bytes, where: int) -> bytes:
    return data[:where] + bytes([data[where] ^ 1]) + data[where + 1 :]


@pytest.mark.parametrize("event", JUDGED, ids=lambda event: f"PCR {event.pcr} {event.digest.hex()[:8]}")
def test_a_digest_that_was_changed_in_the_log_is_noticed(event: measure.Event) -> None:
    start = 0
    while (start := REAL.log.find(event.digest, start)) >= 0:
        changed = replace(REAL, log=flipped(REAL.log, start))
        if measure.parse(changed.log) != EVENTS:
            with pytest.raises(FalseEventLogError):
                attest.read(changed, NONCE)
            return
        start += 1
    pytest.fail("its digest is nowhere in the log")


def test_a_variable_that_was_changed_in_the_log_is_not_believed() -> None:
    events = [event for event in JUDGED if (found := measure.variable(event)) and found.name == "SecureBoot"]
    assert len(events) == 1
    where = REAL.log.index(events[0].data) + len(events[0].data) - 1
    bad = [each.what for each in findings(replace(REAL, log=flipped(REAL.log, where))) if not each.good]
    assert "Secure Boot is off: firmware starts whatever lies in the flash" in bad


@pytest.mark.parametrize("part", ["quoted", "signature", "key"])
def test_every_byte_that_is_signed_counts(part: str) -> None:
    whole = getattr(REAL, part)
    for where in range(len(whole)):
        changed = replace(REAL, **{part: flipped(whole, where)})  # type: ignore[arg-type]
        try:
            key = attest.read(changed, NONCE).key
        except BadQuoteError:
            continue
        # A bit of the key that no rule asks for: then it is another key, and the caller knows the old one's name.
        assert part == "key"
        assert key != attest.read(REAL, NONCE).key


def test_every_value_counts() -> None:
    for index in range(len(REAL.values)):
        values = (*REAL.values[:index], flipped(REAL.values[index], 7), *REAL.values[index + 1 :])
        with pytest.raises(BadQuoteError):
            attest.read(replace(REAL, values=values), NONCE)
    with pytest.raises(BadQuoteError):
        attest.read(REAL, NONCE[::-1])


@given(st.integers(0, len(REAL.log) - 1))
def test_a_changed_log_is_refused_or_changes_nothing_for_the_better(where: int) -> None:
    try:
        found = findings(replace(REAL, log=flipped(REAL.log, where)))
    except TrustError as error:
        assert isinstance(error, EventLogFormatError | FalseEventLogError)
        return
    before = findings(REAL)
    assert found == before or not all(each.good for each in found)


@pytest.mark.parametrize("index", range(len(EVENTS)))
def test_no_event_of_what_is_judged_can_be_left_out(index: int) -> None:
    cut = REAL.log[: STARTS[index]] + REAL.log[STARTS[index + 1] :]
    assert len(measure.parse(cut)) == len(EVENTS) - 1
    if EVENTS[index].pcr in attest.PCRS:
        with pytest.raises(FalseEventLogError, match=f"PCR {EVENTS[index].pcr}"):
            attest.read(replace(REAL, log=cut), NONCE)
    else:
        attest.read(replace(REAL, log=cut), NONCE)
