"""Networks as text."""

from __future__ import annotations

import pytest

from flashvisor.model.sitefile import parse_site
from flashvisor.node.network import NetworkPlan, plan_network
from sim.nodekit import SECOND_GUEST, SITE

CARD = "52:54:00:00:00:01"


def planned(text: str, card: str | None = CARD) -> NetworkPlan:
    return plan_network(parse_site(text), api_port=443, first_card=card)


def test_a_network_becomes_a_bridge_with_leases_for_every_card() -> None:
    plan = planned(SITE + SECOND_GUEST)
    assert plan.bridges == ("br-inside",)
    assert "Name=br-inside\nKind=bridge\n" in plan.units["50-fv-inside.netdev"]
    network = plan.units["50-fv-inside.network"]
    assert "Address=10.77.0.1/24" in network
    assert network.count("[DHCPServerStaticLease]") == 2
    assert "Address=10.77.0.10\n" in network


def test_a_forward_leads_to_the_guests_first_card() -> None:
    assert "nfproto ipv4 fib daddr type local tcp dport 8080 dnat ip to 10.77.0.10:80" in planned(SITE).ruleset


def test_guests_reach_out_but_never_the_api_nor_another_network() -> None:
    rules = planned(SITE + '[network.other]\nsubnet = "10.78.0.0/24"\n').ruleset
    assert 'iifname != "br-*" tcp dport 443 accept' in rules
    assert "type filter hook input priority filter; policy drop;" in rules
    assert "type filter hook forward priority filter; policy drop;" in rules
    forwarded = [line for line in rules.splitlines() if "oifname" in line and "accept" in line]
    assert forwarded == [
        '    iifname "br-inside" oifname != "br-*" accept',
        '    iifname "br-other" oifname != "br-*" accept',
    ]


def test_a_network_without_nat_has_no_way_out_and_no_router() -> None:
    plan = planned(SITE.replace('subnet = "10.77.0.0/24"', 'subnet = "10.77.0.0/24"\nnat = false'))
    assert 'oifname != "br-*"' not in plan.ruleset
    assert "    ip daddr 10.77.0.0/24 ct status dnat masquerade\n" in plan.ruleset, "forwards still lead there"
    assert "EmitRouter=no" in plan.units["50-fv-inside.network"]


def test_without_a_site_only_the_firewall_stands() -> None:
    plan = plan_network(None, api_port=8443, first_card=CARD)
    assert (plan.units, plan.bridges) == ({}, ())
    assert "tcp dport 8443 accept" in plan.ruleset
    assert "dnat ip" not in plan.ruleset


def test_the_images_own_uplink_unit_is_left_alone_for_dhcp_on_any_card() -> None:
    assert not [name for name in planned(SITE).units if "uplink" in name]


UPLINK = '\n[node.uplink]\naddress = "192.0.2.10/24"\ngateway = "192.0.2.1"\ndns = ["192.0.2.53"]\n'


def with_uplink(text: str) -> str:
    return SITE.replace('name = "alpha"\n', f'name = "alpha"\n{text}')


def test_a_fixed_uplink_address_goes_to_one_card_and_the_others_keep_still() -> None:
    units = planned(with_uplink(UPLINK)).units
    uplink = units["40-fv-uplink.network"]
    assert f"MACAddress={CARD}" in uplink
    assert "Address=192.0.2.10/24\nGateway=192.0.2.1\nDNS=192.0.2.53\n" in uplink
    assert "DHCP=no" in units["45-fv-other.network"]
    assert "EmitDNS=yes\nEmitNTP=no\nPersistLeases=no\nDNS=10.77.0.1\n" in units["50-fv-inside.network"]


def test_a_named_card_wins_over_the_first() -> None:
    mac = "52:54:00:00:00:99"
    units = planned(with_uplink(UPLINK.replace("address", f'mac = "{mac}"\naddress', 1))).units
    assert f"MACAddress={mac}" in units["40-fv-uplink.network"]


@pytest.mark.parametrize("name", ["40-fv-uplink.network", "50-fv-inside.network"])
def test_our_units_sort_before_the_images_own(name: str) -> None:
    assert name < "80-flashvisor-uplink.network"
