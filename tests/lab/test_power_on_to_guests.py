"""The whole way, for real: firmware, our image, KVM, guests that answer from outside; and again after a pulled plug.

The tests build on one another, as a server's life does. The site is the one that `make try` applies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from flashvisor.api.rollout import wait_for_guests
from flashvisor.api.types import GuestState
from flashvisor.host.run import run
from flashvisor.lab.server import PowerState
from flashvisor.lab.trial import READY_LIMIT, connect, run_site

from .conftest import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.lab.server import Server
    from flashvisor.lab.trial import Materials
    from flashvisor.trust.keyring import Keyring

pytestmark = pytest.mark.lab

SITE = CHECKOUT / "examples/site.toml"
GUESTS = ("debian", "hello")
HTTP, SSH = 8080, 2222
GUEST_LIMIT = 900.0  # seconds, on a busy machine
OFF_LIMIT = 300.0  # seconds; guests get 30 to shut down, and are then ended
NOTE = "was here"


class Login:
    """The Debian guest, as its administrator reaches it: from outside, with the key of the site file."""

    def __init__(self, key: Path, known_hosts: Path) -> None:
        self._options = ("-i", str(key), "-o", f"UserKnownHostsFile={known_hosts}", "-o", "BatchMode=yes",
                         "-o", "StrictHostKeyChecking=accept-new", "-o", "ConnectTimeout=60")  # fmt: skip

    def run(self, server: Server, command: str) -> str:
        """Runs a command in the guest. A host key that has changed since the last time is an error."""
        port = str(server.forwards[SSH])
        return run(["ssh", *self._options, "-p", port, "admin@127.0.0.1", command]).stdout.strip()


@pytest.fixture(scope="module")
def login(files: Materials, tmp_path_factory: pytest.TempPathFactory) -> Login:
    return Login(files.ssh_key, tmp_path_factory.mktemp("ssh") / "known_hosts")


def page(server: Server) -> str:
    """What `hello` serves, fetched from this machine."""
    answer = httpx.get(f"http://127.0.0.1:{server.forwards[HTTP]}/", timeout=60)
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
    assert protections["hardware watchdog"]


def test_a_site_brings_its_guests_up(server: Server, owner: Keyring, login: Login) -> None:
    assert run_site(server, owner, SITE) == GUESTS
    with connect(server, owner) as client:
        wait_for_guests(client, GUESTS, GUEST_LIMIT)
        assert client.site().confirmed
        assert client.node().problems == ()
    assert "Hello" in page(server)
    # A wrong key or user would end this with another status than 0.
    assert login.run(server, "systemd-detect-virt") == "kvm"
    login.run(server, f"echo {NOTE} > note && sync")


def test_a_guest_is_stopped_and_started_alone(server: Server, owner: Keyring, login: Login) -> None:
    booted = login.run(server, "cat /proc/sys/kernel/random/boot_id")
    with connect(server, owner) as client:
        assert client.stop_guest("hello", force=True).state is GuestState.STOPPED
        assert client.guest("debian").state is GuestState.RUNNING
        assert login.run(server, "cat /proc/sys/kernel/random/boot_id") == booted
        assert client.start_guest("hello").state is GuestState.RUNNING
        wait_for_guests(client, ["hello"], GUEST_LIMIT)
    assert "Hello" in page(server)


def test_after_a_pulled_plug_both_guests_come_back_by_themselves(server: Server, owner: Keyring, login: Login) -> None:
    server.power_off()
    server.power_on()
    server.wait_for("stage=ready", READY_LIMIT)
    with connect(server, owner) as client:
        wait_for_guests(client, GUESTS, GUEST_LIMIT)
        assert client.site().confirmed
        assert client.node().problems == ()
    assert "Hello" in page(server)
    assert login.run(server, "cat note") == NOTE


def test_the_power_button_stops_the_guests_and_then_the_server(server: Server) -> None:
    since = server.position()
    server.press_power_button()
    server.wait_for("all guests are stopped", OFF_LIMIT, since=since)
    server.wait_off(OFF_LIMIT)
    assert server.power is PowerState.ENDED
    # For the tests of other files: the server is left as it was found.
    server.power_on()
    server.wait_for("stage=ready", READY_LIMIT)
