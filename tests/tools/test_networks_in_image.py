"""Networks with the image's own kernel, nft and networkd: bridges that come and go, bonds, VLANs, firewalls, DHCP.

One machine does all of it in one run; each test looks at its part of what was seen.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any

import pytest

from flashvisor.host.networkd import outdated
from flashvisor.model.names import bridge_mac, nic_mac, tap_name
from flashvisor.model.sitefile import check_site, parse_site
from flashvisor.model.wiring import bridge_of
from flashvisor.node.network import plan_network
from sim.frames import ACK, ARP, ICMP6, SYN, TCP, Address, Ether, Seen, read
from sim.netdrive import QUIET
from tools.networkvm import CARDS, run_machine

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.model.site import Site

pytestmark = pytest.mark.tools

CARD, SPARE, WORLD, WORLD2 = CARDS
MARK = 4242
RA_DELAY = 1.5  # seconds: MAX_RA_DELAY_TIME is 0.5 (RFC 4861, 10)
ROUTER, FAR, NEAR = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.9"), IPv4Address("192.0.2.130")
OURS = IPv4Address("192.0.2.10")
PLAIN = f'schema = 1\n[node]\nname = "alpha"\nuplink = {{ mac = "{CARD}" }}\n[image.i]\nfile = "i"\n'
GUEST = '[guest.{name}]\nimage = "i"\nmemory = "64MiB"\n'
BRIDGED = PLAIN + '[network.lan]\nkind = "bridge"\n'
FIREWALL = """
firewall = [
  { allow = "tcp", port = 22, from = "192.0.2.0/28" },
  { allow = "tcp", port = 80, from = ["192.0.2.0/28", "10.77.0.11"] },
]
"""
WALLED = (
    BRIDGED
    + '[network.inside]\nsubnet = "10.77.0.0/24"\nsubnet6 = "fd00:77::/64"\n'
    + GUEST.format(name="lan")
    + 'nics = [{ network = "lan" }]\n'
    + FIREWALL
    + GUEST.format(name="web")
    + 'nics = [{ network = "inside", address = "10.77.0.10" }]\n'
    + "forwards = [{ port = 8080, to = 80 }, { port = 8081, to = 81 }]\n"
    + FIREWALL
    + GUEST.format(name="db")
    + 'nics = [{ network = "inside", address = "10.77.0.11" }]\n'
)
TAGGED = (
    PLAIN.replace(f'mac = "{CARD}"', 'bond = "both", vlan = 7, address = "192.0.2.77/24", address6 = "none"')
    + f'[bond.both]\ncards = ["{CARD}", "{SPARE}"]\n'
    + '[network.lan]\nkind = "bridge"\n[network.dmz]\nkind = "bridge"\nvlan = 20\n'
    + GUEST.format(name="access")
    + 'nics = [{ network = "dmz" }]\n'
    + GUEST.format(name="trunk")
    + 'nics = [{ network = "lan", trunk = [30, 40] }]\nfirewall = [{ allow = "udp", port = "1000-1039" }]\n'
)
# The other end of the server's wire: a router with DHCP, which knows the server's card.
WORLD_UNITS = {
    "10-world.network": (
        f"[Match]\nMACAddress={WORLD}\n\n[Network]\nDHCPServer=yes\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n\n"
        # Both ends of the wire are one machine's: only the server's end has a route to it.
        f"[Address]\nAddress={ROUTER}/24\nAddPrefixRoute=no\n\n"
        "[DHCPServer]\nPoolOffset=100\nPoolSize=50\nPersistLeases=no\nEmitRouter=no\n"
        f"\n[DHCPServerStaticLease]\nMACAddress={CARD}\nAddress={OURS}\n"
    ),
    "10-world2.network": f"[Match]\nMACAddress={WORLD2}\n\n[Network]\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n",
}
WORLD_RULE = 'insert rule inet flashvisor input iifname "eth2" udp dport 67 accept\n'  # so that the world's DHCP hears


@dataclass
class Story:
    """Steps for the machine, and under which name each one's result is looked up."""

    work: Path
    steps: list[dict[str, Any]] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()

    def do(self, name: str, **step: Any) -> None:  # noqa: ANN401 - JSON
        self.names[name] = len(self.steps)
        self.steps.append(step)

    def apply(self, name: str, text: str) -> Site:
        """Brings the machine to a site as node/machine.py does, and stands in for libvirt."""
        site = parse_site(text)
        check_site(site)
        plan = plan_network(site, api_port=443, first_card=None)
        units = self.work / "units"
        units.mkdir(exist_ok=True)
        for path in units.iterdir():
            path.unlink()
        for unit, content in self.before.items():
            (units / unit).write_text(content)
        changed = [name for name in outdated(plan.units, units) if name in plan.devices]
        gone = sorted(name for name in self.devices if name not in plan.devices)  # facts.interfaces() is sorted
        self.before, self.devices = plan.units, plan.devices
        self.do(f"{name}: rules", rules=plan.ruleset + WORLD_RULE)
        self.do(name, units={**WORLD_UNITS, **plan.units, **_taps(site)}, delete=changed, after=gone)
        return site

    def send(self, name: str, on: str, frames: list[bytes], *watch: str, quiet: float = QUIET) -> None:
        self.do(name, probe={"on": on, "frames": [frame.hex() for frame in frames], "watch": watch, "quiet": quiet})


def _taps(site: Site) -> dict[str, str]:
    """What libvirt does for a guest's card, in networkd's words, with a wire instead of a guest."""
    units = {}
    for guest, wish in site.guest.items():
        for index, nic in enumerate(wish.nics):
            tap, network = tap_name(guest, index), site.network[nic.network]
            own = network.vlan or 1
            vlans = [f"[BridgeVLAN]\nVLAN={own}\nPVID={own}\nEgressUntagged={own}\n"]
            vlans += [f"[BridgeVLAN]\nVLAN={vlan}\n" for vlan in nic.trunk]
            tags = "\n".join(vlans) if network.subnet is None else ""
            units[f"20-{tap}.netdev"] = f"[NetDev]\nName={tap}\nKind=veth\n\n[Peer]\nName=g-{guest}\n"
            quiet = "LinkLocalAddressing=no\nIPv6AcceptRA=no\n"
            units[f"20-{tap}.network"] = (
                f"[Match]\nName={tap}\n\n[Network]\nBridge={bridge_of(site, nic.network)}\n{quiet}\n{tags}"
            )
            units[f"20-{tap}-peer.network"] = f"[Match]\nName=g-{guest}\n\n[Network]\n{quiet}"
    return units


def mac(site: Site, guest: str) -> str:
    return nic_mac(site.node.name, guest, 0, site.guest[guest].nics[0])


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the machine saw, by the names below."""
    work = tmp_path_factory.mktemp("machine")
    story = Story(work)
    bridge = f"uc-{CARD.replace(':', '')}"
    at_card, at_bridge = [["eth0", f"{OURS}/24"]], [[bridge, f"{OURS}/24"]]
    story.apply("plain", PLAIN)
    story.do("plain: address", wait=at_card)
    _walled(story, story.apply("walled", WALLED), at_bridge)
    story.do("walled: card", gone=["eth0"])
    _tagged(story, story.apply("tagged", TAGGED))
    story.do("tagged: bridge", gone=[bridge])
    story.apply("back", PLAIN)
    story.do("back: address", wait=at_card)
    story.do("back: devices", gone=["bo-both", "ub-both", "uv-7", bridge])
    results, log = run_machine(work, story.steps)
    failed = [result["failed"] for result in results if isinstance(result, dict) and "failed" in result]
    assert failed == [], log
    return {name: results[place] for name, place in story.names.items()} | {"networkd": log}


def _walled(story: Story, site: Site, at_bridge: list[list[str]]) -> None:
    """Guests with a firewall, on the server's network and behind NAT."""
    story.do("walled: address", wait=[*at_bridge, ["br-inside", "10.77.0.1/24"], ["br-inside", "fd00:77::1/64"]])
    lan, web, db = mac(site, "lan"), mac(site, "web"), mac(site, "db")
    gate = bridge_mac("alpha", "inside")
    world = Ether(WORLD, lan)
    asked = [world.tcp(FAR, NEAR, MARK, 22), world.tcp(FAR, NEAR, MARK, 23), world.udp(FAR, NEAR, MARK, 22)]
    far = IPv4Address("192.0.2.99")
    asked += [
        world.tcp(far, NEAR, MARK, 22),
        world.tcp(FAR, NEAR, MARK, 81, flags=ACK),
        world.arp(str(ROUTER), str(NEAR)),
    ]
    story.send("asked on the bridge", "eth2", asked, "g-lan")
    story.send("asks on the bridge", "g-lan", [Ether(lan, WORLD).tcp(NEAR, FAR, MARK, 5555)], "eth2")
    story.send("is answered on the bridge", "eth2", [world.tcp(FAR, NEAR, 5555, MARK, flags=SYN | ACK)], "g-lan")
    # The server knows a guest's MAC address from ARP: it asks, and the guest answers.
    for guest, address in (("web", "10.77.0.10"), ("db", "10.77.0.11")):
        frame = Ether(mac(site, guest), gate).arp(address, "10.77.0.1")
        story.send(f"{guest} is known", f"g-{guest}", [frame], f"g-{guest}")
    outside = Ether(WORLD, CARD)
    story.send("forwarded", "eth2", [outside.tcp(FAR, OURS, MARK, port) for port in (8080, 8081)], "g-web")
    other = outside.tcp(far, OURS, MARK + 1, 8080)
    story.send("forwarded from elsewhere", "eth2", [other], "g-web")
    hairpin = Ether(db, gate).tcp(IPv4Address("10.77.0.11"), OURS, MARK, 8080)
    story.send("by the server's own address", "g-db", [hairpin], "g-web")
    direct = Ether(db, web).tcp(IPv4Address("10.77.0.11"), IPv4Address("10.77.0.10"), MARK, 22)
    story.send("from its neighbour", "g-db", [direct], "g-web")
    story.do("called by the server", connect=["10.77.0.10", 81], watch="g-web")
    _dhcp(story, db)


def _dhcp(story: Story, db: str) -> None:
    head = (
        struct.pack(">BBBBIHH", 1, 1, 6, 0, 0x1234, 0, 0x8000)
        + bytes(16)
        + bytes.fromhex(db.replace(":", ""))
        + bytes(10)
    )
    options = bytes.fromhex("63825363") + bytes([53, 1, 1, 55, 4, 1, 3, 6, 15, 255])
    discover = Ether(db).udp(IPv4Address(0), IPv4Address("255.255.255.255"), 68, 67, head + bytes(192) + options)
    # With its own MAC address, or the server would have to ask for it first (RFC 4861, 4.1).
    option = bytes(4) + b"\1\1" + bytes.fromhex(db.replace(":", ""))
    ether = Ether(db, "33:33:00:00:00:02")
    solicit = ether.icmp6(IPv6Address("fe80::1"), IPv6Address("ff02::2"), 133, option)
    story.send("offered", "g-db", [discover], "g-db")
    story.send("advertised", "g-db", [solicit], "g-db", quiet=RA_DELAY)


def _tagged(story: Story, site: Site) -> None:
    """A bond with a tagged management network, an access port and a trunk."""
    story.do("tagged: address", wait=[["uv-7", "192.0.2.77/24"]])
    access, trunk = mac(site, "access"), mac(site, "trunk")
    for end in ("eth2", "eth3"):
        frames = [
            Ether(WORLD, "ff:ff:ff:ff:ff:ff", tag=tag).udp(FAR, IPv4Address("192.0.2.255"), MARK, 1000 + (tag or 0))
            for tag in (None, 20, 30, 50)
        ]
        frames += [Ether(WORLD, tag=tag).arp(str(FAR), "192.0.2.99") for tag in (30, 50)]
        frames.append(Ether(WORLD, tag=30).udp(FAR, IPv4Address("192.0.2.255"), MARK, 2000))
        story.send(f"tags from {end}", end, frames, "g-access", "g-trunk")
        who = Ether(WORLD, tag=7).arp(str(FAR), "192.0.2.77")
        untagged = Ether(WORLD).arp(str(FAR), "192.0.2.77")
        story.send(f"the server's tag at {end}", end, [who, untagged], end)
    out = Ether(access, WORLD)
    frames = [out.udp(FAR, ROUTER, MARK, 1), Ether(access, WORLD, tag=30).udp(FAR, ROUTER, MARK, 2)]
    story.send("tags from access", "g-access", frames, "eth2", "eth3")
    frames = [Ether(trunk, WORLD, tag=tag).udp(FAR, ROUTER, MARK, 1000 + (tag or 0)) for tag in (None, 30, 20)]
    story.send("tags from trunk", "g-trunk", frames, "eth2", "eth3")


def frames_at(seen: dict[str, Any], name: str, end: str) -> list[Seen]:
    return [read(bytes.fromhex(frame)) for frame in seen[name][end]]


def marked(seen: dict[str, Any], name: str, *ends: str) -> list[Seen]:
    found = [each for end in ends for each in frames_at(seen, name, end)]
    return [each for each in found if {each.sport, each.dport} & {MARK, MARK + 1}]


def ends(found: list[Seen]) -> list[tuple[Address | None, int]]:
    return [(each.src, each.dport) for each in found]


@pytest.mark.parametrize("name", ["plain", "walled", "tagged", "back"])
def test_the_images_kernel_takes_the_rules(seen: dict[str, Any], name: str) -> None:
    assert seen[f"{name}: rules"] == ""


def test_networkd_understands_every_key(seen: dict[str, Any]) -> None:
    complaints = [
        line for line in seen["networkd"].splitlines() if "Unknown" in line or "nvalid" in line or "gnoring" in line
    ]
    assert [line for line in complaints if "cgroup" not in line] == []


def test_the_server_keeps_its_address_when_a_bridge_comes_and_when_it_goes(seen: dict[str, Any]) -> None:
    assert seen["plain: address"]
    assert seen["walled: address"]
    assert seen["walled: card"] == [], "the card itself has no address now"
    assert seen["back: address"]


def test_what_a_site_no_longer_has_is_gone(seen: dict[str, Any]) -> None:
    assert seen["tagged: bridge"] == []
    assert seen["back: devices"] == []


def test_a_firewall_on_a_bridge_lets_in_what_it_says(seen: dict[str, Any]) -> None:
    assert ends(marked(seen, "asked on the bridge", "g-lan")) == [(FAR, 22)]
    assert any(each.kind == ARP for each in frames_at(seen, "asked on the bridge", "g-lan"))


def test_a_guest_behind_a_firewall_is_answered(seen: dict[str, Any]) -> None:
    assert ends(marked(seen, "asks on the bridge", "eth2")) == [(NEAR, 5555)]
    assert ends(marked(seen, "is answered on the bridge", "g-lan")) == [(FAR, MARK)]


def test_a_firewall_sees_a_forwards_first_sender_and_the_guests_own_port(seen: dict[str, Any]) -> None:
    assert ends(marked(seen, "forwarded", "g-web")) == [(FAR, 80)], "81 is forwarded, and not let in"
    assert marked(seen, "forwarded from elsewhere", "g-web") == []
    found = [each for each in frames_at(seen, "by the server's own address", "g-web") if each.protocol == TCP]
    assert [(str(each.src), each.dport) for each in found] == [("10.77.0.1", 80)], "let in as 10.77.0.11, which it is"


def test_a_firewall_stands_between_neighbours_too(seen: dict[str, Any]) -> None:
    assert marked(seen, "from its neighbour", "g-web") == []


def test_the_server_may_always_ask_its_guest(seen: dict[str, Any]) -> None:
    assert 81 in [each.dport for each in frames_at(seen, "called by the server", "g-web") if each.protocol == TCP]


def test_guests_are_offered_an_address_a_router_the_name_server_and_a_domain(seen: dict[str, Any]) -> None:
    offers = [bytes.fromhex(frame) for frame in seen["offered"]["g-db"] if b"\x63\x82\x53\x63" in bytes.fromhex(frame)]
    assert offers
    body = offers[0][42:]
    assert body[16:20] == IPv4Address("10.77.0.11").packed
    options = body[240:]
    gate = IPv4Address("10.77.0.1").packed
    assert bytes([6, 4]) + gate in options
    assert bytes([3, 4]) + gate in options
    assert b"\x0f\x0finside.internal" in options


def test_guests_are_told_of_their_ipv6_network(seen: dict[str, Any]) -> None:
    found = [bytes.fromhex(frame) for frame in seen["advertised"]["g-db"]]
    adverts = [frame for frame in found if read(frame).protocol == ICMP6 and frame[54] == 134]
    assert adverts
    assert IPv6Address("fd00:77::").packed in adverts[0]
    assert int.from_bytes(adverts[0][60:62]) > 0, "it is a router"


def test_each_tag_reaches_whom_it_is_for(seen: dict[str, Any]) -> None:
    names = ("tags from eth2", "tags from eth3")
    access = {(each.dport, each.tag) for name in names for each in marked(seen, name, "g-access")}
    trunk = {(each.dport, each.tag) for name in names for each in marked(seen, name, "g-trunk")}
    assert access == {(1020, None)}
    assert trunk == {(1000, None), (1030, 30)}, "no tag but its own: 20 is another guest's, 50 is nobody's"


def test_a_firewall_reads_tagged_frames_as_well(seen: dict[str, Any]) -> None:
    found = [each for end in ("eth2", "eth3") for each in frames_at(seen, f"tags from {end}", "g-trunk")]
    assert {each.tag for each in found if each.kind == ARP and each.src_mac == WORLD} == {30}
    assert 2000 not in {each.dport for each in found}


def test_what_guests_send_gets_their_tag_and_no_other(seen: dict[str, Any]) -> None:
    access = {(each.dport, each.tag) for each in marked(seen, "tags from access", "eth2", "eth3")}
    trunk = {(each.dport, each.tag) for each in marked(seen, "tags from trunk", "eth2", "eth3")}
    assert access == {(1, 20)}
    assert trunk == {(1000, None), (1030, 30)}


def test_the_server_answers_in_its_own_vlan_only(seen: dict[str, Any]) -> None:
    answers = [
        each.tag
        for end in ("eth2", "eth3")
        for each in frames_at(seen, f"the server's tag at {end}", end)
        if each.kind == ARP and each.src_mac == CARD
    ]
    assert answers == [7]
