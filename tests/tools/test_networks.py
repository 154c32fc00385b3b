"""A site's rules in the kernel, with frames as honest and hostile guests send them.

Needs nothing of the machine but nft, ip and a network namespace. What needs the image's own kernel (VLANs, bonds,
guests' firewalls) is tried by test_networks_in_image.py.
"""

from __future__ import annotations

import subprocess
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import HealthCheck, given, settings

from flashvisor.model.names import bridge_mac, link_local
from flashvisor.model.site import Site
from flashvisor.node.network import plan_network
from sim.frames import ICMP6, LLDP, TCP, UDP, Ether, Seen
from sim.netbench import FAR, FAR6, SERVER, SERVER6, SERVER_MAC, WORLD, WORLD_MAC, Bench, Probe
from sim.sites import sites

pytestmark = pytest.mark.tools

SITE = """
schema = 1
[node]
name = "alpha"
[network.inside]
subnet = "10.77.0.0/24"
subnet6 = "fd00:77::/64"
[network.apart]
subnet = "10.78.0.0/24"
isolated_ports = true
[network.shut]
kind = "isolated"
subnet = "10.79.0.0/24"
[image.hello]
file = "hello.efi"
[guest.web]
image = "hello"
memory = "64MiB"
nics = [{ network = "inside", address = "10.77.0.10", address6 = "fd00:77::10" }]
forwards = [
  { port = 8080, to = 80 },
  { port = "9000-9009", protocol = "udp" },
  { port = 8443, to = 443, from = ["192.0.2.0/28", "2001:db8::/112"] },
  { port = 8444, to = 443, from = "198.51.100.0/24" },
]
[guest.db]
image = "hello"
memory = "64MiB"
nics = [{ network = "inside", address = "10.77.0.11", address6 = "fd00:77::11" }]
[guest.one]
image = "hello"
memory = "64MiB"
nics = [{ network = "apart" }]
[guest.two]
image = "hello"
memory = "64MiB"
nics = [{ network = "apart" }]
[guest.hermit]
image = "hello"
memory = "64MiB"
nics = [{ network = "shut" }]
forwards = [{ port = 2222, to = 22 }]
[guest.router]
image = "hello"
memory = "64MiB"
nics = [{ network = "inside", spoofing = true }]
"""
DB, WEB, GATE = IPv4Address("10.77.0.11"), IPv4Address("10.77.0.10"), IPv4Address("10.77.0.1")
WEB6, DB6, GATE6 = IPv6Address("fd00:77::10"), IPv6Address("fd00:77::11"), IPv6Address("fd00:77::1")
ROUTER6 = link_local(bridge_mac("alpha", "inside"))
FAR4, OURS = IPv4Address(FAR), IPv4Address(SERVER)
OUTSIDE = Ether(WORLD_MAC, SERVER_MAC)  # from the world to the server
STRANGER = "52:54:00:99:99:99"
MARK = 4242  # the source port by which a frame of ours is known again


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(SITE)


def marked(found: list[Seen]) -> list[Seen]:
    return [seen for seen in found if MARK in (seen.sport, seen.dport)]


def arrived(bench: Bench, sender: str, frames: list[bytes], *ends: str) -> list[list[Seen]]:
    """What of our frames arrives at each end when a sender sends them."""
    found = bench.one(Probe(sender, frames, ends))
    return [marked(found[end]) for end in ends]


def routed(bench: Bench, guest: str, network: str = "inside") -> Ether:
    """From a guest to the server, whatever lies behind it."""
    return Ether(bench.mac(guest), bench.bridge_mac(network))


def test_an_honest_guest_reaches_its_neighbour_the_world_and_its_name_server(bench: Bench) -> None:
    near = Ether(bench.mac("web"), bench.mac("db")).udp(WEB, DB, MARK, 9)
    far = routed(bench, "web").udp(WEB, FAR4, MARK, 9)
    web = bench.end("web")
    to_db, to_world = bench.run([Probe(web, [near], (bench.end("db"),)), Probe(web, [far], (WORLD,))])
    assert [(seen.src, seen.dst) for seen in marked(to_db[bench.end("db")])] == [(WEB, DB)]
    assert [(seen.src, seen.dst) for seen in marked(to_world[WORLD])] == [(OURS, FAR4)], "it is translated"


def claim(ether: Ether, address: IPv6Address) -> bytes:
    """A neighbour advertisement that overrides what is known of an address (RFC 4861, 4.4)."""
    option = b"\2\1" + bytes.fromhex(ether.src.replace(":", ""))
    return ether.icmp6(IPv6Address("fe80::9"), IPv6Address("ff02::1"), 136, b"\x20\0\0\0" + address.packed + option)


def hostile(bench: Bench) -> dict[str, bytes]:
    """Frames that guest web may not send, by what is wrong with them."""
    web, db = bench.mac("web"), bench.mac("db")
    honest = Ether(web, db)
    far6 = IPv6Address("fd00:78::99")
    return {
        "another MAC address": Ether(STRANGER, db).udp(WEB, DB, MARK, 9),
        "its neighbour's MAC address": Ether(db, db).udp(WEB, DB, MARK, 9),
        "another address": honest.udp(IPv4Address("10.77.0.99"), DB, MARK, 9),
        "its neighbour's address": honest.udp(DB, DB, MARK, 9),
        "the server's address": honest.udp(GATE, DB, MARK, 9),
        "another network's address": honest.udp(IPv4Address("10.78.0.5"), DB, MARK, 9),
        "no address": honest.udp(IPv4Address(0), DB, MARK, 9),
        "another IPv6 address": honest.udp(far6, WEB6, MARK, 9),
        "the server's IPv6 address": honest.udp(GATE6, WEB6, MARK, 9),
        "the router's link-local address": honest.udp(ROUTER6, WEB6, MARK, 9),
        "a claim to the server's IPv6 address": claim(honest, GATE6),
        "a claim to the router's link-local address": claim(honest, ROUTER6),
        "a claim to its neighbour's IPv6 address": claim(honest, DB6),
        "ARP for its neighbour": Ether(web).arp("10.77.0.11", "10.77.0.1"),
        "ARP for the server": Ether(web).arp("10.77.0.1", "10.77.0.11", reply=True),
        "ARP with another MAC address": Ether(web).arp("10.77.0.10", "10.77.0.11", hardware=STRANGER),
        "DHCP answers": honest.udp(WEB, DB, 67, 68),
        "router advertisements": honest.icmp6(IPv6Address("fe80::1"), IPv6Address("ff02::1"), 134, bytes(12)),
        "a VLAN's tag": Ether(web, db, tag=20).udp(WEB, DB, MARK, 9),
        "a protocol that nobody checks": honest.raw(0x8137, b"IPX"),
    }


@pytest.fixture(scope="module")
def heard(bench: Bench) -> dict[str, list[int]]:
    """The ports of what arrived, for each hostile frame with an honest one behind it."""
    watch = (bench.end("db"), bench.end("router"))
    honest = Ether(bench.mac("web"), bench.mac("db")).udp(WEB, DB, MARK, 99)
    frames = hostile(bench)
    ran = bench.run([Probe(bench.end("web"), [frame, honest], watch) for frame in frames.values()])
    # The server and the kernel behind each wire have something to say as well: that is not what is asked here.
    suspects = {bench.mac("web"), bench.mac("db"), STRANGER}
    return {
        what: [seen.dport for end in watch for seen in found[end] if seen.src_mac in suspects]
        for what, found in zip(frames, ran, strict=True)
    }


@pytest.mark.parametrize("what", sorted(hostile(Bench(SITE))))
def test_a_hostile_guest_is_not_heard(heard: dict[str, list[int]], what: str) -> None:
    ports = heard[what]
    # Before its MAC address is known, an honest frame is flooded to both.
    assert ports
    assert set(ports) == {99}, "only the honest frame behind it came"


def test_a_guest_without_an_ipv6_address_of_its_own_may_claim_any_but_its_neighbours(bench: Bench) -> None:
    one = Bench(SITE.replace('address = "10.77.0.10", address6 = "fd00:77::10"', 'address = "10.77.0.10"'))
    ether = Ether(one.mac("web"), one.mac("db"))
    free, far = IPv6Address("fd00:77::99"), IPv6Address("fd00:78::9")
    frames = [ether.udp(source, DB6, MARK, port) for port, source in enumerate((GATE6, ROUTER6, DB6, far, free))]
    found = one.one(Probe(one.end("web"), [*frames, claim(ether, DB6), claim(ether, free)], (one.end("db"),)))
    heard = [seen for seen in found[one.end("db")] if seen.src_mac == one.mac("web")]
    assert [(seen.protocol, seen.dport) for seen in heard] == [(UDP, 4), (ICMP6, 0)]


def test_a_guest_that_may_send_from_any_address_does(bench: Bench) -> None:
    frame = Ether(STRANGER, bench.mac("db")).udp(IPv4Address("198.51.100.7"), DB, MARK, 9)
    (db,) = arrived(bench, bench.end("router"), [frame], bench.end("db"))
    assert len(db) == 1


@pytest.mark.parametrize("kind", [LLDP, 0x8809])
def test_no_address_is_stolen_by_a_frame_that_bridges_keep_to_themselves(bench: Bench, kind: int) -> None:
    """A bridge learns from such frames without asking the hook that all others pass."""
    theft = Ether(bench.mac("db"), "01:80:c2:00:00:0e" if kind == LLDP else "01:80:c2:00:00:02").raw(kind, b"mine")
    answer = Ether(bench.mac("router"), bench.mac("db")).udp(GATE, DB, MARK, 9)
    db, web = bench.end("db"), bench.end("web")
    known = Ether(bench.mac("db"), bench.mac("router")).udp(DB, GATE, MARK, 9)
    _, _, found = bench.run(
        [Probe(db, [known], (web,)), Probe(web, [theft], (db,)), Probe(bench.end("router"), [answer], (db, web))]
    )
    assert len(marked(found[db])) == 1
    assert marked(found[web]) == []


def test_guests_of_a_network_that_keeps_them_apart_meet_only_the_server(bench: Bench) -> None:
    one, two = bench.address("one"), bench.address("two")
    direct = Ether(bench.mac("one"), bench.mac("two")).udp(one, two, MARK, 9)
    around = routed(bench, "one", "apart").udp(one, two, MARK, 9)
    out = routed(bench, "one", "apart").udp(one, FAR4, MARK, 9)
    near, world = arrived(bench, bench.end("one"), [direct, around, out], bench.end("two"), WORLD)
    assert (near, len(world)) == ([], 1)


def test_an_isolated_network_has_no_way_out_and_no_way_to_other_networks(bench: Bench) -> None:
    own = bench.address("hermit")
    ether = routed(bench, "hermit", "shut")
    frames = [ether.udp(own, FAR4, MARK, 9), ether.udp(own, WEB, MARK, 9), ether.tcp(own, OURS, MARK, 8080)]
    assert arrived(bench, bench.end("hermit"), frames, WORLD, bench.end("web")) == [[], []]


def test_a_forward_leads_from_the_world_and_the_answer_back(bench: Bench) -> None:
    asked = Probe(WORLD, [OUTSIDE.tcp(FAR4, OURS, MARK, 8080)], (bench.end("web"),))
    said = routed(bench, "web").tcp(WEB, FAR4, 80, MARK, flags=0x12)
    there, back = bench.run([asked, Probe(bench.end("web"), [said], (WORLD,))])
    assert [(seen.src, seen.dst, seen.dport) for seen in marked(there[bench.end("web")])] == [(FAR4, WEB, 80)]
    assert [(seen.src, seen.sport) for seen in marked(back[WORLD])] == [(OURS, 8080)]


def test_a_range_keeps_its_numbers_and_ends_where_it_says(bench: Bench) -> None:
    frames = [OUTSIDE.udp(FAR4, OURS, MARK, port) for port in (8999, 9000, 9004, 9009, 9010)]
    (web,) = arrived(bench, WORLD, frames, bench.end("web"))
    assert [seen.dport for seen in web] == [9000, 9004, 9009]


def test_a_forward_is_open_to_its_sources_only(bench: Bench) -> None:
    # Both lead to port 443: with one source port, the second would be dropped as a double of the first.
    frames = [OUTSIDE.tcp(FAR4, OURS, MARK, 8443), OUTSIDE.tcp(FAR4, OURS, MARK + 1, 8444)]
    found = bench.one(Probe(WORLD, frames, (bench.end("web"),)))
    assert [seen.sport for seen in found[bench.end("web")] if seen.dport == 443] == [MARK]


def test_a_neighbour_reaches_a_forward_by_the_servers_own_address(bench: Bench) -> None:
    asked = Probe(bench.end("db"), [routed(bench, "db").tcp(DB, OURS, MARK, 8080)], (bench.end("web"),))
    said = routed(bench, "web").tcp(WEB, GATE, 80, MARK, flags=0x12)
    there, back = bench.run([asked, Probe(bench.end("web"), [said], (bench.end("db"),))])
    assert [(seen.src, seen.dst) for seen in marked(there[bench.end("web")])] == [(GATE, WEB)]
    assert [(seen.src, seen.sport) for seen in marked(back[bench.end("db")])] == [(OURS, 8080)]


def test_a_guests_own_call_to_such_a_port_in_the_world_is_not_taken(bench: Bench) -> None:
    frame = routed(bench, "db").tcp(DB, FAR4, MARK, 8080)
    world, web = arrived(bench, bench.end("db"), [frame], WORLD, bench.end("web"))
    assert ([seen.dport for seen in world], web) == ([8080], [])


def test_a_forward_into_an_isolated_network_comes_from_the_server(bench: Bench) -> None:
    frame = OUTSIDE.tcp(FAR4, OURS, MARK, 2222)
    found = bench.one(Probe(WORLD, [frame], (bench.end("hermit"),)))
    seen = [each for each in found[bench.end("hermit")] if each.protocol == TCP]
    assert [(each.src, each.dport) for each in seen] == [(IPv4Address("10.79.0.1"), 22)], "nobody is its router"


def test_forwards_and_the_way_out_work_over_ipv6(bench: Bench) -> None:
    far, ours = IPv6Address(FAR6), IPv6Address(SERVER6)
    frames = [OUTSIDE.tcp(far, ours, MARK, 8080), OUTSIDE.tcp(far, ours, MARK, 8444)]
    out = routed(bench, "web").udp(WEB6, far, MARK, 9)
    web = bench.end("web")
    there, world = bench.run([Probe(WORLD, frames, (web,)), Probe(web, [out], (WORLD,))])
    assert [(seen.src, seen.dst, seen.dport) for seen in marked(there[web])] == [(far, WEB6, 80)]
    assert [(seen.src, seen.protocol) for seen in marked(world[WORLD])] == [(ours, UDP)], "an ULA is translated"


def test_the_world_reaches_no_guest_that_nothing_is_forwarded_to(bench: Bench) -> None:
    frames = [
        OUTSIDE.tcp(FAR4, WEB, MARK, 80),
        OUTSIDE.tcp(IPv6Address(FAR6), WEB6, MARK, 80),
        OUTSIDE.tcp(FAR4, OURS, MARK, 81),
    ]
    assert arrived(bench, WORLD, frames, bench.end("web")) == [[]]


def test_guests_do_not_reach_the_api_nor_each_others_name_server(bench: Bench) -> None:
    """Where nobody listens, the server refuses what its firewall lets pass; what it drops, it says nothing to."""
    ether = routed(bench, "db")
    other = IPv4Address("10.78.0.1")
    frames = [ether.tcp(DB, GATE, MARK, port) for port in (443, 22)] + [ether.tcp(DB, other, MARK, 53)]
    allowed = ether.tcp(DB, GATE, MARK + 1, 53)
    found = bench.one(Probe(bench.end("db"), [*frames, allowed], (bench.end("db"),)))
    assert [(seen.sport, seen.dport) for seen in found[bench.end("db")] if seen.protocol == TCP] == [(53, MARK + 1)]


BRIDGED = """
schema = 1
[node]
name = "alpha"
[node.uplink]
mac = "52:54:00:00:00:01"
[network.lan]
kind = "bridge"
[image.hello]
file = "hello.efi"
[guest.free]
image = "hello"
memory = "64MiB"
nics = [{ network = "lan" }]
[guest.held]
image = "hello"
memory = "64MiB"
nics = [{ network = "lan", address = "192.0.2.20" }]
"""


def test_on_a_bridge_a_guest_is_held_to_the_address_that_the_site_says_or_to_its_card() -> None:
    bench = Bench(BRIDGED)
    there, right = IPv4Address("192.0.2.30"), IPv4Address("192.0.2.20")
    held, free = Ether(bench.mac("held"), bench.mac("free")), Ether(bench.mac("free"), bench.mac("held"))
    ends = bench.end("held"), bench.end("free")
    frames = [held.udp(there, right, MARK, 1), held.udp(right, there, MARK, 2)]
    stolen = Ether(STRANGER, bench.mac("held")).udp(there, right, MARK, 3)
    to_free, to_held = bench.run(
        [Probe(ends[0], frames, (ends[1],)), Probe(ends[1], [stolen, free.udp(there, right, MARK, 4)], (ends[0],))]
    )
    assert [seen.dport for seen in marked(to_free[ends[1]])] == [2]
    assert [seen.dport for seen in marked(to_held[ends[0]])] == [4], "its addresses are its own business"


def test_a_tap_of_no_guest_is_silent() -> None:
    bench = Bench(BRIDGED)
    bench.links += [
        "link add tap-ghost-0 type veth peer name g9",
        "link set g9 addrgenmode none up",
        "link set tap-ghost-0 addrgenmode none master uc-525400000001 up",
    ]
    frame = Ether(STRANGER, bench.mac("free")).udp(IPv4Address(FAR), OURS, MARK, 9)
    assert arrived(bench, "g9", [frame], bench.end("free")) == [[]]


FRAME = 1000  # bytes of payload
LEAST_BURST, SECOND = 256 << 10, 1_000_000  # bytes: what passes at once, and in a second of 8 Mbit/s


def limited(card: str, key: str) -> Bench:
    text = f'[guest.{card}]\nimage = "hello"\nmemory = "64MiB"\nnics = [{{ network = "lan"'
    assert text in BRIDGED
    return Bench(BRIDGED.replace(text, f'{text}, {key} = "8 Mbit/s"'))


def flood(bench: Bench, count: int) -> int:
    """Bytes that arrive at `held` of what `free` sends it at once."""
    frame = Ether(bench.mac("free"), bench.mac("held")).udp(IPv4Address("192.0.2.30"), OURS, MARK, 9, bytes(FRAME))
    (held,) = arrived(bench, bench.end("free"), [frame] * count, bench.end("held"))
    return len(held) * len(frame)


@pytest.mark.parametrize(("card", "key"), [("free", "rate_out"), ("held", "rate_in")])
def test_a_rate_bounds_a_flood(card: str, key: str) -> None:
    """What passes at once is a second's worth and the burst (nft(8), limit); time adds little here."""
    assert LEAST_BURST <= flood(limited(card, key), 4000) <= (LEAST_BURST + SECOND) * 1.3


def test_a_rate_of_the_other_way_bounds_nothing() -> None:
    assert flood(limited("held", "rate_out"), 1500) == 1500 * (FRAME + 42)


def loaded(ruleset: str) -> str:
    """What nft and the kernel have against a ruleset; it is checked, and not put in force."""
    argv = ["unshare", "--map-root-user", "--net", "nft", "--check", "--file", "-"]
    ran = subprocess.run(argv, input=ruleset, capture_output=True, text=True, check=False)
    return ran.stderr


TRACKS = "table bridge t {\n chain c {\n type filter hook forward priority 0;\n ct state new\n }\n}\n"
# Guests' firewalls need NF_CONNTRACK_BRIDGE, which the image's kernel has; theirs are tried there as well.
FIREWALLS = loaded(TRACKS) == ""


@given(sites(firewalls=FIREWALLS))
@settings(max_examples=40, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow], deadline=None)
def test_every_sites_ruleset_is_accepted(site: Site) -> None:
    assert loaded(plan_network(site, api_port=443, first_card=None).ruleset) == ""


def test_a_ruleset_that_is_wrong_is_not() -> None:
    assert "syntax error" in loaded("table inet x { chain y { nonsense } }\n")
