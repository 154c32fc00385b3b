"""Cross-checks: each rule refuses what breaks it, and nothing else."""

from __future__ import annotations

import pytest

from flashvisor.errors import (
    ConflictError,
    DuplicateMacError,
    SiteError,
    StartRingError,
    UnknownImageError,
    UnknownReferenceError,
    WrongTypeError,
)
from flashvisor.model.names import derive_mac
from flashvisor.model.sitefile import check_site, parse_site

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJGZVG4zsTrVkbVPTcUWhF0Cq4x0bVdJrGXg3n0mIcAj me@here"

ON_MAIN = 'storage = "main"'

SITE = """
schema = 1
[node]
name = "alpha"
UPLINK
[storage.main]
serial = "data0"
[network.inside]
subnet = "10.77.0.0/24"
NETWORK
[image.hello]
file = "hello.efi"
[guest.web]
image = "hello"
memory = "64MiB"
nics = [{ network = "inside", address = "10.77.0.10" }]
forwards = [{ port = 8080, to = 80 }]
WEB
[guest.db]
image = "hello"
memory = "64MiB"
DB
"""


def site(**parts: str) -> str:
    text = SITE
    for place in ("UPLINK", "NETWORK", "WEB", "DB"):
        text = text.replace(place, parts.get(place.lower(), ""))
    return text


def check(text: str) -> None:
    check_site(parse_site(text))


def test_a_right_site_passes() -> None:
    check(site(db=f'disk = "4GiB"\nnics = [{{ network = "inside" }}]\ncloud_init = {{ ssh_keys = ["{KEY}"] }}'))


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (site().replace('image = "hello"', 'image = "helo"', 1), UnknownImageError, "guest.web.image: no image"),
        (site(db='nics = [{ network = "insid" }]'), UnknownReferenceError, "guest.db.nics[0].network: no network"),
        (site(db='storage = "mian"'), UnknownReferenceError, 'guest.db.storage: no storage "mian"'),
        (
            site(db='disk = "1GiB"').replace('[storage.main]\nserial = "data0"', ""),
            UnknownReferenceError,
            "guest.db.storage: expected the name of a storage (none is declared)",
        ),
        (
            site(network='[storage.fast]\ndevice = "/dev/nvme1n1"', db=ON_MAIN),
            UnknownReferenceError,
            "guest.web.storage: expected the name of a storage (fast, main)",
        ),
        (
            site(db='nics = [{ network = "inside", address = "10.77.0.10" }]'),
            ConflictError,
            "guest.db.nics[0] and guest.web.nics[0] both want the address 10.77.0.10",
        ),
        (site(db='nics = [{ network = "inside", address = "10.78.0.10" }]'), ConflictError, "got 10.78.0.10"),
        (site(db='nics = [{ network = "inside", address = "10.77.0.0" }]'), ConflictError, "got 10.77.0.0"),
        (site(db='nics = [{ network = "inside", address = "10.77.0.255" }]'), ConflictError, "got 10.77.0.255"),
        (site(db='nics = [{ network = "inside", address = "10.77.0.1" }]'), ConflictError, "the server's own"),
        (site(db='nics = [{ network = "inside", address = "ten" }]'), WrongTypeError, 'IPv4 address, got "ten"'),
        (site(db="forwards = [{ port = 22, to = 22 }]"), UnknownReferenceError, "guest.db.forwards: expected a card"),
        (
            site(db='nics = [{ network = "inside" }]\nforwards = [{ port = 8080, to = 22 }]'),
            ConflictError,
            "guest.db.forwards[0] and guest.web.forwards[0] both want tcp port 8080",
        ),
        (
            site(db='nics = [{ network = "inside" }]\nforwards = [{ port = 443, to = 443 }]'),
            ConflictError,
            "guest.db.forwards[0] and the server's API both want tcp port 443",
        ),
        (site(network='[network.b]\nsubnet = "10.77.0.128/25"'), ConflictError, "overlaps with network.inside"),
        (site(network='[network.b]\nsubnet = "10.1.0.1/24"'), WrongTypeError, "has host bits set"),
        (site(network='[network.b]\nsubnet = "fd00::/64"'), WrongTypeError, "expected an IPv4 subnet"),
        (site(network='[network.b]\nsubnet = "10.1.0.0/31"'), WrongTypeError, "expected a subnet of /8 to /30"),
        (site(network='[network.b]\nsubnet = "0.0.0.0/0"'), WrongTypeError, "expected a subnet of /8 to /30"),
        (
            site(network="[storage.b]", web=ON_MAIN, db=ON_MAIN),
            WrongTypeError,
            "exactly one of serial, device, raid1 and nfs, got none",
        ),
        (
            site(network='[storage.b]\nserial = "b"\ndevice = "/dev/b"', web=ON_MAIN, db=ON_MAIN),
            WrongTypeError,
            "got serial and device",
        ),
        (
            site(network='[storage.b]\nserial = "b"\nnfs = "nas:/vm"', web=ON_MAIN, db=ON_MAIN),
            WrongTypeError,
            "got serial and nfs",
        ),
        (
            site(network='[storage.b]\nraid1 = ["a", "a"]', web=ON_MAIN, db=ON_MAIN),
            ConflictError,
            'storage.b and storage.b both want the disk "a"',
        ),
        (
            site(network='[storage.b]\nraid1 = ["a", "data0"]', web=ON_MAIN, db=ON_MAIN),
            ConflictError,
            'both want the disk "data0"',
        ),
        (
            site(network='[storage.b]\nraid1 = ["a", " "]', web=ON_MAIN, db=ON_MAIN),
            WrongTypeError,
            "storage.b.raid1: expected two serial numbers",
        ),
        (
            site(network='[storage.b]\nnfs = "nas.example"', web=ON_MAIN, db=ON_MAIN),
            WrongTypeError,
            "storage.b.nfs: expected HOST:/PATH",
        ),
        (
            site(network='[storage.b]\nnfs = "nas:/vm"\n[storage.c]\nnfs = "nas:/vm"', web=ON_MAIN, db=ON_MAIN),
            ConflictError,
            'both want the export "nas:/vm"',
        ),
        (
            site(network='[storage.b]\nserial = "data0"', web=ON_MAIN, db=ON_MAIN),
            ConflictError,
            'both want the disk "data0"',
        ),
        (
            site(network='[storage.b]\ndevice = "sdb"', web=ON_MAIN, db=ON_MAIN),
            WrongTypeError,
            "expected a path under /dev",
        ),
        (
            site(network='[storage.b]\nserial = " "', web=ON_MAIN, db=ON_MAIN),
            WrongTypeError,
            "expected a serial number",
        ),
        (site(uplink='uplink = { address = "1.2.3.4" }'), WrongTypeError, "expected a prefix length too"),
        (site(uplink='uplink = { address = "1.2.3.4/255.255.255.0" }'), WrongTypeError, 'too, as in "1.2.3.4/24"'),
        (site(uplink='uplink = { address = "auto" }'), WrongTypeError, 'expected "dhcp" or "ADDRESS/BITS"'),
        (site(uplink='uplink = { gateway = "1.2.3.4" }'), WrongTypeError, "expected only beside a fixed address"),
        (
            site(uplink='uplink = { address = "1.2.3.4/24", gateway = "1.2.4.1" }'),
            WrongTypeError,
            "expected another address inside 1.2.3.0/24, got 1.2.4.1",
        ),
        (site(uplink='uplink = { dns = ["dns.example"] }'), WrongTypeError, "node.uplink.dns[0]: expected an IPv4"),
        (
            site(uplink='uplink = { address = "10.77.1.1/16" }'),
            ConflictError,
            "overlaps with the uplink's 10.77.0.0/16",
        ),
        (site().replace("64MiB", "15MiB", 1), WrongTypeError, "guest.web.memory: expected at least 16MiB"),
        (site().replace("64MiB", "9999999TiB", 1), WrongTypeError, "below 1EiB"),
        (site(db='disk = "0B"'), WrongTypeError, "guest.db.disk: expected at least 1MiB"),
        (site(db='nics = [{ network = "inside", mac = "01:00:5e:00:00:01" }]'), WrongTypeError, "a group"),
        (site(db='cloud_init = { ssh_key_files = ["x"] }'), WrongTypeError, "expected to be replaced by ssh_keys"),
    ],
)
def test_each_rule_refuses_what_breaks_it(text: str, kind: type[SiteError], message: str) -> None:
    with pytest.raises(kind) as caught:
        check(text)
    assert type(caught.value) is kind
    assert message in caught.value.what
    assert "more" not in caught.value.what, caught.value.evidence


MAC, MAC2 = "52:54:00:00:00:01", "52:54:00:00:00:02"
BOND = f'[bond.lan]\ncards = ["{MAC}", "{MAC2}"]\n'
SIX = '[network.six]\nsubnet = "10.6.0.0/24"\nsubnet6 = "fd00:6::/64"\n'
LAN = '[network.lan]\nkind = "bridge"\n'
ON_MAC = f'uplink = {{ mac = "{MAC}" }}'
ON_SIX = 'nics = [{{ network = "six", address6 = "{}" }}]'
ON_LAN = 'nics = [{{ network = "lan", {} }}]'
WITH = 'nics = [{{ network = "inside" }}]\n{}'


def test_a_site_with_networks_of_every_kind_passes() -> None:
    check(
        site(
            uplink='uplink = { bond = "lan", vlan = 7, address6 = "2001:db8::5/64", gateway6 = "fe80::1" }',
            network=f'{BOND}{SIX}{LAN}vlan = 20\n[network.tagged]\nkind = "bridge"\nuplink = "52:54:00:00:00:03"\n',
            db='nics = [{ network = "lan", trunk = [30], rate_in = "1 Gbit/s" },'
            '{ network = "six", address6 = "fd00:6::5" }]'
            '\nforwards = [{ port = "9000-9010", from = "192.0.2.0/24" }, { port = 22 }]'
            '\nfirewall = [{ allow = "tcp", port = 22, from = ["2001:db8::/32"] }, { allow = "icmp" }]',
        )
    )


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (site(network='[network.b]\nkind = "nat"'), WrongTypeError, "network.b.subnet is missing"),
        (
            site(network='[network.b]\nkind = "nat"\nnat = true\nsubnet = "10.1.0.0/24"'),
            WrongTypeError,
            "network.b.nat: expected one of kind and nat, got both",
        ),
        (
            site(uplink=ON_MAC, network=f'{LAN}subnet = "10.1.0.0/24"'),
            WrongTypeError,
            "network.lan.subnet: expected only",
        ),
        (
            site(network='[network.b]\nsubnet = "10.1.0.0/24"\nvlan = 20'),
            WrongTypeError,
            "network.b.vlan: expected only",
        ),
        (site(network=LAN), UnknownReferenceError, "network.lan.uplink: expected a card or a bond"),
        (site(network=f'{LAN}uplink = "lam"'), UnknownReferenceError, 'network.lan.uplink: no bond "lam"'),
        (site(network=f'{LAN}uplink = "52:54:00"'), WrongTypeError, "network.lan.uplink: expected a MAC address"),
        (
            site(network=f'{BOND}{LAN}uplink = "{MAC2}"'),
            ConflictError,
            "the card 52:54:00:00:00:02 belongs to bond.lan",
        ),
        (
            site(network=SIX.replace("/64", "/48")),
            WrongTypeError,
            "network.six.subnet6: expected an IPv6 subnet of /64",
        ),
        (site(network=SIX.replace("fd00:6::", "fe80::")), WrongTypeError, "expected an IPv6 subnet of /64"),
        (site(network=SIX.replace("fd00:6::", "six")), WrongTypeError, 'got "six/64"'),
        (
            site(network=SIX + SIX.replace("six", "b").replace("10.6", "10.7")),
            ConflictError,
            "network.b.subnet6: fd00:6::/64 overlaps with network.six",
        ),
        (site(network='[network.b]\nsubnet = "10.1.0.0/24"\ndns = ["ns"]'), WrongTypeError, "network.b.dns[0]"),
        (site(network="[bond.b]\ncards = []"), WrongTypeError, "bond.b.cards: expected the MAC addresses"),
        (site(network=f'[bond.b]\ncards = ["{MAC}", "{MAC}"]'), DuplicateMacError, "both want the card"),
        (site(network='[bond.b]\ncards = ["01:00:5e:00:00:01"]'), WrongTypeError, "a group"),
        (site(uplink='uplink = { bond = "b" }'), UnknownReferenceError, 'node.uplink.bond: no bond "b"'),
        (
            site(uplink=f'uplink = {{ bond = "lan", mac = "{MAC}" }}', network=BOND.replace(MAC, "52:54:00:00:00:09")),
            WrongTypeError,
            "expected one of mac and bond",
        ),
        (site(uplink=ON_MAC, network=BOND), ConflictError, "node.uplink.mac: the card 52:54:00:00:00:01 belongs"),
        (site(uplink="uplink = { vlan = 7 }"), UnknownReferenceError, "node.uplink.vlan: expected a card"),
        (site(uplink='uplink = { address6 = "six" }'), WrongTypeError, 'expected "auto", "none" or'),
        (site(uplink='uplink = { address6 = "2001:db8::5" }'), WrongTypeError, "expected a prefix length too"),
        (site(uplink='uplink = { gateway6 = "fe80::1" }'), WrongTypeError, "expected only beside a fixed address6"),
        (
            site(uplink='uplink = { address6 = "2001:db8::5/64", gateway6 = "2001:db8:1::1" }'),
            WrongTypeError,
            "expected another address inside 2001:db8::/64",
        ),
        (
            site(uplink='uplink = { address6 = "2001:db8::5/64", gateway6 = "ten" }'),
            WrongTypeError,
            "node.uplink.gateway6: expected an IPv6 address",
        ),
        (
            site(uplink='uplink = { address6 = "fd00:6::9/48" }', network=SIX),
            ConflictError,
            "network.six.subnet6: fd00:6::/64 overlaps with the uplink's fd00:6::/48",
        ),
        (site(network=SIX, db=ON_SIX.format("fd00:7::5")), ConflictError, "expected an address in fd00:6::/64"),
        (site(network=SIX, db=ON_SIX.format("fd00:6::")), ConflictError, "expected an address in fd00:6::/64"),
        (site(network=SIX, db=ON_SIX.format("fd00:6::1")), ConflictError, "the server's own address"),
        (site(network=SIX, db=ON_SIX.format("six")), WrongTypeError, "expected an IPv6 address"),
        (
            site(db='nics = [{ network = "inside", address6 = "fd00::5" }]'),
            UnknownReferenceError,
            "expected a network with a subnet6",
        ),
        (site(db='nics = [{ network = "inside", trunk = [5] }]'), WrongTypeError, "trunk: expected only on networks"),
        (
            site(uplink=ON_MAC, network=f"{LAN}vlan = 20", db=ON_LAN.format("trunk = [20]")),
            ConflictError,
            "guest.db.nics[0].trunk[0] and network.lan both want VLAN 20",
        ),
        (site(uplink=ON_MAC, network=LAN, db=ON_LAN.format("trunk = [5, 5]")), ConflictError, "both want VLAN 5"),
        (site(uplink=ON_MAC, network=LAN, db=ON_LAN.format('address = "0.0.0.0"')), WrongTypeError, "of one card"),
        (site(uplink=ON_MAC, network=LAN, db=ON_LAN.format('address6 = "fe80::5"')), WrongTypeError, "beyond the link"),
        (
            site(uplink=ON_MAC, network=LAN, db=ON_LAN.format('rate_in = "1 kbit/s"')),
            WrongTypeError,
            "rate_in: expected",
        ),
        (
            site(uplink=ON_MAC, network=LAN, db=ON_LAN.format('rate_out = "41 Gbit/s"')),
            WrongTypeError,
            "rate_out: expected",
        ),
        (
            site(uplink=ON_MAC, network=LAN, db='nics = [{ network = "lan" }]\nforwards = [{ port = 22 }]'),
            UnknownReferenceError,
            "guest.db.forwards: expected a card",
        ),
        (site(db=WITH.format('forwards = [{ port = "8079-8081" }]')), ConflictError, "both want tcp port 8080"),
        (
            site(db=WITH.format('forwards = [{ port = "440-450" }]')),
            ConflictError,
            "the server's API both want tcp port 443",
        ),
        (
            site(db=WITH.format('forwards = [{ port = "20-10" }]')),
            WrongTypeError,
            "forwards[0].port: expected first and last",
        ),
        (site(db=WITH.format('forwards = [{ port = "1-9999" }]')), WrongTypeError, "at most 4096 ports"),
        (site(db=WITH.format('forwards = [{ port = "65530-65540" }]')), WrongTypeError, "up to 65535"),
        (
            site(db=WITH.format('forwards = [{ port = "20-21", to = 5 }]')),
            WrongTypeError,
            "forwards[0].to: expected only",
        ),
        (
            site(db=WITH.format('forwards = [{ port = 20, from = "ten" }]')),
            WrongTypeError,
            "forwards[0].from: expected an",
        ),
        (
            site(db=WITH.format('forwards = [{ port = 20, from = ["10.0.0.1/8"] }]')),
            WrongTypeError,
            "has host bits set",
        ),
        (
            site(db=WITH.format('firewall = [{ allow = "icmp", port = 5 }]')),
            WrongTypeError,
            "firewall[0].port: expected only",
        ),
        (
            site(db=WITH.format('firewall = [{ allow = "tcp", port = "9-5" }]')),
            WrongTypeError,
            "firewall[0].port: expected",
        ),
        (
            site(db=WITH.format('firewall = [{ allow = "tcp", from = "x" }]')),
            WrongTypeError,
            "firewall[0].from: expected",
        ),
    ],
)
def test_each_rule_of_networks_refuses_what_breaks_it(text: str, kind: type[SiteError], message: str) -> None:
    with pytest.raises(kind) as caught:
        check(text)
    assert type(caught.value) is kind
    assert message in caught.value.what
    assert "more" not in caught.value.what, caught.value.evidence


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (site(network="[network.b]\nkind = 'bridge'\nvlan = 1"), "network.b.vlan: expected a VLAN's number"),
        (
            site(db='nics = [{ network = "inside", rate_in = "fast" }]'),
            "nics[0].rate_in: expected a whole number and a unit",
        ),
        (site(db='forwards = [{ port = "a-b" }]'), "forwards[0].port: expected a port number, or first and last"),
        (site(db="forwards = [{ port = 5, from = [5] }]"), "forwards[0].from[0]: expected text in quotes"),
        (site(db="forwards = [{ to = 5 }]"), "forwards[0].port is missing"),
        (site(db="forwards = [{ port = 5, from_ = [] }]"), "forwards[0].from_ is not a key"),
    ],
)
def test_the_types_of_networks_are_told_in_words(text: str, message: str) -> None:
    with pytest.raises(SiteError) as caught:
        check(text)
    assert message in caught.value.what


def test_nearest_names_are_offered() -> None:
    with pytest.raises(UnknownReferenceError) as caught:
        check(site(db='nics = [{ network = "insid" }]'))
    assert caught.value.next_step == "Did you mean 'inside'?"


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("node.uplink.address6", site(uplink='uplink = { address6 = "2001:db8::5%lan/64" }')),
        ("node.uplink.gateway6", site(uplink='uplink = { address6 = "2001:db8::5/64", gateway6 = "fe80::1%lan" }')),
        ("node.uplink.dns[0]", site(uplink='uplink = { dns = ["fe80::1%a..b"] }')),
        ("network.six.subnet6", site(network=SIX.replace("::/64", "::%lan/64"))),
        ("guest.db.nics[0].address6", site(network=SIX, db=ON_SIX.format("fd00:6::5%lan accept ;"))),
        (
            "guest.db.nics[0].address6",
            site(uplink=ON_MAC, network=LAN, db=ON_LAN.format('address6 = "2001:db8::5%lan"')),
        ),
        ("guest.web.forwards[0].from", site().replace("to = 80", 'to = 80, from = "2001:db8::%lan }/128"')),
        ("guest.db.firewall[0].from", site(db='firewall = [{ allow = "all", from = ["fe80::%lan/64"] }]')),
    ],
)
def test_no_address_names_an_interface(place: str, text: str) -> None:
    """Python's ipaddress takes any text behind a "%", and it would stand in nft's rules and networkd's files."""
    with pytest.raises(WrongTypeError) as caught:
        check(text)
    assert f"{place}: expected" in caught.value.what
    assert "more" not in caught.value.what, caught.value.evidence


def test_tcp_and_udp_are_different_ports() -> None:
    check(
        site(
            db='nics = [{ network = "inside" }]\n'
            'forwards = [{ port = 8080, to = 53, protocol = "udp" }, { port = 443, to = 443, protocol = "udp" }]'
        )
    )


@pytest.mark.parametrize("card", ["db", "uplink"])
def test_a_given_mac_may_not_meet_a_derived_one(card: str) -> None:
    mac = derive_mac("alpha", "web", 0)
    parts = {"db": f'nics = [{{ network = "inside", mac = "{mac}" }}]', "uplink": f'uplink = {{ mac = "{mac}" }}'}
    with pytest.raises(DuplicateMacError, match=mac):
        check(site(**{card: parts[card]}))


@pytest.mark.parametrize(
    "key", ["-----BEGIN OPENSSH PRIVATE KEY-----", "ssh-rsa", "id_ed25519.pub", f"no-pty {KEY}", "ssh-dss AAAA"]
)
def test_only_public_keys_are_keys_and_others_are_not_shown(key: str) -> None:
    with pytest.raises(WrongTypeError) as caught:
        check(site(db=f'cloud_init = {{ ssh_keys = ["{key}"] }}'))
    assert "ssh_keys[0]: expected an OpenSSH public key" in caught.value.what
    assert key not in str(caught.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConflictError) as caught:
        check(site(network='[network.b]\nsubnet = "10.77.0.0/24"', db='storage = "x"\nnics = [{ network = "y" }]'))
    assert "(and 2 more)" in caught.value.what
    assert [line.split(":")[0] for line in caught.value.evidence.splitlines()] == ["FV-SITE-006", "FV-SITE-006"]


def test_a_network_may_be_too_small() -> None:
    cards = ", ".join(['{ network = "tiny" }'] * 2)
    text = site(network='[network.tiny]\nsubnet = "10.1.0.0/30"', db=f"nics = [{cards}]")
    with pytest.raises(ConflictError, match=r"network\.tiny: all 2 addresses"):
        check(text)


CARD = 'nics = [{ network = "inside" }]\n'


@pytest.mark.parametrize(
    ("lines", "kind", "message"),
    [
        ('autostart = { after = ["wbe"] }', UnknownReferenceError, 'guest.db.autostart.after: no guest "wbe"'),
        ('autostart = { after = ["db"] }', StartRingError, "guest.db.autostart: db waits for db"),
        ('autostart = { delay = "25h" }', WrongTypeError, 'guest.db.autostart.delay: expected 0 ms to 24 h, got "25h"'),
        ('restarts = { max = 3, within = "0s" }', WrongTypeError, "guest.db.restarts.within: expected 1 s to 24 h"),
        ("probe = {}", WrongTypeError, "expected one of tcp, http, serial and agent = true, got none of them"),
        ("probe = { agent = false }", WrongTypeError, "agent = true, got none of them"),
        ('probe = { serial = "a", agent = true }', WrongTypeError, "got serial and agent"),
        ("probe = { tcp = 22 }", WrongTypeError, "guest.db.probe: tcp and http expect a card in a network"),
        ('probe = { http = "/" }', WrongTypeError, "guest.db.probe: tcp and http expect a card in a network"),
        (CARD + "probe = { tcp = 22, port = 80 }", WrongTypeError, "expected port and expect only beside http"),
        (CARD + "probe = { tcp = 22, expect = 200 }", WrongTypeError, "expected port and expect only beside http"),
        (CARD + 'probe = { http = "health" }', WrongTypeError, "guest.db.probe.http: expected a path without spaces"),
        (CARD + 'probe = { http = "/ HTTP/1.1" }', WrongTypeError, "guest.db.probe.http: expected a path without"),
        ('probe = { serial = "" }', WrongTypeError, "guest.db.probe.serial: expected 1 to 100 characters"),
        ('probe = { serial = "(" }', WrongTypeError, "guest.db.probe.serial: expected a regular expression"),
        (
            f'probe = {{ serial = "{"(" * 5000}{")" * 5000}" }}',
            WrongTypeError,
            "guest.db.probe.serial: expected 1 to 100 characters",
        ),
        ('probe = { serial = "(a+)+b" }', WrongTypeError, "and one of * + ? {}"),
        ('probe = { serial = "(a|aa)+b" }', WrongTypeError, "and that not behind a group"),
        ('probe = { serial = "(a|aa){2,}b" }', WrongTypeError, "and that not behind a group"),
        ('probe = { serial = "a|b|c|d|e|f|g|h" }', WrongTypeError, "at most 6 of | and one"),
        ('probe = { serial = "[^]a+]+b+" }', WrongTypeError, "and one of * + ? {}"),
        ('probe = { serial = "[a]+]+" }', WrongTypeError, "and one of * + ? {}"),
        ('probe = { serial = "a?b?" }', WrongTypeError, "and one of * + ? {}"),
        (
            'probe = { agent = true, interval = "500ms" }',
            WrongTypeError,
            "guest.db.probe.interval: expected 1 s to 1 h",
        ),
        (
            'probe = { agent = true, timeout = "2m" }',
            WrongTypeError,
            "guest.db.probe.timeout: expected 100 ms to 1 min",
        ),
        ('probe = { agent = true, start_period = "0s" }', WrongTypeError, "start_period: expected 1 s to 24 h"),
    ],
)
def test_when_a_guest_runs(lines: str, kind: type[SiteError], message: str) -> None:
    with pytest.raises(kind) as caught:
        check(site(db=lines))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "lines",
    [
        'autostart = { order = 10, delay = "30s", after = ["web"], wait = "started" }',
        "autostart = {}",
        'on_crash = "keep"',
        'restarts = { max = 5, within = "10m" }',
        CARD + 'probe = { tcp = 22, interval = "1s", timeout = "100ms", failures = 1, on_fail = "restart" }',
        CARD + 'probe = { http = "/health?deep=1", port = 8080, expect = 204 }',
        r"probe = { serial = '(?:login|ready): ?\*\?[*+?{]' }",
        "probe = { agent = true }",
    ],
)
def test_when_a_guest_may_run(lines: str) -> None:
    check(site(db=lines))
