"""The whole agent behind real HTTPS on loopback: real TLS, real ring file, fake hypervisor and disks."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import httpx
import pytest
from msgspec import structs

from flashvisor.api.address import parse_address
from flashvisor.api.client import Client, tls_context
from flashvisor.api.types import FirmwareWrite, GuestState, ImageKind
from flashvisor.errors import (
    BadRequestError,
    DigestMismatchError,
    GuestStateError,
    NoDataDiskError,
    NotAnImageError,
    NothingToConfirmError,
    NoTpmError,
    UnknownGenerationError,
    UnknownGuestError,
    UnknownKeyError,
)
from flashvisor.flash.ring import Ring
from flashvisor.host import powerbutton
from flashvisor.host.block import BlockFile
from flashvisor.host.clock import now, ticks
from flashvisor.host.systemd import Power
from flashvisor.host.tpm import Quote
from flashvisor.model.record import RecordKind
from flashvisor.node.agent import Agent
from flashvisor.node.fakemachine import FakeMachine
from flashvisor.node.reconcile import Reconciler
from flashvisor.node.settings import Settings
from flashvisor.node.slotkeeper import SETTLED
from flashvisor.trust import quote
from flashvisor.trust.certificates import SERVER_ALIAS
from flashvisor.trust.secureboot import release
from sim.agentkit import agent, authority, make_ring, settings_of
from sim.nodekit import SITE, request, sha256, uki
from sim.tpmsim import TpmSim

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.trust.keyring import Keyring

pytestmark = pytest.mark.tools
LIMIT = 20.0  # seconds; a test that needs them has failed


@pytest.fixture
def settings(tmp_path: Path, keyring: Keyring) -> Settings:
    make_ring(tmp_path / "ring.img", keyring)
    return settings_of(tmp_path / "ring.img", "--fake-disk", "data0")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "hello.efi"
    path.write_bytes(uki())
    return path


def bring_up(client: Client, image: Path, text: str = SITE) -> None:
    client.plan(request(text))
    client.upload_image(image)
    client.apply(request(text))
    client.confirm()


def test_a_client_without_a_certificate_gets_nothing(running: Agent, keyring: Keyring) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=keyring.ca_pem.decode())
    with httpx.Client(verify=context, trust_env=False) as http, pytest.raises(httpx.TransportError):
        http.get(f"https://{authority(running)}/v1/node", extensions={"sni_hostname": SERVER_ALIAS})


def test_a_stranger_is_refused(running: Agent, keyring: Keyring, stranger: Keyring) -> None:
    context = tls_context(keyring)
    with stranger.unlocked("admin") as files:
        context.load_cert_chain(files.cert, files.key)
    with httpx.Client(verify=context, trust_env=False) as http, pytest.raises(httpx.TransportError):
        http.get(f"https://{authority(running)}/v1/node", extensions={"sni_hostname": SERVER_ALIAS})


def test_plain_http_is_not_answered(running: Agent) -> None:
    with httpx.Client(trust_env=False) as http, pytest.raises(httpx.TransportError):
        http.get(f"http://{authority(running)}/v1/node")


def test_the_stages_stand_on_the_console_in_their_order(running: Agent, tmp_path: Path) -> None:
    lines = (tmp_path / "console").read_text().splitlines()
    names = [line.split("stage=")[1].split()[0] for line in lines if line.startswith("flashvisor: stage=")]
    assert names[-1] == "ready"
    assert {"agent", "state", "network", "storage", "libvirt", "api"} <= set(names)
    assert all(line.split(" t=")[1].count(".") == 1 for line in lines if "stage=" in line)


def test_from_an_empty_server_to_a_running_guest(client: Client, image: Path) -> None:
    plan = client.plan(request())
    assert [action.verb for action in plan.actions] == ["configure", "format", "mount", "start"]
    assert plan.missing_images == (sha256(uki()),)
    report = client.upload_image(image)
    assert (report.kind, report.size) == (ImageKind.APPLIANCE, len(uki()))
    applied = client.apply(request(confirm_within=30.0))
    assert (applied.generation, applied.confirm_within) == (1, 30.0)
    assert client.node().unconfirmed
    assert client.confirm().confirmed
    (guest,) = client.guests()
    assert (guest.name, guest.state, guest.addresses) == ("hello", GuestState.RUNNING, ("10.77.0.10",))
    assert guest.forwards == ("tcp/8080 -> 10.77.0.10:80",)
    assert guest.answered is not None
    assert client.images()[0].used_by == ("hello",)
    node = client.node()
    assert (node.name, node.site_generation, node.unconfirmed, node.problems) == ("alpha", 1, False, ())
    assert [disk.use for disk in node.disks] == ["storage main"]
    assert "guest-hello-answered" in [stage.name for stage in node.timeline]
    assert client.plan(request()).actions == ()


def test_without_confirmation_the_server_goes_back_by_itself(client: Client, image: Path) -> None:
    client.plan(request())
    client.upload_image(image)
    client.apply(request(confirm_within=1.0))
    assert len(client.guests()) == 1
    for _ in ticks(0.1, LIMIT):
        if client.site().generation == 0:
            break
    assert client.guests() == ()
    with pytest.raises(NothingToConfirmError):
        client.confirm()


def test_stop_and_start_by_hand(client: Client, image: Path) -> None:
    bring_up(client, image)
    client.stop_guest("hello", force=True)
    for _ in ticks(0.05, LIMIT):
        if client.guest("hello").started is None:
            break
    assert client.guest("hello").state is GuestState.STOPPED
    with pytest.raises(GuestStateError):
        client.stop_guest("hello")
    assert client.start_guest("hello").state is GuestState.RUNNING
    with pytest.raises(GuestStateError):
        client.start_guest("hello")
    with pytest.raises(UnknownGuestError):
        client.start_guest("nobody")


def test_a_damaged_upload_is_not_kept(client: Client, image: Path, tmp_path: Path) -> None:
    client.plan(request())
    with pytest.raises(DigestMismatchError):
        client.upload_image(image, sha256="0" * 64)
    text = tmp_path / "text"
    text.write_text("no image")
    with pytest.raises(NotAnImageError):
        client.upload_image(text)
    assert client.images() == ()


def test_a_large_upload_arrives_whole(client: Client, tmp_path: Path) -> None:
    data = uki(hashlib.shake_256(b"kernel").digest(5 << 20))
    (tmp_path / "large.efi").write_bytes(data)
    assert client.upload_image(tmp_path / "large.efi").size == len(data)
    assert [report.sha256 for report in client.images()] == [sha256(data)]


def test_errors_arrive_as_what_they_are(client: Client) -> None:
    with pytest.raises(NoDataDiskError, match="data9") as caught:
        client.plan(request(SITE.replace("data0", "data9")))
    assert "serial data0" in caught.value.evidence
    assert caught.value.next_step
    with pytest.raises(UnknownKeyError):
        client.plan(request().__class__(site_toml=SITE + "nonsense = 1\n"))
    with pytest.raises(BadRequestError):
        client.power("explode")


def test_a_body_that_is_not_json_is_a_bad_request(running: Agent, keyring: Keyring) -> None:
    url = f"https://{authority(running)}/v1/apply"
    with httpx.Client(verify=tls_context(keyring), trust_env=False) as http:
        answer = http.post(url, content=b"{", extensions={"sni_hostname": SERVER_ALIAS})
        assert (answer.status_code, answer.json()["code"]) == (400, "FV-NODE-010")
        answer = http.post(url, content=b" " * (1 << 21), extensions={"sni_hostname": SERVER_ALIAS})
        assert (answer.status_code, answer.json()["code"]) == (400, "FV-NODE-010")


def test_a_guests_console_goes_both_ways(client: Client, image: Path, settings: Settings) -> None:
    path = settings.consoles / "hello.sock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(LIMIT)
        bring_up(client, image)
        channel, _ = listener.accept()
        channel.settimeout(LIMIT)
        with channel:
            channel.sendall(b"welcome\r\nlogin: ")
            with client.console("hello") as console:
                heard = b""
                while not heard.endswith(b"login: "):
                    heard += console.receive()
                assert heard == b"welcome\r\nlogin: "
                console.send(b"root\r")
                assert channel.recv(100) == b"root\r"
                channel.close()
                assert console.receive() == b""


def test_a_console_that_is_not_there_is_refused_in_words(client: Client, image: Path) -> None:
    with pytest.raises(UnknownGuestError), client.console("nobody"):
        pass
    bring_up(client, image)
    with pytest.raises(GuestStateError), client.console("hello"):
        pass


def test_power_stops_guests_first(client: Client, image: Path, running: Agent) -> None:
    bring_up(client, image)
    client.power("poweroff")
    assert running.parts is not None
    machine = running.parts.machine
    for _ in ticks(0.05, LIMIT):
        if machine.powered:  # type: ignore[attr-defined]
            break
    assert machine.powered == ["poweroff"]  # type: ignore[attr-defined]
    assert client.guest("hello").state is GuestState.STOPPED


def test_a_restarted_agent_serves_the_confirmed_site(
    settings: Settings, tmp_path: Path, keyring: Keyring, image: Path
) -> None:
    with agent(settings, tmp_path / "console") as first, Client(parse_address(authority(first)), keyring) as client:
        bring_up(client, image)
    with agent(settings, tmp_path / "console") as second, Client(parse_address(authority(second)), keyring) as client:
        assert (client.site().generation, client.site().confirmed) == (1, True)
        assert client.guest("hello").state is GuestState.RUNNING
    assert (tmp_path / "console").read_text().count("stage=ready") == 1


def test_an_unclaimed_server_says_so_and_serves_nothing(settings: Settings, tmp_path: Path) -> None:
    make_ring(settings.state, None)
    with agent(settings, tmp_path / "console") as unclaimed:
        assert unclaimed.api is None
        assert (settings.run / SETTLED).exists()  # else flashvisor-probation.timer would reset it, again and again
    said = (tmp_path / "console").read_text()
    assert "FV-NODE-012" in said
    assert "stage=ready" not in said


def test_who_cannot_read_whose_server_it_is_stays_on_probation(settings: Settings, tmp_path: Path) -> None:
    make_ring(settings.state, None)
    with BlockFile(settings.state, write=True) as device:
        Ring.open(device).append(RecordKind.IDENTITY, b'{"of": "another version"}', cause="burn")
    with agent(settings, tmp_path / "console") as puzzled:
        assert puzzled.api is None
        assert not (settings.run / SETTLED).exists()


def test_another_owners_certificate_on_the_server_is_not_trusted(
    settings: Settings, tmp_path: Path, keyring: Keyring, stranger: Keyring
) -> None:
    make_ring(settings.state, stranger)
    with agent(settings, tmp_path / "console") as foreign:
        client = Client(parse_address(authority(foreign)), stranger)
        with client:
            assert client.node().name == "alpha"
        context = tls_context(keyring)
        with httpx.Client(verify=context, trust_env=False) as http, pytest.raises(httpx.TransportError):
            http.get(f"https://{authority(foreign)}/v1/node", extensions={"sni_hostname": SERVER_ALIAS})


def test_a_press_of_the_power_button_stops_guests_and_then_the_server(
    running: Agent, client: Client, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_up(client, image)
    device = tmp_path / "event0"
    os.mkfifo(device)
    monkeypatch.setattr(powerbutton, "devices", lambda: (device,))
    with device.open("r+b", buffering=0) as button:
        button.write(powerbutton.EVENT.pack(0, 0, powerbutton.EV_KEY, powerbutton.KEY_POWER, powerbutton.PRESSED))
        listener = threading.Thread(target=running._obey_button)
        listener.start()
        assert running.parts is not None
        machine = running.parts.machine
        assert isinstance(machine, FakeMachine)
        for _ in ticks(0.05, LIMIT):
            if machine.powered:
                break
        assert machine.powered == [Power.POWEROFF]
        assert client.guest("hello").state is GuestState.STOPPED
    listener.join(LIMIT)
    assert "flashvisor: all guests are stopped" in (tmp_path / "console").read_text()


def test_the_agent_reports_to_systemd_also_while_a_site_is_being_taken_back(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, ticks_begun = threading.Event(), []

    def slow(_reconciler: Reconciler) -> None:
        ticks_begun.append(1)
        ended.wait(LIMIT)

    monkeypatch.setattr(Reconciler, "due", property(lambda _: None if ended.is_set() else 0.0))
    monkeypatch.setattr(Reconciler, "tick", slow)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(LIMIT)
        with agent(settings, tmp_path / "console"):
            assert [manager.recv(100) for _ in range(5)] == [b"READY=1", *[b"WATCHDOG=1"] * 4]
            assert ticks_begun == [1]
            ended.set()


def test_flash_boots_and_history_are_told(client: Client, image: Path) -> None:
    bring_up(client, image)
    flash = client.node().flash
    # Written by the time that the agent attends. Burnt: the identity. Each record takes a page.
    assert flash.by_cause == {"burn": 4096, "boot": 4096, "wear ledger": 4096, "apply": 4096, "confirm": 4096}
    assert (flash.written, flash.booked_since_boot, flash.counted_since_boot) == (5 * 4096, 4 * 4096, None)
    (boot,) = client.boots()
    assert boot.ready
    assert boot.slot == "a"
    (generation,) = client.site_history()
    assert (generation.generation, generation.who, generation.confirmed) == (1, "anna", True)
    assert client.site_generation(1) == client.site()
    with pytest.raises(UnknownGenerationError):
        client.site_generation(2)


def test_a_quote_comes_through_whole(running: Agent, client: Client) -> None:
    with pytest.raises(NoTpmError):
        client.attest(b"nonce", (0,))
    machine, sim = running.parts.machine if running.parts else None, TpmSim()
    assert isinstance(machine, FakeMachine)
    machine.tpm = sim.quote
    sim.extend(4, bytes(range(256)))
    report = client.attest(b"nonce", (0, 4))
    assert quote.check(Quote(**structs.asdict(report)), b"nonce", (0, 4))
    for nonce, pcrs in ((b"nonce", (4, 0)), (b"nonce", (4, 4)), (b"nonce", ()), (b"nonce", (24,)), (b"n" * 33, (0,))):
        with pytest.raises(BadRequestError):
            client.attest(nonce, pcrs)


def test_a_released_server_remembers_nothing(settings: Settings, tmp_path: Path, keyring: Keyring) -> None:
    payload = release(keyring, now())
    write = FirmwareWrite(name=payload.name, guid=str(payload.guid), attributes=payload.attributes, data=payload.data)
    with agent(settings, tmp_path / "console") as running:
        assert running.api
        with Client(parse_address(f"127.0.0.1:{running.api.port}"), keyring) as client:
            client.release(write)
        machine = running.parts.machine if running.parts else None
        assert isinstance(machine, FakeMachine)
        for _ in ticks(0.05, LIMIT):
            if machine.powered:
                break
        assert machine.powered == [Power.REBOOT]
    left = (tmp_path / "ring.img").read_bytes()
    with BlockFile(tmp_path / "ring.img") as device:
        ring = Ring.open(device)
    # How worn the device is stays true for its next owner; of the last one's records no byte is left.
    assert {record.kind for record, _ in ring.since(0)} == {RecordKind.WEAR}
    assert b"PRIVATE KEY" not in left
    assert not any(left[4096:])
    with agent(settings, tmp_path / "console") as running:
        assert running.api is None
    assert "this server is unclaimed" in (tmp_path / "console").read_text()
