"""A sample of tests/soak/test_power.py: power is cut at some events of everything that is done to slots."""

from __future__ import annotations

import pytest

from sim.burncuts import cut_burns
from sim.cuts import Scenario, cut_everywhere, scenarios

ALL = scenarios()


@pytest.mark.parametrize("scenario", ALL, ids=[scenario.name for scenario in ALL])
def test_any_cut_leaves_a_server_that_starts_a_verified_image(scenario: Scenario) -> None:
    tally = cut_everywhere(scenario, range(1), every=3)
    assert tally.points
    assert set(tally.ran) <= scenario.may_run


def test_a_burn_cut_short_leaves_no_table_that_leads_to_half_written_slots() -> None:
    tally = cut_burns(range(2))
    assert set(tally.ran) == {"old", "new", "nothing"}
