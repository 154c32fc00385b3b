"""The event log: read, replayed, and hostile."""

from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashvisor.errors import EventLogFormatError
from flashvisor.trust import measure
from flashvisor.trust.measure import Event, parse, replay
from sim import tpmsim
from sim.tpmsim import HEAD, TpmSim

SIM = TpmSim()
tpmsim.firmware(SIM)
tpmsim.secure_boot(SIM, {"PK": b"key"})
tpmsim.marks(SIM)
LOG = SIM.log()


def test_a_log_is_read_as_it_was_written() -> None:
    assert parse(LOG) == tuple(SIM.events)
    assert parse(HEAD) == ()


def test_replay_extends() -> None:
    first, second = hashlib.sha256(b"a").digest(), hashlib.sha256(b"b").digest()
    events = (Event(4, 5, first, b"a"), Event(5, 5, first, b"a"), Event(4, 5, second, b"b"), Event(4, 3, second, b"b"))
    once = hashlib.sha256(bytes(32) + first).digest()
    assert replay(events) == {4: hashlib.sha256(once + second).digest(), 5: once}


def test_pcr_0_begins_with_the_locality_that_started_the_tpm() -> None:
    digest = bytes(range(32))
    events = (Event(0, 3, bytes(32), b"StartupLocality\0\3"), Event(0, 5, digest, b""))
    assert replay(events) == {0: hashlib.sha256(bytes(31) + b"\3" + digest).digest()}


def test_variables_are_believed_only_if_measured() -> None:
    events = [each for each in parse(LOG) if each.pcr == 7]
    found = [measure.variable(each) for each in events]
    assert [each.name if each else None for each in found] == ["SecureBoot", "PK", None]
    assert found[1] is not None
    assert found[1].data == b"key"
    lie = Event(7, events[0].kind, events[0].digest, tpmsim.variable("SecureBoot", b"\1\1"))
    assert measure.variable(lie) is None


def test_texts_are_short_printable_and_measured() -> None:
    words = b"Calling EFI Application from Boot Option"
    digest = hashlib.sha256(words).digest()
    assert Event(4, 5, digest, words).text == words.decode()
    assert Event(4, 5, bytes(32), words).text == ""
    for data in (b"MZ\x90\0\3", b"a" * 257, "ü".encode(), bytes(4)):
        assert Event(4, 5, hashlib.sha256(data).digest(), data).text == ""


def head(*algorithms: tuple[int, int], signature: bytes = b"Spec ID Event03\0", kind: int = 3) -> bytes:
    table = b"".join(struct.pack("<HH", *each) for each in algorithms)
    data = signature + struct.pack("<IBBBBI", 0, 0, 2, 0, 2, len(algorithms)) + table + b"\0"
    return struct.pack("<II20sI", 0, kind, bytes(20), len(data)) + data


@pytest.mark.parametrize(
    ("log", "evidence"),
    [
        (b"", "requires a buffer"),
        (head((0xB, 32), signature=b"Spec ID Event00\0"), "Spec ID Event03"),
        (head((0xB, 32), kind=5), "Spec ID Event03"),
        (head((0x4, 20)), "SHA-256"),
        (head((0xB, 20)), "SHA-256"),
        (head((0xB, 32)) + struct.pack("<IIIH32sI", 4, 5, 1, 0xC, bytes(32), 0), "algorithm 0xc"),
        (head((0xB, 32), (4, 20)) + struct.pack("<IIIH20sI", 4, 5, 1, 4, bytes(20), 0), "no SHA-256 digest"),
        (head((0xB, 32)) + struct.pack("<IIIH32sI", 4, 5, 1, 0xB, bytes(32), 1), "behind the log's end"),
    ],
)
def test_other_forms_are_refused(log: bytes, evidence: str) -> None:
    with pytest.raises(EventLogFormatError) as caught:
        parse(log)
    assert evidence in caught.value.evidence


@given(st.binary(max_size=400))
def test_any_bytes_are_a_log_or_an_error(data: bytes) -> None:
    for log in (data, HEAD + data):
        try:
            parse(log)
        except EventLogFormatError:
            continue


@given(st.integers(0, len(LOG) - 1))
def test_a_log_cut_short_loses_whole_events_or_is_refused(length: int) -> None:
    try:
        events = parse(LOG[:length])
    except EventLogFormatError:
        return
    assert events == tuple(SIM.events)[: len(events)]
    assert len(events) < len(SIM.events)
