"""What each card may send and receive, as rules. Whether the kernel keeps to them is tried in tests/tools."""

from __future__ import annotations

import pytest

from flashvisor.model.names import derive_mac
from flashvisor.model.sitefile import check_site, parse_site
from flashvisor.node.network import plan_network

HEAD = """
schema = 1
[node]
name = "alpha"
[node.uplink]
mac = "52:54:00:00:00:01"
[network.inside]
subnet = "10.77.0.0/24"
[network.lan]
kind = "bridge"
[image.i]
file = "i"
[guest.web]
image = "i"
memory = "64MiB"
"""


def chain(guest: str, name: str) -> list[str]:
    """The rules of a chain of `table bridge`."""
    site = parse_site(HEAD + guest)
    check_site(site)
    lines = [line.strip() for line in plan_network(site, api_port=443, first_card=None).ruleset.splitlines()]
    lines = lines[lines.index("table bridge flashvisor {") :]
    if f"chain {name} {{" not in lines:
        return []
    start = lines.index(f"chain {name} {{") + 1
    return [line for line in lines[start : lines.index("}", start)] if not line.startswith("type ")]


INSIDE = 'nics = [{ network = "inside", address = "10.77.0.10" }]\n'
MAC = derive_mac("alpha", "web", 0)


def test_a_card_inside_is_held_to_its_address() -> None:
    assert chain(INSIDE, "from-tap-web-0") == [
        f"ether saddr != {MAC} drop",
        f"arp saddr ether != {MAC} drop",
        "udp sport { 67, 547 } drop",
        "icmpv6 type { nd-router-advert, nd-redirect } drop",
        "arp saddr ip != { 0.0.0.0, 10.77.0.10 } drop",
        "ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept",
        "ip saddr != 10.77.0.10 drop",
        "ip6 saddr != { ::, fe80::/10 } drop",
        "ether type != { arp, ip, ip6 } drop",
    ]


def test_a_bridged_card_is_held_to_its_mac_and_may_be_a_dhcp_server() -> None:
    rules = chain('nics = [{ network = "lan" }]\n', "from-tap-web-0")
    assert rules == [f"ether saddr != {MAC} drop", f"arp saddr ether != {MAC} drop"]


def test_without_a_firewall_or_a_rate_nothing_is_asked_of_what_comes_in() -> None:
    assert chain(INSIDE, "postrouting") == []
    assert chain(INSIDE, "to-tap-web-0") == []


def test_a_rate_stands_on_its_own_side() -> None:
    card = 'nics = [{ network = "lan", rate_in = "1 Gbit/s", rate_out = "8 Mbit/s", spoofing = true }]\n'
    assert chain(card, "to-tap-web-0") == ["limit rate over 125000000 bytes/second burst 12500000 bytes drop"]
    assert chain(card, "from-tap-web-0") == ["limit rate over 1000000 bytes/second burst 262144 bytes drop"]


@pytest.mark.parametrize(
    ("rule", "texts"),
    [
        ('{ allow = "tcp", port = 22 }', ["tcp dport 22 accept"]),
        ('{ allow = "udp", port = "60000-60010" }', ["udp dport 60000-60010 accept"]),
        ('{ allow = "tcp" }', ["meta l4proto tcp accept"]),
        ('{ allow = "icmp" }', ["meta l4proto { icmp, ipv6-icmp } accept"]),
        (
            '{ allow = "tcp", port = 22, from = ["192.0.2.0/24", "192.0.2.7", "2001:db8::/32"] }',
            [
                "ct original ip saddr { 192.0.2.0/24 } tcp dport 22 accept",
                "ct original ip6 saddr { 2001:db8::/32 } tcp dport 22 accept",
            ],
        ),
        (
            '{ allow = "all", from = "192.0.2.7" }',
            ["ct original ip saddr { 192.0.2.7/32 } meta protocol { ip, ip6 } accept"],
        ),
    ],
)
def test_a_firewall_lets_in_what_its_rules_say_and_drops_the_rest(rule: str, texts: list[str]) -> None:
    rules = chain(f"{INSIDE}firewall = [{rule}]\n", "to-tap-web-0")
    assert rules[:2] == ["meta protocol arp accept", "ct state { established, related } accept"]
    assert "ip saddr 10.77.0.1 ct status & dnat == 0 accept" in rules, "the server asks whether its guest answers"
    assert rules[-len(texts) - 1 :] == [*texts, "drop"]


def test_an_empty_firewall_lets_nothing_in_by_itself() -> None:
    assert chain('nics = [{ network = "lan" }]\nfirewall = []\n', "to-tap-web-0")[-1] == "drop"


def test_bridged_guests_do_not_reach_the_api() -> None:
    assert 'iifname { "tap-web-0" } tcp dport 443 drop' in chain('nics = [{ network = "lan" }]\n', "input")
    assert not [rule for rule in chain(INSIDE, "input") if "443" in rule], "by way of the server, the world's 443"
