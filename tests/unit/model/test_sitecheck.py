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
            "exactly one of serial and device, got neither",
        ),
        (
            site(network='[storage.b]\nserial = "b"\ndevice = "/dev/b"', web=ON_MAIN, db=ON_MAIN),
            WrongTypeError,
            "got both",
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


def test_nearest_names_are_offered() -> None:
    with pytest.raises(UnknownReferenceError) as caught:
        check(site(db='nics = [{ network = "insid" }]'))
    assert caught.value.next_step == "Did you mean 'inside'?"


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
        ("probe = { tcp = 22 }", WrongTypeError, "guest.db.probe: expected a guest with a network card"),
        ('probe = { http = "/" }', WrongTypeError, "guest.db.probe: expected a guest with a network card"),
        (CARD + "probe = { tcp = 22, port = 80 }", WrongTypeError, "expected port and expect only beside http"),
        (CARD + "probe = { tcp = 22, expect = 200 }", WrongTypeError, "expected port and expect only beside http"),
        (CARD + 'probe = { http = "health" }', WrongTypeError, "guest.db.probe.http: expected a path without spaces"),
        (CARD + 'probe = { http = "/ HTTP/1.1" }', WrongTypeError, "guest.db.probe.http: expected a path without"),
        ('probe = { serial = "" }', WrongTypeError, "guest.db.probe.serial: expected 1 to 100 characters"),
        ('probe = { serial = "(" }', WrongTypeError, "guest.db.probe.serial: expected a regular expression"),
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
