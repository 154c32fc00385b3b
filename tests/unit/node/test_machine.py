"""The real machine's order of steps; what each step does is tried where its tool is."""

from __future__ import annotations

from pathlib import Path

import pytest

from flashvisor.host import facts, netlink, networkd, nft, sysctl
from flashvisor.node.machine import RealMachine
from flashvisor.node.nameserver import Nameserver
from flashvisor.node.network import NetworkPlan
from flashvisor.node.zones import LOOPBACK, Zone

PLAN = NetworkPlan(
    units={
        "33-fv-uv-7.netdev": "# On Name=uc-1\n[NetDev]\nName=uv-7\n",
        "50-fv-a.netdev": "[NetDev]\nName=br-a\n",
    },
    ruleset="rules",
    bridges=("br-a",),
    devices=("br-a", "uv-7"),
    zones=(Zone(LOOPBACK.listen, "a.internal", {}, world=True),),
)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    monkeypatch.setattr(networkd, "UNITS", tmp_path)
    monkeypatch.setattr(facts, "interfaces", lambda: ("lo", "eth0", "br-a", "br-old", "bo-gone", "tap-a-0", "uv-7"))
    monkeypatch.setattr(nft, "load", lambda text: calls.append(f"nft {text}"))
    monkeypatch.setattr(sysctl, "write", lambda name, value: calls.append(f"{name}={value}"))
    monkeypatch.setattr(netlink, "delete_link", lambda name: calls.append(f"delete {name}"))
    monkeypatch.setattr(networkd, "reload", lambda _place: calls.append("reload"))
    monkeypatch.setattr(Nameserver, "serve", lambda _self, zones: calls.append(f"names of {len(zones)}"))
    return calls


def test_rules_come_first_then_what_is_in_the_way_goes_and_networkd_makes_the_rest(
    calls: list[str], tmp_path: Path
) -> None:
    networkd.install(PLAN.units | {"33-fv-uv-7.netdev": "# On Name=uc-0\n[NetDev]\nName=uv-7\n"}, tmp_path)
    RealMachine(Path("/nonexistent")).configure(PLAN)
    assert calls == [
        "nft rules",
        "net/ipv4/ip_forward=1",
        "net/ipv6/conf/all/forwarding=1",
        "delete bo-gone",
        "delete br-old",
        "delete uv-7",
        "reload",
        "names of 2",
    ]
    assert networkd.installed(tmp_path) == PLAN.units


def test_what_is_in_force_already_is_left_alone(calls: list[str], tmp_path: Path) -> None:
    networkd.install(PLAN.units, tmp_path)
    (tmp_path / networkd.UNREAD).unlink()
    RealMachine(Path("/nonexistent")).configure(PLAN)
    assert [call for call in calls if "uv-7" in call or call == "reload"] == []
