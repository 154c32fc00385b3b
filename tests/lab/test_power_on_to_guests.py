"""The whole way, for real: firmware, our image, KVM, guests that answer from outside; and again after a pulled plug.

The tests build on one another, as a server's life does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from flashvisor.api.rollout import wait_for_guests
from flashvisor.api.types import GuestState
from flashvisor.host.run import run
from flashvisor.lab.trial import READY_LIMIT, connect, run_site

if TYPE_CHECKING:
    from flashvisor.lab.server import Server
    from flashvisor.lab.trial import Materials
    from flashvisor.trust.keyring import Keyring

pytestmark = pytest.mark.lab

SITE = Path(__file__).parents[2] / "examples/site.toml"
GUEST_LIMIT = 900.0  # seconds: a whole Debian boots in a guest of an emulated server
GUESTS = ("debian", "hello")
HTTP_PORT, SSH_PORT = 8080, 2222  # forwards in examples/site.toml


def page(server: Server) -> str:
    """What the hello guest serves, fetched from this machine."""
    answer = httpx.get(f"http://127.0.0.1:{server.forwards[HTTP_PORT]}/", timeout=60)
    return answer.raise_for_status().text


def ssh(server: Server, key: Path, *command: str) -> str:
    """Runs a command in the Debian guest."""
    options = ["UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "BatchMode=yes", "ConnectTimeout=60"]
    argv = ["ssh", "-i", str(key), "-p", str(server.forwards[SSH_PORT])]
    argv += [word for option in options for word in ("-o", option)]
    return run([*argv, "admin@127.0.0.1", *command], timeout=300).stdout


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


def test_the_example_site_brings_both_guests_up(server: Server, owner: Keyring, files: Materials) -> None:
    names = run_site(server, owner, SITE)
    assert names == GUESTS
    with connect(server, owner) as client:
        wait_for_guests(client, names, GUEST_LIMIT)
        assert client.site().confirmed
        problems = client.node().problems
    assert problems == ()
    assert "Hello" in page(server)
    assert "Debian GNU/Linux 13" in ssh(server, files.ssh_key, "cat", "/etc/os-release")
    # The guest runs on the server's KVM, not on an emulator inside it.
    assert ssh(server, files.ssh_key, "systemd-detect-virt").strip() == "kvm"


def test_a_guest_is_stopped_and_started_alone(server: Server, owner: Keyring) -> None:
    with connect(server, owner) as client:
        assert client.stop_guest("hello", force=True).state is GuestState.STOPPED
        assert client.guest("debian").state is GuestState.RUNNING
        assert client.start_guest("hello").state is GuestState.RUNNING
        wait_for_guests(client, ["hello"], GUEST_LIMIT)
    assert "Hello" in page(server)


def test_after_a_pulled_plug_both_guests_come_back_by_themselves(
    server: Server, owner: Keyring, files: Materials
) -> None:
    marker = ssh(server, files.ssh_key, "echo kept > kept && sync && cat kept")
    assert marker == "kept\n"
    server.power_off()
    server.power_on()
    server.wait_for("stage=ready", READY_LIMIT)
    with connect(server, owner) as client:
        wait_for_guests(client, GUESTS, GUEST_LIMIT)
        assert client.site().confirmed
    assert "Hello" in page(server)
    assert ssh(server, files.ssh_key, "cat", "kept") == "kept\n"
