"""The way to a server changes while somebody is on it: under a bridge and back, and into a VLAN where nobody is.

The tests build on one another, as a server's life does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.api import rollout
from flashvisor.api.bundle import hash_images, read_site
from flashvisor.errors import NodeUnreachableError, NothingToConfirmError
from flashvisor.host.clock import ticks
from flashvisor.lab.rack import Rack
from flashvisor.lab.trial import READY_LIMIT, connect, power_on

from .conftest import BUILD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flashvisor.api.types import SiteReport
    from flashvisor.lab.server import Server
    from flashvisor.lab.trial import Materials
    from flashvisor.trust.keyring import Keyring

pytestmark = pytest.mark.lab

WITHIN = 30.0  # seconds for a confirmation
BACK = 180.0  # seconds until a server on its last networks must answer, on a busy machine
INTERVAL = 1.0  # seconds

SITE = """
schema = 1
[node]
name = "alpha"
[node.uplink]
mac = "MAC"
VLAN
[storage.main]
serial = "lab-data0"
[network.lan]
kind = "KIND"
[image.hello]
file = "HELLO"
[guest.hello]
image = "hello"
memory = "64MiB"
nics = [{ network = "lan" }]
"""


@pytest.fixture(scope="module")
def own(alone: None, files: Materials, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server without a site."""
    del alone
    rack = Rack(tmp_path_factory.mktemp("networks") / "rack")
    try:
        yield power_on(rack, "networks", files)
    finally:
        rack.down_all()


def uplink(server: Server, owner: Keyring) -> tuple[str, list[str]]:
    """MAC address and IPv4 addresses of the card that leads out, whatever is over it."""
    with connect(server, owner) as client:
        nics = client.node().nics
    found = [(nic.mac, [text for text in nic.addresses if ":" not in text]) for nic in nics]
    return next((mac, addresses) for mac, addresses in found if addresses)


def apply(server: Server, owner: Keyring, place: Path, **words: str) -> None:
    """Applies a site; the answer may be lost on a way that it changes."""
    text = SITE.replace("HELLO", str(BUILD / "appliances/hello.efi"))
    for word, value in {"VLAN": "", **words}.items():
        text = text.replace(word, value)
    site = place / "site.toml"
    site.write_text(text)
    bundle = hash_images(read_site(site), lambda _bytes: None)
    request = bundle.request(who="lab", confirm_within=WITHIN)
    with connect(server, owner) as client:
        plan = client.plan(request)
        for path, ref in bundle.uploads(plan.missing_images):
            client.upload_image(path, lambda _bytes: None, sha256=ref.sha256)
        try:
            rollout.apply(client, request)  # after a start, the server is busy with its guests
        except NodeUnreachableError:
            return


def reach(server: Server, owner: Keyring, generation: int) -> SiteReport:
    """Returns the site in force once the server answers, and it is this generation."""
    for _ in ticks(INTERVAL, BACK):
        try:
            with connect(server, owner) as client:
                report = client.site()
        except NodeUnreachableError:
            continue
        if report.generation == generation:
            return report
    pytest.fail(f"generation {generation} is not in force after {BACK:.0f} s")


BRIDGE = {"KIND": "bridge"}
INSIDE = {"KIND": 'nat"\nsubnet = "10.77.0.0/24'}


def test_a_bridge_takes_over_the_servers_address_and_the_server_answers_on(
    own: Server, owner: Keyring, tmp_path: Path
) -> None:
    mac, addresses = uplink(own, owner)
    apply(own, owner, tmp_path, MAC=mac, **BRIDGE)
    assert rollout.confirm(lambda: connect(own, owner), WITHIN).generation == 1
    assert uplink(own, owner) == (mac, addresses)
    with connect(own, owner) as client:
        assert client.node().problems == ()


def test_a_vlan_where_nobody_is_goes_back_by_itself(own: Server, owner: Keyring, tmp_path: Path) -> None:
    mac, addresses = uplink(own, owner)
    apply(own, owner, tmp_path, MAC=mac, VLAN="vlan = 4000", **BRIDGE)
    # Either nobody was reached, or the late answer to the apply came when all was undone.
    with pytest.raises((NodeUnreachableError, NothingToConfirmError)):
        rollout.confirm(lambda: connect(own, owner), WITHIN / 2)
    assert reach(own, owner, 1).confirmed
    assert uplink(own, owner) == (mac, addresses)


def test_a_reboot_meanwhile_comes_back_on_the_confirmed_networks(own: Server, owner: Keyring, tmp_path: Path) -> None:
    mac, addresses = uplink(own, owner)
    apply(own, owner, tmp_path, MAC=mac, VLAN="vlan = 4000", **BRIDGE)
    own.power_off()
    own.power_on()
    own.wait_for("stage=ready", READY_LIMIT)
    assert reach(own, owner, 1).confirmed
    assert uplink(own, owner) == (mac, addresses)


def test_the_bridge_goes_and_the_card_has_the_address_again(own: Server, owner: Keyring, tmp_path: Path) -> None:
    mac, addresses = uplink(own, owner)
    apply(own, owner, tmp_path, MAC=mac, **INSIDE)
    confirmed = rollout.confirm(lambda: connect(own, owner), WITHIN)
    assert confirmed.confirmed
    assert uplink(own, owner) == (mac, addresses)
