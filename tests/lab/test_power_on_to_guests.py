"""The whole way, for real: firmware, our image, KVM, guests that answer from outside; and again after a pulled plug.

The tests build on one another, as a server's life does. The guests are two `hello`: a UEFI guest makes the lab's QEMU
abort now and then (docs/adr/0011), which is no verdict on the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from flashvisor.api.rollout import wait_for_guests
from flashvisor.api.types import GuestState
from flashvisor.lab.trial import READY_LIMIT, connect, run_site

from .conftest import BUILD

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.lab.server import Server
    from flashvisor.trust.keyring import Keyring

pytestmark = pytest.mark.lab

GUEST_LIMIT = 600.0  # seconds, on a busy machine
PORTS = {"one": 8080, "two": 8081}
GUEST = """
[guest.{name}]
image = "hello"
memory = "64MiB"
nics = [{{ network = "inside" }}]
forwards = [{{ port = {port}, to = 80 }}]
"""
SITE = """
schema = 1
[node]
name = "alpha"
[storage.main]
serial = "lab-data0"
[network.inside]
subnet = "10.77.0.0/24"
[image.hello]
file = "{image}"
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two guests on one network."""
    text = SITE.format(image=BUILD / "appliances/hello.efi")
    text += "".join(GUEST.format(name=name, port=port) for name, port in PORTS.items())
    path = tmp_path_factory.mktemp("site") / "site.toml"
    path.write_text(text)
    return path


def page(server: Server, guest: str) -> str:
    """What a guest serves, fetched from this machine."""
    answer = httpx.get(f"http://127.0.0.1:{server.forwards[PORTS[guest]]}/", timeout=60)
    return answer.raise_for_status().text


def test_a_server_that_is_powered_on_is_a_hypervisor(server: Server, owner: Keyring) -> None:
    with connect(server, owner) as client:
        report = client.node()
    assert report.problems == ()
    assert report.hypervisor.startswith("QEMU 10.")
    assert [stage.name for stage in report.timeline][-1] == "ready"
    protections = {protection.name: protection.on for protection in report.protections}
    assert protections["kernel lockdown"]
    assert protections["signed modules"]
    assert protections["read-only root"]


def test_a_site_brings_its_guests_up(server: Server, owner: Keyring, site: Path) -> None:
    names = run_site(server, owner, site)
    assert names == ("one", "two")
    with connect(server, owner) as client:
        wait_for_guests(client, names, GUEST_LIMIT)
        assert client.site().confirmed
        assert client.node().problems == ()
    assert "Hello" in page(server, "one")
    assert "Hello" in page(server, "two")


def test_a_guest_is_stopped_and_started_alone(server: Server, owner: Keyring) -> None:
    with connect(server, owner) as client:
        assert client.stop_guest("one", force=True).state is GuestState.STOPPED
        assert client.guest("two").state is GuestState.RUNNING
        assert "Hello" in page(server, "two")
        assert client.start_guest("one").state is GuestState.RUNNING
        wait_for_guests(client, ["one"], GUEST_LIMIT)
    assert "Hello" in page(server, "one")


def test_after_a_pulled_plug_the_guests_come_back_by_themselves(server: Server, owner: Keyring) -> None:
    server.power_off()
    server.power_on()
    server.wait_for("stage=ready", READY_LIMIT)
    with connect(server, owner) as client:
        wait_for_guests(client, PORTS, GUEST_LIMIT)
        assert client.site().confirmed
        assert client.node().problems == ()
    assert "Hello" in page(server, "one")
    assert "Hello" in page(server, "two")
