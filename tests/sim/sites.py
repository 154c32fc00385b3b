"""Sites as hypothesis makes them up: networks of every kind, guests on them, rules. `check_site` accepts them all."""

from __future__ import annotations

from hypothesis import assume
from hypothesis import strategies as st

from flashvisor.errors import SiteError
from flashvisor.model.site import (
    Allow,
    Bond,
    BondMode,
    Forward,
    Guest,
    Image,
    Kind,
    Network,
    Nic,
    Node,
    Protocol,
    Rule,
    Site,
    Uplink,
)
from flashvisor.model.sitefile import check_site

CARDS = [f"52:54:00:00:00:{number:02x}" for number in range(1, 7)]
NAMES = ["a", "lan", "abcdefghijkl", "x-1"]
SOURCES = st.sampled_from(
    [(), "192.0.2.0/24", ("192.0.2.0/24", "192.0.2.7"), "2001:db8::/32", ("10.0.0.0/8", "10.1.0.0/16", "fd00::/8")]
)
PORTS = st.integers(1, 65_535) | st.integers(1, 65_000).map(lambda first: f"{first}-{first + 9}")
RATES = st.none() | st.sampled_from(["64 kbit/s", "100Mbit/s", "40 Gbit/s"])
VLANS = st.none() | st.integers(2, 4094)
RULES = st.builds(
    Rule, allow=st.sampled_from([Allow.TCP, Allow.UDP]), port=st.none() | PORTS, from_=SOURCES
) | st.builds(Rule, allow=st.sampled_from(list(Allow)), from_=SOURCES)
FORWARDS = st.builds(Forward, port=PORTS, protocol=st.sampled_from(list(Protocol)), from_=SOURCES)


@st.composite
def networks(draw: st.DrawFn, bonds: list[str]) -> dict[str, Network]:
    found = {}
    for number, name in enumerate(draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1))):
        apart = draw(st.booleans())
        if draw(st.booleans()):
            uplink = draw(st.sampled_from([None, *CARDS, *bonds]))
            found[name] = Network(kind=Kind.BRIDGE, uplink=uplink, vlan=draw(VLANS), isolated_ports=apart)
        else:
            found[name] = Network(
                kind=draw(st.sampled_from([Kind.NAT, Kind.ISOLATED])),
                subnet=f"10.{number}.0.0/24",
                subnet6=draw(st.sampled_from([None, f"fd00:{number}::/64", f"2001:db8:{number}::/64"])),
                isolated_ports=apart,
            )
    return found


@st.composite
def cards(draw: st.DrawFn, known: dict[str, Network], number: int) -> Nic:
    name = draw(st.sampled_from(sorted(known)))
    network = known[name]
    bridge = network.kind is Kind.BRIDGE
    prefix = "2001:db8:99::/64" if bridge else network.subnet6
    return Nic(
        network=name,
        address6=draw(st.sampled_from([None, prefix.replace("/64", f"{number + 16:x}")])) if prefix else None,
        trunk=tuple(draw(st.lists(st.integers(2, 4094), unique=True, max_size=3))) if bridge else (),
        rate_in=draw(RATES),
        rate_out=draw(RATES),
        spoofing=draw(st.booleans()),
    )


@st.composite
def sites(draw: st.DrawFn, *, firewalls: bool = True) -> Site:
    """A site that `check_site` accepts; without `firewalls`, no guest has one."""
    bonds: dict[str, Bond] = {
        name: Bond(cards=tuple(CARDS[2 * number : 2 * number + 2]), mode=draw(st.sampled_from(list(BondMode))))
        for number, name in enumerate(draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=2)))
    }
    nets = draw(networks(sorted(bonds)))
    uplink = draw(st.builds(Uplink, mac=st.none() | st.sampled_from(CARDS), vlan=VLANS))
    on_bond = draw(st.booleans())
    if bonds and on_bond:
        uplink = Uplink(bond=draw(st.sampled_from(sorted(bonds))), vlan=uplink.vlan)
    guests = {
        f"{'long-' * number}g{number}": Guest(
            image="i",
            memory="64MiB",
            nics=tuple(draw(cards(nets, 4 * number + index)) for index in range(draw(st.integers(0, 3)))),
            forwards=tuple(draw(st.lists(FORWARDS, max_size=2))),
            firewall=draw(st.none() | st.lists(RULES, max_size=3).map(tuple)) if firewalls else None,
        )
        for number in range(draw(st.integers(0, 4)))
    }
    site = Site(
        schema=1,
        node=Node(name="n", uplink=uplink),
        image={"i": Image(file="i")},
        network=nets,
        bond=bonds,
        guest=guests,
    )
    try:
        check_site(site)
    except SiteError:
        assume(False)
    return site
