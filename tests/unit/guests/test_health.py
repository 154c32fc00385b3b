"""When a guest counts as answering: at its first answer, until so many questions in a row have failed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flashvisor.guests.health import USUAL_PACE, Health, Pace, Verdict, note, pace_of
from flashvisor.model.site import Probe


def after(*answers: bool, pace: Pace = USUAL_PACE) -> Verdict | None:
    health = Health(since=0.0)
    for second, ok in enumerate(answers):
        health = note(health, pace, ok=ok, now=float(second))
    return health.verdict


def test_a_guest_may_take_its_time_to_start() -> None:
    assert after(*[False] * 299) is None
    assert after(*[False] * 301) is Verdict.SILENT
    assert after(*[False] * 301, True) is Verdict.ANSWERS


def test_one_failure_is_none() -> None:
    assert after(True, False, False) is Verdict.ANSWERS
    assert after(True, False, False, True, False, False) is Verdict.ANSWERS
    assert after(True, False, False, False) is Verdict.SILENT
    assert after(True, False, False, False, False) is Verdict.SILENT
    assert after(True, False, False, False, True) is Verdict.ANSWERS


def test_a_probe_says_its_pace() -> None:
    probe = Probe(tcp=1, interval="1m", timeout="500ms", failures=7, start_period="1h")
    assert pace_of(probe) == Pace(60.0, 0.5, 7, 3600.0)
    assert pace_of(Probe(tcp=1)) == USUAL_PACE


@given(st.lists(st.booleans(), min_size=1), st.integers(1, 5))
def test_the_verdict_follows_from_the_last_answers(answers: list[bool], failures: int) -> None:
    pace = Pace(failures=failures, start_period=1e9)
    verdict = after(*answers, pace=pace)
    if True not in answers:
        assert verdict is None
    else:
        last = len(answers) - 1 - answers[::-1].index(True)
        since = len(answers) - 1 - last
        assert verdict is (Verdict.SILENT if since >= failures else Verdict.ANSWERS)
