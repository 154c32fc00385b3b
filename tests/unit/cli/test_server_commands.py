"""node, guest and confirm against a server in memory."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import msgspec
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sim.nodesim import NodeSim
    from unit.cli.conftest import Ran

pytestmark = pytest.mark.usefixtures("sim")


def test_node_show(flashvisor: Callable[..., Ran]) -> None:
    ran = flashvisor("node", "show")
    assert ["main", "full", "16", "GiB", "0", "B", "db", "(waits),", "web"] in [
        line.split() for line in ran.stdout.splitlines()
    ]
    assert ran.status == 0
    for words in ("generation 3, NOT CONFIRMED", "1 h 01 min", "1.5 GiB free of 2 GiB", "no watchdog", "eno1", "data0"):
        assert words in ran.stdout
    assert "OFF" in ran.stdout
    assert json.loads(flashvisor("node", "show", "--json").stdout)["name"] == "alpha"


def test_logs_of_one_unit(flashvisor: Callable[..., Ran], sim: NodeSim) -> None:
    assert flashvisor("node", "logs", "--unit", "libvirtd.service", "--lines", "20").status == 0
    assert sim.query == {"unit": "libvirtd.service", "lines": "20"}
    flashvisor("node", "logs")
    assert sim.query == {}


def test_logs_send_no_control_characters_to_the_terminal(flashvisor: Callable[..., Ran]) -> None:
    ran = flashvisor("node", "logs")
    assert ran.stdout == "      3.50  agent: ready  [31m[red]\n"
    assert json.loads(flashvisor("node", "logs", "--json").stdout)[0]["text"] == "ready \x1b[31m[red]"


@pytest.mark.parametrize("action", ["reboot", "poweroff"])
def test_power(flashvisor: Callable[..., Ran], sim: NodeSim, action: str) -> None:
    assert flashvisor("node", action).stdout == f"alpha.example:443: {action} under way\n"
    assert sim.power == action


def test_enrol_sends_the_owners_keys_after_a_yes(
    flashvisor: Callable[..., Ran], sim: NodeSim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert flashvisor("node", "enrol").status != 0
    assert sim.calls == []
    ran = flashvisor("node", "enrol", "--yes")
    assert "Secure Boot is on after the next start" in ran.stdout
    assert [each.name for each in sim.enrolled] == ["db", "KEK", "PK"]
    assert json.loads(flashvisor("node", "enrol", "--yes", "--json").stdout) == {
        "setup_mode": False,
        "secure_boot": False,
    }


def test_release_asks_first(flashvisor: Callable[..., Ran], sim: NodeSim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert flashvisor("node", "release").status != 0
    assert sim.released is None
    assert "nobody's server now" in flashvisor("node", "release", "--yes").stdout
    assert sim.released is not None
    assert sim.released.name == "PK"


def test_guest_list_and_show(flashvisor: Callable[..., Ran]) -> None:
    assert "12.50 s after boot" in flashvisor("guest", "list").stdout
    assert json.loads(flashvisor("guest", "list", "--json").stdout)[0]["name"] == "web"
    assert "state       running\n" in flashvisor("guest", "show", "web").stdout


def test_guest_show_says_how_it_is_asked_and_what_went_wrong(flashvisor: Callable[..., Ran], sim: NodeSim) -> None:
    assert "last fault  -\n" in flashvisor("guest", "show", "web").stdout
    sim.guests["web"] = msgspec.structs.replace(
        sim.guests["web"],
        probe="TCP 10.77.0.10:80",
        failure="its kernel panicked",
        failed=75.0,
        watchdogs=2,
        waits="for guest db to answer",
    )
    shown = flashvisor("guest", "show", "web").stdout
    for line in (
        "probe       TCP 10.77.0.10:80\n",
        "watchdogs   2\n",
        "after boot: its kernel panicked\n",
        "problem     waits for guest db to answer\n",
    ):
        assert line in shown
    assert "waits for guest db to answer" in flashvisor("guest", "list").stdout


def test_guest_stop_and_start(flashvisor: Callable[..., Ran]) -> None:
    assert json.loads(flashvisor("guest", "stop", "web", "--json").stdout)["state"] == "stopping"
    assert json.loads(flashvisor("guest", "stop", "web", "--force", "--json").stdout)["state"] == "stopped"
    assert json.loads(flashvisor("guest", "start", "web", "--json").stdout)["state"] == "running"


def test_a_servers_no_is_shown_and_gives_its_status(flashvisor: Callable[..., Ran]) -> None:
    ran = flashvisor("guest", "show", "ghost")
    assert ran.status == 8
    assert ran.stderr == "FV-GUEST-001: there is no guest 'ghost'\n  next: Known: web\n"
    ran = flashvisor("confirm", "--json")
    assert ran.status == 7
    assert json.loads(ran.stdout)["code"] == "FV-NODE-006"


def test_a_server_that_is_not_there(flashvisor: Callable[..., Ran], sim: NodeSim) -> None:
    sim.refuse_connections = 1
    ran = flashvisor("guest", "list")
    assert ran.status == 7
    assert "FV-NODE-001: alpha.example:443 does not answer" in ran.stderr


def test_node_use_names_a_server(flashvisor: Callable[..., Ran], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLASHVISOR_NODE")
    assert flashvisor("node", "use", "beta", "192.0.2.7:8443").status == 0
    assert "192.0.2.7:8443: reboot" in flashvisor("node", "reboot").stdout
    flashvisor("node", "use", "gamma", "192.0.2.8", "--json")
    assert "192.0.2.8:443: reboot" in flashvisor("node", "reboot").stdout
    assert "192.0.2.7:8443: reboot" in flashvisor("node", "reboot", "--node", "beta").stdout
    assert (home / ".config/flashvisor/nodes.toml").read_text().startswith('default = "gamma"\n')
