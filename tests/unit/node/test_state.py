"""What the server remembers."""

from __future__ import annotations

import pytest

from flashvisor.flash.ring import Ring
from flashvisor.model.record import Boot, Config, Identity, RecordKind, encode
from flashvisor.model.release import Memory
from flashvisor.node.state import NodeState
from sim.flashsim import FlashSim
from sim.nodekit import RING_SIZE, SITE, entry, uki

IDENTITY = Identity(node_name="alpha", owner_ca_pem="ca", node_cert_pem="cert", node_key_pem="key")


@pytest.fixture
def flash() -> FlashSim:
    return FlashSim(RING_SIZE)


def opened(flash: FlashSim) -> NodeState:
    return NodeState(Ring.open(flash))


def propose(state: NodeState, text: str = SITE) -> Config:
    return state.propose(text, {"hello": entry(uki())}, who="anna", when=1.0)


def test_a_blank_ring_is_a_server_of_nobody(flash: FlashSim) -> None:
    state = opened(flash)
    assert (state.identity(), state.confirmed(), state.lost, state.bytes_written) == (None, None, (), 0)


def test_an_unconfirmed_generation_is_not_used_after_a_reboot(flash: FlashSim) -> None:
    state = opened(flash)
    first = propose(state)
    state.confirm(first.generation)
    propose(state, SITE.replace("64MiB", "96MiB"))
    assert opened(flash).confirmed() == first


def test_the_newest_confirmed_generation_counts(flash: FlashSim) -> None:
    state = opened(flash)
    first, second = propose(state), propose(state, SITE + "\n")
    state.confirm(first.generation)
    state.confirm(second.generation)
    assert opened(flash).confirmed() == second


def test_a_generation_burnt_in_as_confirmed_needs_no_confirm(flash: FlashSim) -> None:
    burnt = Config(generation=1, when=0.0, who="build", site_toml=SITE, confirmed=True)
    Ring.open(flash).append(RecordKind.CONFIG, encode(burnt), cause="burn")
    assert opened(flash).confirmed() == burnt


def test_the_history_tells_who_applied_what_and_whether_it_stayed(flash: FlashSim) -> None:
    state = opened(flash)
    state.confirm(propose(state).generation)
    propose(state, SITE + "\n")
    state.confirm(propose(state, SITE + "\n\n").generation)
    again = opened(flash).history()
    assert [(each.config.generation, each.confirmed) for each in again] == [(3, True), (2, False), (1, True)]
    assert [each.config.site_toml for each in again] == [SITE + "\n\n", SITE + "\n", SITE]
    assert {(each.config.who, each.config.when) for each in again} == {("anna", 1.0)}


def test_at_least_32_generations_and_64_boots_are_remembered(flash: FlashSim) -> None:
    state = opened(flash)
    for number in range(70):
        propose(state, SITE + "\n" * number)
        state.note_boot(Boot(when=float(number), image_id="x", version="0"))
    again = opened(flash)
    assert [each.config.generation for each in again.history()] == list(range(70, 38, -1))
    assert [boot.when for boot in again.boots()] == [float(number) for number in range(69, 5, -1)]


def test_numbers_are_never_given_twice(flash: FlashSim) -> None:
    assert [propose(opened(flash)).generation for _ in range(3)] == [1, 2, 3]


def test_what_is_known_of_releases_is_remembered(flash: FlashSim) -> None:
    assert opened(flash).trust() is None
    opened(flash).remember(Memory(root=b"1"))
    opened(flash).remember(Memory(root=b"2", release="1.1"))
    assert opened(flash).trust() == Memory(root=b"2", release="1.1")
    assert [row.cause for row in Ring.open(flash).records(RecordKind.TRUST)][-1] == "update"


def test_the_identity_is_read_back(flash: FlashSim) -> None:
    Ring.open(flash).append(RecordKind.IDENTITY, encode(IDENTITY), cause="burn")
    assert opened(flash).identity() == IDENTITY


def test_a_record_of_another_version_is_told_and_passed_over(flash: FlashSim) -> None:
    state = opened(flash)
    state.confirm(propose(state).generation)
    Ring.open(flash).append(RecordKind.IDENTITY, b'{"name": "from the future"}', cause="burn")
    again = opened(flash)
    assert again.identity() is None
    assert len(again.lost) == 1
    assert "IDENTITY" in again.lost[0]
    assert again.confirmed() is not None


def test_reading_writes_nothing(flash: FlashSim) -> None:
    state = opened(flash)
    state.note_boot(Boot(when=1.0, image_id="x", version="0"))
    before = len(flash.writes)
    again = opened(flash)
    assert (again.identity(), again.confirmed()) == (None, None)
    assert len(flash.writes) == before > 0


def test_what_was_verified_is_remembered_and_known_things_cost_no_flash(flash: FlashSim) -> None:
    assert opened(flash).trust() is None
    burnt = Memory(root=b"root 1")
    Ring.open(flash).append(RecordKind.TRUST, encode(burnt), cause="burn")
    state = opened(flash)
    assert state.trust() == burnt
    newer = Memory(root=b"root 2", timestamp=7, snapshot=6, targets=5, issued=1_795_000_000, release="1.4")
    state.remember(newer)
    assert opened(flash).trust() == newer
    assert Ring.open(flash).records(RecordKind.TRUST)[-1].cause == "update"
    before = len(flash.writes)
    state.remember(newer)
    assert len(flash.writes) == before


def test_a_wiped_server_trusts_nobody(flash: FlashSim) -> None:
    state = opened(flash)
    state.remember(Memory(root=b"root 1"))
    state.wipe()
    again = opened(flash)
    assert (again.trust(), again.identity()) == (None, None)
