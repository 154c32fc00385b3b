"""Whose turn it is: all that is waited for is there, and nobody waits for what cannot come."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flashvisor.guests.turns import GOOD, Gate, Seen, Standing, gate, is_stuck
from flashvisor.model.site import Wait
from flashvisor.model.sitefile import parse_site
from flashvisor.model.startorder import lower
from sim.sitegraph import HEAD, Graph, Turn, graphs, guest_text, site_of

PAIR = site_of({"db": Turn(), "web": Turn(frozenset({"db"}))})


def waits(standing: Standing) -> str:
    return gate(PAIR, "web", {"db": Seen(standing, 4.0)}, 1.0).waits


def test_a_guest_says_what_it_waits_for() -> None:
    assert waits(Standing.COMING) == "for guest db to start"
    assert waits(Standing.STARTED) == "for guest db to answer"
    assert waits(Standing.DOWN) == "for guest db, which is down"
    assert waits(Standing.FAILED) == "for guest db, which failed"
    assert waits(Standing.SILENT) == "for guest db, which does not answer"
    assert waits(Standing.ANSWERS) == ""


def test_who_only_waits_for_a_start_takes_a_silent_one() -> None:
    site = site_of({"db": Turn(), "web": Turn(frozenset({"db"}), wait="started")})
    assert gate(site, "web", {"db": Seen(Standing.SILENT, 4.0)}, 1.0) == Gate(due=4.0)


def test_what_nobody_knows_is_down() -> None:
    assert gate(PAIR, "web", {}, 1.0).waits == "for guest db, which is down"


def test_a_delay_counts_from_when_the_last_one_was_there() -> None:
    text = HEAD + guest_text("db", Turn()) + guest_text("web", Turn(frozenset({"db"})))
    site = parse_site(text.replace('after = ["db"]', 'after = ["db"], delay = "30s"'))
    assert gate(site, "web", {"db": Seen(Standing.ANSWERS, 9.0)}, 1.0) == Gate(due=39.0)
    assert gate(site, "web", {"db": Seen(Standing.ANSWERS, 0.5)}, 1.0) == Gate(due=31.0)


def test_a_failure_does_not_hold_up_a_higher_order() -> None:
    site = site_of({"a": Turn(order=1), "b": Turn(order=2)})
    assert gate(site, "b", {"a": Seen(Standing.COMING)}, 0.0).waits == "for guest a to start"
    assert gate(site, "b", {"a": Seen(Standing.FAILED)}, 0.0) == Gate()
    assert gate(site, "b", {"a": Seen(Standing.DOWN)}, 0.0) == Gate()
    assert gate(site, "b", {"a": Seen(Standing.STARTED, 5.0)}, 0.0) == Gate(due=5.0)


def test_nor_does_one_that_waits_for_a_failure() -> None:
    site = site_of({"db": Turn(), "a": Turn(frozenset({"db"}), 1), "b": Turn(order=2)})
    seen = {"db": Seen(Standing.FAILED), "a": Seen(Standing.COMING)}
    assert is_stuck(site, "a", seen)
    assert gate(site, "b", seen, 0.0) == Gate()
    seen["db"] = Seen(Standing.STARTED)
    assert not is_stuck(site, "a", seen)
    assert gate(site, "b", seen, 0.0).waits == "for guest a to start"


@given(graphs(rings=False), st.data())
def test_whoever_may_start_lacks_nothing(graph: Graph, data: st.DataObject) -> None:
    site = site_of(graph)
    seen = {name: Seen(data.draw(st.sampled_from(Standing))) for name in graph}
    for name, mine in graph.items():
        found = gate(site, name, seen, 0.0)
        lacking = [other for other in mine.after if seen[other].standing not in GOOD[Wait(mine.wait)]]
        if lacking:
            assert found.waits
        elif found.waits:
            assert any(seen[other].standing is Standing.COMING for other in lower(site, name))


@given(graphs(rings=False), st.data())
def test_all_come_up_and_in_order_when_nothing_fails(graph: Graph, data: st.DataObject) -> None:
    """The whole start, with answers that come in any order: nobody is forgotten, and there is always a next step."""
    site = site_of(graph)
    seen = {name: Seen(Standing.COMING) for name in graph}
    started: list[str] = []
    while not all(each.standing is Standing.ANSWERS for each in seen.values()):
        ready = [
            name
            for name, each in sorted(seen.items())
            if each.standing is Standing.COMING and not gate(site, name, seen, 0.0).waits
        ]
        steps = [(name, Standing.STARTED) for name in ready]
        steps += [(name, Standing.ANSWERS) for name in sorted(seen) if seen[name].standing is Standing.STARTED]
        assert steps
        name, standing = data.draw(st.sampled_from(steps))
        if standing is Standing.STARTED:
            started.append(name)
        seen[name] = Seen(standing)
    assert sorted(started) == sorted(graph)
    for name, mine in graph.items():
        for other in mine.after | lower(site, name):
            assert started.index(other) < started.index(name)


@given(graphs(rings=False), st.data())
def test_a_failure_stops_only_those_that_need_it(graph: Graph, data: st.DataObject) -> None:
    site = site_of(graph)
    failed = data.draw(st.sampled_from(sorted(graph)))
    seen = {name: Seen(Standing.COMING) for name in graph}
    seen[failed] = Seen(Standing.FAILED)
    while True:
        ready = [n for n, each in seen.items() if each.standing is Standing.COMING and not gate(site, n, seen, 0).waits]
        if not ready:
            break
        seen[ready[0]] = Seen(Standing.ANSWERS)

    def needs(name: str) -> bool:
        return name == failed or any(needs(other) for other in graph[name].after)

    assert {name for name, each in seen.items() if each.standing is not Standing.ANSWERS} == {
        name for name in graph if needs(name)
    }
