"""apply from file to answering guests, against a server in memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sim.nodesim import NodeSim
    from unit.cli.conftest import Ran

pytestmark = pytest.mark.usefixtures("five_ticks")


def test_the_whole_way(flashvisor: Callable[..., Ran], sim: NodeSim, site_file: Path) -> None:
    sim.silent_polls = 2
    ran = flashvisor("apply", str(site_file), "--wait")
    assert ran.status == 0, ran.stderr
    assert ran.stdout.index("image hello") < ran.stdout.index("applied generation 1, confirmed")
    assert "12.50 s after boot" in ran.stdout
    assert "uploading hello.efi: done" in ran.stderr
    assert sim.confirmed
    assert len(sim.images) == 2
    assert sim.applied[0].who == "admin"
    assert sim.calls[:5] == ["plan", "image_put", "image_put", "apply", "confirm"]


def test_what_the_server_holds_is_not_sent_again(flashvisor: Callable[..., Ran], sim: NodeSim, site_file: Path) -> None:
    flashvisor("apply", str(site_file))
    sim.calls.clear()
    outcome = json.loads(flashvisor("apply", str(site_file), "--json").stdout)
    assert sim.calls == ["plan", "apply", "confirm"]
    assert outcome["applied"]["generation"] == 2
    assert outcome["confirmed"] is True
    assert outcome["guests"] is None


def test_plan_only_changes_nothing(flashvisor: Callable[..., Ran], sim: NodeSim, site_file: Path) -> None:
    outcome = json.loads(flashvisor("apply", str(site_file), "--plan-only", "--wait", "--json").stdout)
    assert len(outcome["plan"]["missing_images"]) == 2
    assert outcome["applied"] is None
    assert sim.calls == ["plan"]


def test_without_confirmation(flashvisor: Callable[..., Ran], sim: NodeSim, site_file: Path) -> None:
    ran = flashvisor("apply", str(site_file), "--no-confirm", "--confirm-within", "90")
    assert "goes back in 90 s unless you run `flashvisor confirm`" in ran.stdout
    assert not sim.confirmed
    assert flashvisor("confirm").stdout == "generation 1 is confirmed\n"
    flashvisor("apply", str(site_file), "--no-confirm")
    assert json.loads(flashvisor("confirm", "--json").stdout)["generation"] == 2


def test_a_site_that_locks_the_administrator_out(
    flashvisor: Callable[..., Ran], sim: NodeSim, site_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = sim._apply

    def lock_out(body: object) -> object:
        sim.refuse_connections = 99
        return apply(body)  # type: ignore[arg-type]

    monkeypatch.setattr(sim, "_apply", lock_out)
    ran = flashvisor("apply", str(site_file))
    assert ran.status == 7
    assert "goes back to its last site by itself" in ran.stderr
    assert not sim.confirmed


def test_guests_that_stay_silent(flashvisor: Callable[..., Ran], sim: NodeSim, site_file: Path) -> None:
    sim.silent_polls = 99
    ran = flashvisor("apply", str(site_file), "--wait")
    assert ran.status == 8
    assert "FV-GUEST-004: no answer within 600 s from debian" in ran.stderr
    assert sim.confirmed


def test_a_wrong_site_reaches_no_server(flashvisor: Callable[..., Ran], sim: NodeSim, site_file: Path) -> None:
    site_file.write_text(site_file.read_text().replace("memory", "memroy", 1))
    ran = flashvisor("apply", str(site_file))
    assert ran.status == 2
    assert "FV-SITE-002" in ran.stderr
    assert sim.calls == []
