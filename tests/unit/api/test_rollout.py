"""Confirming over new connections, and waiting for guests, on a clock that tests drive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from flashvisor.api import rollout
from flashvisor.api.address import Address
from flashvisor.api.client import Client
from flashvisor.api.types import ApplyReport, ApplyRequest, GuestReport
from flashvisor.errors import BusyError, GuestSilentError, NodeUnreachableError, NothingToConfirmError
from flashvisor.model.sitefile import parse_site
from sim.nodesim import NodeSim, guest_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flashvisor.trust.keyring import Keyring


@pytest.fixture(autouse=True)
def five_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    def ticks(interval: float, limit: float) -> Iterator[float]:
        del interval, limit
        yield from (0.0, 1.0, 2.0, 3.0, 4.0)

    monkeypatch.setattr(rollout, "ticks", ticks)


@pytest.fixture
def sim() -> NodeSim:
    return NodeSim(guests={name: guest_report(name) for name in ("a", "b")})


@pytest.fixture
def connect(sim: NodeSim, keyring: Keyring) -> Callable[[], Client]:
    return lambda: Client(Address("alpha"), keyring, transport=sim.transport())


def busy_for(sim: NodeSim, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    apply, left = sim._apply, [True] * times

    def answer(body: ApplyRequest) -> ApplyReport:
        if left and left.pop():
            raise BusyError("the server is busy with the start of the guests")
        return apply(body)

    monkeypatch.setattr(sim, "_apply", answer)


def test_apply_waits_for_its_turn(sim: NodeSim, connect: Callable[[], Client], monkeypatch: pytest.MonkeyPatch) -> None:
    busy_for(sim, 4, monkeypatch)
    with connect() as client:
        assert rollout.apply(client, ApplyRequest(site_toml="schema = 1")).generation == 1


def test_apply_does_not_wait_for_ever(
    sim: NodeSim, connect: Callable[[], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    busy_for(sim, 5, monkeypatch)
    with connect() as client, pytest.raises(BusyError, match="the start of the guests"):
        rollout.apply(client, ApplyRequest(site_toml="schema = 1"))


def test_confirm_waits_until_the_server_is_back(sim: NodeSim, connect: Callable[[], Client]) -> None:
    with connect() as client:
        client.apply(ApplyRequest(site_toml="schema = 1"))
    sim.refuse_connections = 4
    assert rollout.confirm(connect, 60).confirmed
    assert sim.confirmed


def test_confirm_gives_up_and_says_that_the_server_goes_back(sim: NodeSim, connect: Callable[[], Client]) -> None:
    sim.refuse_connections = 5
    with pytest.raises(NodeUnreachableError, match="within 60 s") as caught:
        rollout.confirm(connect, 60)
    assert "goes back" in caught.value.next_step
    assert "refused" in caught.value.evidence


def test_confirm_passes_on_what_the_server_says(connect: Callable[[], Client]) -> None:
    with pytest.raises(NothingToConfirmError):
        rollout.confirm(connect, 60)


def test_waiting_for_guests_reports_each_once(sim: NodeSim, connect: Callable[[], Client]) -> None:
    sim.silent_polls = 3
    heard: list[str] = []

    def on_answer(report: GuestReport) -> None:
        heard.append(report.name)

    with connect() as client:
        reports = rollout.wait_for_guests(client, ["b", "a"], 60, on_answer)
    assert heard == ["a", "b"]
    assert [report.answered for report in reports] == [12.5, 12.5]


def test_silent_guests_are_named_with_their_states(sim: NodeSim, connect: Callable[[], Client]) -> None:
    sim.silent_polls = 99
    with connect() as client, pytest.raises(GuestSilentError, match="from a, ghost") as caught:
        rollout.wait_for_guests(client, ["a", "ghost"], 60)
    assert caught.value.evidence.splitlines() == ["a: running, 0 restarts", "ghost: the server does not list it"]


def test_only_guests_that_start_and_have_a_card_are_expected_to_answer() -> None:
    guest = '[guest.{0}]\nimage = "i"\nmemory = "64MiB"\n'
    site = parse_site(
        'schema = 1\nnode = { name = "alpha" }\n[image.i]\nfile = "i"\n'
        + '[network.n]\nsubnet = "10.1.0.0/24"\n[network.b]\nkind = "bridge"\nuplink = "52:54:00:00:00:01"\n'
        + guest.format("bridged")
        + 'nics = [{ network = "b" }]\n'
        + guest.format("quiet")
        + guest.format("off")
        + 'autostart = false\nnics = [{ network = "n" }]\n'
        + guest.format("on")
        + 'nics = [{ network = "n" }]\n'
    )
    assert rollout.expected_answers(site) == ("on",)


def test_a_guest_with_a_probe_is_expected_to_answer_without_a_card() -> None:
    site = parse_site(
        'schema = 1\nnode = { name = "alpha" }\n[image.i]\nfile = "i"\n'
        '[guest.a]\nimage = "i"\nmemory = "64MiB"\nprobe = { agent = true }\n'
    )
    assert rollout.expected_answers(site) == ("a",)


def test_a_guest_that_waits_says_for_what(sim: NodeSim, connect: Callable[[], Client]) -> None:
    sim.silent_polls = 99
    sim.guests["a"] = msgspec.structs.replace(sim.guests["a"], waits="for guest db, which failed")
    with connect() as client, pytest.raises(GuestSilentError) as caught:
        rollout.wait_for_guests(client, ["a"], 60)
    assert caught.value.evidence == "a: running, 0 restarts, waits for guest db, which failed"
