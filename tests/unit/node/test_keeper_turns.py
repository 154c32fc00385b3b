"""Guests start in their turn, say what they wait for, and stop the other way round."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import HypervisorError
from flashvisor.guests.fake import FakeDriver
from flashvisor.model.guest import GuestState
from sim.nodekit import SITE, Server, desired, server
from sim.watcher import Watcher, settle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GUEST = """
[guest.{name}]
image = "hello"
memory = "64MiB"
nics = [{{ network = "inside" }}]
autostart = {autostart}
"""
ONLY = SITE[: SITE.index("[guest.hello]")]


def text(**turns: str) -> str:
    return ONLY + "".join(GUEST.format(name=name, autostart=turn) for name, turn in turns.items())


CHAIN = text(web='{ after = ["app"] }', app='{ after = ["db"] }', db="true")


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Server]:
    with server(tmp_path, frozen=True) as made:
        yield made


def test_each_waits_until_the_one_before_it_answers(made: Server) -> None:
    watcher = Watcher(made.driver)
    made.bring_up(CHAIN)
    assert set(made.driver.domains()) == {"db"}
    assert made.keeper.record("app").waits == "for guest db to answer"
    assert made.keeper.record("web").waits == "for guest app to start"
    made.asker.answered("db")
    watcher.wait("app", GuestState.RUNNING)
    settle(made)
    assert made.keeper.record("web").waits == "for guest app to answer"
    made.asker.answered("app")
    watcher.wait("web", GuestState.RUNNING)
    settle(made)
    assert [made.keeper.record(name).waits for name in ("db", "app", "web")] == ["", "", ""]
    assert [made.keeper.record(name).restarts for name in ("db", "app", "web")] == [0, 0, 0]


def test_a_trial_waits_for_those_that_wait(made: Server) -> None:
    made.bring_up(CHAIN)
    words = made.keeper.silent(["db", "app"])
    assert words == ("guest db does not answer", "guest app waits for guest db to answer")


def test_a_failed_start_is_waited_for_by_name(tmp_path: Path) -> None:
    with server(tmp_path) as made:
        made.bring_up(CHAIN)
        made.keeper.stop_all()
        flash, machine = made.flash, made.machine
    with server(tmp_path, flash=flash, machine=machine, driver=FakeDriver(), frozen=True) as again:
        again.driver.fail_next("no memory left")
        watcher = Watcher(again.driver)
        again.boot()
        settle(again)
        assert again.driver.domains() == {}
        assert again.keeper.record("app").waits == "for guest db, which failed"
        again.clock[0] += 1.0  # the failed start is tried again
        again.keeper._events.put("db")
        watcher.wait("db", GuestState.RUNNING)
        again.asker.answered("db")
        watcher.wait("app", GuestState.RUNNING)


def test_a_start_by_hand_waits_for_nobody(made: Server) -> None:
    made.bring_up(CHAIN)
    made.keeper.start("web", desired(CHAIN), by_hand=True)
    assert set(made.driver.domains()) == {"db", "web"}
    assert made.keeper.record("web").waits == ""


def test_whoever_is_stopped_while_it_waits_waits_no_more(made: Server) -> None:
    made.bring_up(CHAIN)
    made.keeper.ask_to_stop("app", force=False, grace=1.0)
    made.asker.answered("db")
    settle(made)
    assert set(made.driver.domains()) == {"db"}
    assert made.keeper.record("web").waits == "for guest app, which is down"


def test_a_delay_is_waited_for(made: Server) -> None:
    watcher = Watcher(made.driver)
    made.bring_up(text(db="true", web='{ after = ["db"], delay = "30s" }'))
    made.clock[0] += 100.0
    made.asker.answered("db")
    settle(made)
    assert made.keeper.record("web").waits == "for its delay"
    made.clock[0] += 29.0
    made.keeper._events.put("web")
    settle(made)
    assert set(made.driver.domains()) == {"db"}
    made.clock[0] += 1.0
    made.keeper._events.put("web")
    watcher.wait("web", GuestState.RUNNING)


def test_a_delay_passes_by_itself(tmp_path: Path) -> None:
    with server(tmp_path) as made:
        watcher = Watcher(made.driver)
        made.bring_up(text(web='{ delay = "100ms" }'))
        watcher.wait("web", GuestState.RUNNING)


def test_a_changed_guest_does_not_serve_its_delay_again(made: Server) -> None:
    turn = '{ delay = "30s" }'
    made.bring_up(text(web=turn))
    made.clock[0] += 30.0
    made.keeper._events.put("web")
    settle(made)
    assert set(made.driver.domains()) == {"web"}
    made.bring_up(text(web=turn).replace("64MiB", "96MiB"))
    assert set(made.driver.domains()) == {"web"}


def test_an_order_needs_no_answers(made: Server) -> None:
    made.bring_up(text(a="{ order = 1 }", b="{ order = 2 }", c="true"))
    assert set(made.driver.domains()) == {"a", "b", "c"}


def test_a_site_that_changes_only_turns_leaves_guests_alone(made: Server) -> None:
    made.bring_up(text(a="true", b="true"))
    before = made.keeper.record("a").started
    made.bring_up(text(a="{ order = 1 }", b='{ after = ["a"] }'))
    assert made.keeper.record("a").started == before
    assert set(made.driver.domains()) == {"a", "b"}


def test_guests_stop_before_those_that_they_need(made: Server) -> None:
    watcher = Watcher(made.driver)
    made.bring_up(CHAIN)
    made.asker.answered("db")
    watcher.wait("app", GuestState.RUNNING)
    made.asker.answered("app")
    watcher.wait("web", GuestState.RUNNING)
    made.keeper.stop_all()
    assert watcher.ended() == ["web", "app", "db"]


def test_nobody_starts_while_the_server_goes_down(made: Server) -> None:
    made.bring_up(CHAIN)
    made.asker.silent("db", "no answer")
    made.keeper.stop_all()
    settle(made)
    assert made.driver.domains() == {}
    assert made.keeper.record("web").waits == ""


def test_one_that_cannot_be_stopped_does_not_keep_the_others_up(made: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flashvisor.node.keeper.FORCE_LIMIT", 0.1)
    watcher = Watcher(made.driver)
    made.bring_up(text(a="true", b='{ after = ["a"], wait = "started" }'))
    watcher.wait("b", GuestState.RUNNING)
    stop = made.driver.stop

    def refuse(name: str, *, force: bool) -> None:
        if name == "b":
            raise HypervisorError("guest b could not be stopped")
        stop(name, force=force)

    monkeypatch.setattr(made.driver, "stop", refuse)
    with pytest.raises(Exception, match="guest b did not end"):
        made.keeper.stop_all(grace=0.1)
    assert watcher.ended() == ["a"]


def test_whoever_waits_and_is_in_the_site_no_more_does_not_come(made: Server) -> None:
    made.bring_up(CHAIN)
    for site in (text(db="true"), CHAIN.replace('{ after = ["db"] }', "false")):
        made.bring_up(site)
        made.asker.answered("db")
        settle(made)
        assert set(made.driver.domains()) == {"db"}


def test_a_turn_that_changes_while_a_guest_waits_counts_as_changed(made: Server) -> None:
    watcher = Watcher(made.driver)
    made.bring_up(CHAIN)
    made.bring_up(CHAIN.replace('{ after = ["db"] }', '{ after = ["db"], wait = "started" }'))
    watcher.wait("app", GuestState.RUNNING)
