"""Power is cut at every event of everything that is done to flash and boot variables: `make soak`, some minutes.

With FLASHVISOR_TABLE, the results go into the table of that page (docs/reliability.md).
"""

from __future__ import annotations

import os
from pathlib import Path

from sim.burncuts import cut_burns
from sim.cuts import cut_everywhere, scenarios, update_many
from sim.report import put_table, row
from sim.slotsim import SlotSim, burnt

SEEDS = range(44)
RING_SEEDS = range(8)  # a record is one write: more seeds would find few more points
BURN_SEEDS = range(100)
UPDATES = 1000
POINTS = 10_000  # distinct ones at least, over all scenarios, each counted once


def test_any_cut_leaves_a_server_that_starts_a_verified_image() -> None:
    tallies = {}
    for scenario in scenarios():
        seeds = RING_SEEDS if scenario.name.startswith("ring") else SEEDS
        tallies[scenario.name] = cut_everywhere(scenario, seeds)
        assert set(tallies[scenario.name].ran) <= scenario.may_run
    tallies["burn over an earlier burn"] = cut_burns(BURN_SEEDS)
    # Scenarios that begin alike (an image that dies early or late) share points: each counts once.
    points = len(set().union(*(tally.points for tally in tallies.values())))
    cuts = sum(tally.ran.total() for tally in tallies.values())
    if page := os.environ.get("FLASHVISOR_TABLE"):
        rows = [row(name, tally) for name, tally in tallies.items()]
        put_table(Path(page), rows, f"| **all** | {cuts:,} | {points:,} | |\n")
    assert points >= POINTS


def test_factory_is_unchanged_after_a_thousand_updates() -> None:
    server = SlotSim(burnt())
    server.settle()
    differing, slots, _ = update_many(server, UPDATES)
    assert slots == differing
