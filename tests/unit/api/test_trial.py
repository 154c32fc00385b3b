"""What a server's slots say of a release on trial, and the wait for its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from flashvisor.api import trial
from flashvisor.api.address import Address
from flashvisor.api.client import Client
from flashvisor.api.types import FailedReport, Installed, SlotReport, SlotsReport
from flashvisor.errors import NodeUnreachableError, TrialFailedError, TrialUnfinishedError
from sim.nodesim import NodeSim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flashvisor.trust.keyring import Keyring

INSTALLED = Installed(version="1.1", image="b" * 64)


def report(state: str, *, running: str = "a", committed: str = "a", reason: str = "") -> SlotsReport:
    """Slot a holds 1.0, slot b the new release."""
    rows = (("factory", "idle", "1.0", "f"), ("a", "committed", "1.0", "a"), ("b", state, "1.1", "b"))
    return SlotsReport(
        running=running,
        committed=committed,
        recovery=False,
        trial="b" if state == "trying" else "",
        waits_for=("guest web",) if state == "trying" else (),
        slots=tuple(
            SlotReport(
                slot=slot,
                state=word,
                version=version,
                image=letter * 64,
                running=slot == running,
                first=slot == committed,
                intact=True,
                reason=reason if slot == "b" else "",
            )
            for slot, word, version, letter in rows
        ),
        failed=(),
    )


WRITTEN, RESTART = report("written"), report("trying")
ON_TRIAL, COMMITTED = report("trying", running="b"), report("committed", running="b", committed="b")
FAILED = report("failed", reason="guest web is silent")


@pytest.fixture(autouse=True)
def five_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    def ticks(interval: float, limit: float) -> Iterator[float]:
        del interval, limit
        yield from (0.0, 1.0, 2.0, 3.0, 4.0)

    monkeypatch.setattr(trial, "ticks", ticks)


@pytest.fixture
def sim() -> NodeSim:
    return NodeSim()


@pytest.fixture
def connect(sim: NodeSim, keyring: Keyring) -> Callable[[], Client]:
    return lambda: Client(Address("alpha"), keyring, transport=sim.transport())


@pytest.mark.parametrize(
    ("slots", "words"),
    [
        (WRITTEN, "waiting for the restart"),
        (RESTART, "waiting for the restart"),
        (ON_TRIAL, "on trial; waits for: guest web"),
        (COMMITTED, ""),
    ],
)
def test_what_is_still_to_come(slots: SlotsReport, words: str) -> None:
    assert trial.progress(slots, INSTALLED) == words


def test_a_failure_has_its_reason_and_what_runs_now() -> None:
    with pytest.raises(TrialFailedError, match=r"guest web is silent; the server runs 1\.0 in slot a"):
        trial.progress(FAILED, INSTALLED)


def test_a_failure_whose_slot_was_written_since_is_found_among_the_failed() -> None:
    row = FailedReport(image=INSTALLED.image, version="1.1", reason="it hung", when=1.0)
    gone = msgspec.structs.replace(FAILED, slots=FAILED.slots[:2], failed=(row,))
    with pytest.raises(TrialFailedError, match="it hung"):
        trial.progress(gone, INSTALLED)


def test_the_slot_on_trial_counts_also_if_the_committed_one_holds_the_same() -> None:
    assert trial.progress(ON_TRIAL, msgspec.structs.replace(INSTALLED, image="a" * 64)) == ""
    both = msgspec.structs.replace(
        ON_TRIAL, slots=tuple(msgspec.structs.replace(row, image="b" * 64) for row in ON_TRIAL.slots)
    )
    assert trial.progress(both, INSTALLED).startswith("on trial")


def test_the_server_restarts_and_commits(sim: NodeSim, connect: Callable[[], Client]) -> None:
    sim.slots_reports = [RESTART, ON_TRIAL, COMMITTED]
    sim.refuse_after = {1: 2}
    said: list[str] = []
    assert trial.watch(connect, INSTALLED, 60.0, said.append) == COMMITTED
    assert said == ["waiting for the restart", "waiting for the server to start", "on trial; waits for: guest web"]


def test_a_server_that_does_not_come_back(sim: NodeSim, connect: Callable[[], Client]) -> None:
    sim.refuse_connections = 9
    with pytest.raises(NodeUnreachableError, match=r"60 s after release 1\.1") as caught:
        trial.watch(connect, INSTALLED, 60.0)
    assert "refused" in caught.value.evidence


def test_a_trial_without_end(sim: NodeSim, connect: Callable[[], Client]) -> None:
    sim.slots_reports = [ON_TRIAL]
    with pytest.raises(TrialUnfinishedError) as caught:
        trial.watch(connect, INSTALLED, 60.0)
    assert caught.value.evidence == "on trial; waits for: guest web"


def test_a_trial_that_fails(sim: NodeSim, connect: Callable[[], Client]) -> None:
    sim.slots_reports = [ON_TRIAL, FAILED]
    with pytest.raises(TrialFailedError):
        trial.watch(connect, INSTALLED, 60.0)
