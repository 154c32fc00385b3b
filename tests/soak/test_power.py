"""Power is cut at every event of everything that is done to slots, state ring and boot variables: `make soak`."""

from __future__ import annotations

from sim.cuts import cut_everywhere, scenarios, update_many
from sim.slotsim import SlotSim, burnt

ALL = scenarios()
SEEDS = range(24)
UPDATES = 1000
POINTS = 10_000  # distinct ones at least, over all scenarios


def test_any_cut_leaves_a_server_that_starts_a_verified_image() -> None:
    points = 0
    for scenario in ALL:
        tally = cut_everywhere(scenario, SEEDS)
        assert set(tally.ran) <= scenario.may_run
        points += len(tally.points)
    assert points >= POINTS


def test_factory_is_unchanged_after_a_thousand_updates() -> None:
    server = SlotSim(burnt())
    server.settle()
    differing, slots, _ = update_many(server, UPDATES)
    assert slots == differing
