"""What networks hang on."""

from __future__ import annotations

import pytest

from flashvisor.model.site import Bond, Guest, Kind, Network, Nic, Node, Site, Uplink
from flashvisor.model.wiring import (
    PREFIXES,
    bridge_of,
    bridged_uplinks,
    bytes_per_second,
    first_inside,
    kind_of,
    port_range,
    sources,
    uplink_mac,
    uplink_vlans,
)

CARD, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:02"
SITE = Site(
    schema=1,
    node=Node(name="a", uplink=Uplink(mac=CARD, vlan=7)),
    bond={"lan": Bond(cards=(OTHER,))},
    network={
        "inside": Network(subnet="10.1.0.0/24"),
        "own": Network(kind=Kind.BRIDGE, vlan=20),
        "far": Network(kind=Kind.BRIDGE, uplink="lan"),
    },
    guest={"g": Guest(image="i", memory="1GiB", nics=(Nic(network="far", trunk=(30,)), Nic(network="inside")))},
)


@pytest.mark.parametrize(
    ("network", "kind"),
    [
        (Network(), Kind.NAT),
        (Network(nat=True), Kind.NAT),
        (Network(nat=False), Kind.ISOLATED),
        (Network(kind=Kind.BRIDGE), Kind.BRIDGE),
    ],
)
def test_the_older_word_still_says_the_kind(network: Network, kind: Kind) -> None:
    assert kind_of(network) is kind


def test_a_network_without_an_uplink_of_its_own_is_on_the_servers() -> None:
    assert [bridge_of(SITE, name) for name in ("inside", "own", "far")] == ["br-inside", "uc-525400000001", "ub-lan"]
    assert bridged_uplinks(SITE) == (CARD, "lan")
    assert (uplink_mac(SITE, CARD), uplink_mac(SITE, "lan")) == (CARD, OTHER)
    with pytest.raises(ValueError, match="no uplink"):
        bridge_of(Site(schema=1, node=Node(name="a"), network={"x": Network(kind=Kind.BRIDGE)}), "x")


def test_an_uplink_carries_the_vlans_of_its_networks_its_guests_and_the_server() -> None:
    assert uplink_vlans(SITE, CARD) == (7, 20)
    assert uplink_vlans(SITE, "lan") == (30,)


def test_forwards_lead_to_the_first_card_that_the_server_gives_an_address() -> None:
    assert first_inside(SITE, SITE.guest["g"].nics) == 1
    assert first_inside(SITE, (Nic(network="far"),)) is None


def test_ports_sources_and_rates() -> None:
    assert (list(port_range(80)), list(port_range("80-82")), len(port_range("9-8"))) == ([80], [80, 81, 82], 0)
    assert (sources("10.0.0.0/8"), sources(())) == (("10.0.0.0/8",), ())
    rates = [bytes_per_second(text) for text in ("64 kbit/s", "100Mbit/s", "1 Gbit/s")]
    assert rates == [8_000, 12_500_000, 125_000_000]


def test_no_prefix_is_a_guests() -> None:
    assert not [prefix for prefix in PREFIXES if prefix.startswith("tap")]
