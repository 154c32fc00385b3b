"""networkd's unit files: what hangs on what."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings

from flashvisor.model.site import Site
from flashvisor.model.sitefile import check_site, parse_site
from flashvisor.node.network import NetworkPlan, plan_network
from sim.sites import sites

CARD, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:02"
HEAD = 'schema = 1\n[node]\nname = "alpha"\n'
LAN = '[network.lan]\nkind = "bridge"\n'


def planned(text: str, first_card: str | None = None) -> NetworkPlan:
    site = parse_site(HEAD + text)
    check_site(site)
    return plan_network(site, api_port=443, first_card=first_card)


def test_a_bridge_on_the_management_card_takes_over_its_address_and_its_mac() -> None:
    plan = planned(f'uplink = {{ mac = "{CARD}" }}\n{LAN}')
    assert plan.devices == ("uc-525400000001",)
    assert sorted(plan.units) == [
        "32-fv-uc-525400000001.netdev",
        "34-fv-uc-525400000001-port.network",
        "40-fv-uplink.network",
        "45-fv-other.network",
    ]
    assert plan.units["32-fv-uc-525400000001.netdev"] == (
        "[NetDev]\nName=uc-525400000001\nKind=bridge\nMACAddress=52:54:00:00:00:01\n\n"
        "[Bridge]\nSTP=no\nForwardDelaySec=0\nMulticastSnooping=no\nGroupForwardMask=16384\n"
        "VLANFiltering=yes\nDefaultPVID=1\n"
    )
    assert plan.units["34-fv-uc-525400000001-port.network"] == (
        "[Match]\nPermanentMACAddress=52:54:00:00:00:01\nKind=!*\n\n[Link]\nRequiredForOnline=no\n\n"
        "[Network]\nBridge=uc-525400000001\nDHCP=no\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n\n"
        "[BridgeVLAN]\nVLAN=1\nPVID=1\nEgressUntagged=1\n"
    )
    assert plan.units["40-fv-uplink.network"] == (
        "[Match]\nName=uc-525400000001\n\n[Network]\nDHCP=yes\nIPv6AcceptRA=yes\n\n[DHCPv4]\nClientIdentifier=mac\n"
    )


def test_the_server_asks_for_the_same_address_with_and_without_a_bridge() -> None:
    with_it = planned(f'uplink = {{ mac = "{CARD}" }}\n{LAN}').units["40-fv-uplink.network"]
    without = planned(f'uplink = {{ mac = "{CARD}" }}\n').units["40-fv-uplink.network"]
    assert with_it.partition("[Network]")[2] == without.partition("[Network]")[2]


def test_a_bridge_on_another_card_leaves_the_management_network_alone() -> None:
    plan = planned(f'[network.lan]\nkind = "bridge"\nuplink = "{OTHER}"\n')
    assert "40-fv-uplink.network" not in plan.units, "the image's own unit does it"
    assert "DHCP=no" in plan.units["35-fv-uc-525400000002.network"]


BOND = f'[bond.lan]\ncards = ["{CARD}", "{OTHER}"]\n'


def test_a_bond_has_its_first_cards_address_and_its_cards_are_matched_by_their_own() -> None:
    plan = planned(f'uplink = {{ bond = "lan" }}\n{BOND}mode = "802.3ad"\n')
    device = plan.units["30-fv-bo-lan.netdev"]
    assert "Kind=bond\nMACAddress=52:54:00:00:00:01\n" in device
    assert "Mode=802.3ad\nMIIMonitorSec=100ms\n" in device
    for index, mac in enumerate((CARD, OTHER)):
        unit = plan.units[f"31-fv-bo-lan-{index}.network"]
        assert f"PermanentMACAddress={mac}\nKind=!*\n" in unit
        assert "Bond=bo-lan\n" in unit
    assert "[Match]\nName=bo-lan\n" in plan.units["40-fv-uplink.network"]
    assert plan.devices == ("bo-lan",)


def test_fixed_addresses_are_told_as_the_kernel_writes_them() -> None:
    plan = planned(f'uplink = {{ mac = "{CARD}", address = "192.0.2.10/24", address6 = "2001:DB8:0::10/64" }}\n')
    assert plan.fixed == ("192.0.2.10/24", "2001:db8::10/64")


def test_a_tagged_management_network_on_a_bridge_over_a_bond() -> None:
    plan = planned(f'uplink = {{ bond = "lan", vlan = 7 }}\n{BOND}{LAN}vlan = 20\n')
    assert set(plan.devices) == {"uv-7", "ub-lan", "bo-lan"}
    assert re.findall(r"VLAN=(\d+)", plan.units["34-fv-ub-lan-port.network"]) == ["1", "7", "20"]
    parent = plan.units["39-fv-uv-7-parent.network"]
    assert "Name=ub-lan\n" in parent
    assert "VLAN=uv-7\n" in parent
    assert re.findall(r"\[BridgeVLAN\]\nVLAN=(\d+)", parent) == ["1", "7"], "guests' VLANs do not reach the server"
    assert "Name=uv-7\n" in plan.units["40-fv-uplink.network"]


def test_another_parent_is_another_interface() -> None:
    on_card = planned(f'uplink = {{ mac = "{CARD}", vlan = 7 }}\n').units["33-fv-uv-7.netdev"]
    on_bridge = planned(f'uplink = {{ mac = "{CARD}", vlan = 7 }}\n{LAN}').units["33-fv-uv-7.netdev"]
    assert on_card != on_bridge


def test_trunks_of_guests_are_carried_by_the_uplink() -> None:
    nics = 'nics = [{ network = "lan", trunk = [30, 40] }]\n'
    guest = f'[image.i]\nfile = "i"\n[guest.g]\nimage = "i"\nmemory = "64MiB"\n{nics}'
    plan = planned(f'uplink = {{ mac = "{CARD}" }}\n{LAN}vlan = 20\n{guest}')
    assert re.findall(r"VLAN=(\d+)", plan.units["34-fv-uc-525400000001-port.network"]) == ["1", "20", "30", "40"]


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ('address6 = "none"', ["DHCP=ipv4", "IPv6AcceptRA=no", "LinkLocalAddressing=no"]),
        (
            'address6 = "2001:db8::5/64", gateway6 = "fe80::1"',
            ["DHCP=ipv4", "Address=2001:db8::5/64", "Gateway=fe80::1", "IPv6AcceptRA=no"],
        ),
        (
            'address = "192.0.2.5/24", dns = ["2001:db8::53"]',
            ["Address=192.0.2.5/24", "DNS=2001:db8::53", "IPv6AcceptRA=yes"],
        ),
    ],
)
def test_addresses_of_the_uplink(words: str, lines: list[str]) -> None:
    unit = planned(f'uplink = {{ mac = "{CARD}", {words} }}\n').units["40-fv-uplink.network"]
    assert unit.partition("[Network]\n")[2].partition("\n\n")[0].splitlines() == lines


def test_ipv6_inside_is_announced_and_only_a_network_with_a_way_out_has_a_router() -> None:
    text = '[network.{name}]\nkind = "{kind}"\nsubnet = "10.{n}.0.0/24"\nsubnet6 = "fd00:{n}::/64"\n'
    plan = planned(text.format(name="a", kind="nat", n=1) + text.format(name="b", kind="isolated", n=2))
    out, shut = plan.units["50-fv-a.network"], plan.units["50-fv-b.network"]
    assert "Address=fd00:1::1/64\n" in out
    assert "IPv6LinkLocalAddressGenerationMode=eui64\nIPv6SendRA=yes\n" in out
    assert "[IPv6SendRA]\nEmitDNS=no\n\n[IPv6Prefix]\nPrefix=fd00:1::/64\n" in out
    assert "RouterLifetimeSec=0\n" in shut


def test_guests_are_told_of_name_servers_and_their_domain() -> None:
    text = '[network.a]\nsubnet = "10.1.0.0/24"\n'
    assert "DNS=10.1.0.1\nSendOption=15:string:a.internal\n" in planned(text).units["50-fv-a.network"]
    other = planned(f'{text}dns = ["192.0.2.53", "192.0.2.54"]\n')
    assert "DNS=192.0.2.53 192.0.2.54\n" in other.units["50-fv-a.network"]


@given(sites())
@settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow], deadline=None)
def test_no_interface_is_made_or_matched_twice(site: Site) -> None:
    plan = plan_network(site, api_port=443, first_card=CARD)
    made = [
        line
        for text in plan.units.values()
        for line in text.splitlines()
        if line.startswith("Name=") and "[NetDev]" in text
    ]
    assert sorted(made) == sorted(f"Name={name}" for name in plan.devices)
    assert len(set(plan.devices)) == len(plan.devices)
    assert all(len(name) <= 15 for name in plan.devices)
    matches = [text.partition("\n\n")[0] for name, text in plan.units.items() if name.endswith(".network")]
    assert len(set(matches)) == len(matches)
