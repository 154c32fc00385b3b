"""A lost flash and `burn --via`, over real HTTPS, with a flash image that real sgdisk and mtools made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.api.address import parse_address
from flashvisor.api.client import Client
from flashvisor.api.types import GuestState
from flashvisor.cli.main import run as run_cli
from flashvisor.errors import BadRequestError, DeviceError, FlashLostError, FlashWorksError, LayoutError
from flashvisor.flash.burn import make_flash_image
from flashvisor.flash.layout import DEVICE_SIZE, STATE
from flashvisor.flash.ring import Ring
from flashvisor.host import sgdisk
from flashvisor.host.block import BlockFile, DiskFacts
from flashvisor.host.files import bytes_on_disk
from flashvisor.model.record import Identity, RecordKind, encode
from flashvisor.node.fakemachine import FakeMachine
from flashvisor.node.settings import Settings
from flashvisor.node.state import NodeState
from sim.agentkit import agent, authority, make_ring, settings_of
from sim.nodekit import SITE, request, uki

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.node.agent import Agent
    from flashvisor.trust.keyring import Keyring

pytestmark = pytest.mark.tools
BETA = Identity(node_name="beta", owner_ca_pem="ca", node_cert_pem="cert", node_key_pem="beta's private key")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made for another server."""
    place = tmp_path_factory.mktemp("image")
    (place / "flashvisor.efi").write_bytes(b"an image that boots" * 1000)
    make_flash_image(place / "flashvisor.efi", place / "flash.img", [(RecordKind.IDENTITY, encode(BETA))])
    return place / "flash.img"


@pytest.fixture
def settings(tmp_path: Path, keyring: Keyring) -> Settings:
    make_ring(tmp_path / "ring.img", keyring, size=STATE.size)
    return settings_of(tmp_path / "ring.img", "--fake-disk", "data0")


@pytest.fixture
def stick(running: Agent, settings: Settings, tmp_path: Path) -> Path:
    """A new stick, put in. Once it is burned, its state partition is where the server's was."""
    path = tmp_path / "sdz"
    with path.open("wb") as file:
        file.truncate(DEVICE_SIZE)
    assert running.parts is not None
    machine = running.parts.machine
    assert isinstance(machine, FakeMachine)
    machine.plugged = [
        DiskFacts(path, "sdz", is_block=True, whole=True, size=DEVICE_SIZE, removable=True, serial="S1", model="Stick",
                  in_use=())
    ]  # fmt: skip

    def partition(disk: Path) -> None:
        with BlockFile(disk) as device:
            settings.state.write_bytes(device.read(STATE.start, STATE.size))

    machine.partition = partition
    return path


def bring_up(client: Client, tmp_path: Path) -> None:
    (tmp_path / "hello.efi").write_bytes(uki())
    client.plan(request())
    client.upload_image(tmp_path / "hello.efi")
    client.apply(request())
    client.confirm()


def lose(running: Agent, settings: Settings) -> None:
    settings.state.unlink()
    assert running.parts is not None
    running.parts.flash.look()


def test_a_new_stick_takes_the_place_of_a_lost_one(
    running: Agent, settings: Settings, client: Client, stick: Path, image: Path, *, tmp_path: Path, keyring: Keyring,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    bring_up(client, tmp_path)
    lose(running, settings)
    (problem,) = client.node().problems
    assert problem.startswith("FV-FLASH-020")
    with pytest.raises(FlashLostError):
        client.apply(request(SITE + "# another line\n"))
    assert client.site().confirmed
    monkeypatch.setenv("FLASHVISOR_KEYS", str(keyring.directory))
    assert run_cli(["burn", "--via", client.address.authority, str(image)]) == 0
    said = capsys.readouterr()
    assert "this server stays 'alpha'" in said.out
    assert "90 %" in said.err
    assert "No problems found" in sgdisk.verify_table(stick)
    assert b"beta's private key" not in stick.read_bytes()
    assert client.node().problems == ()
    assert client.apply(request(SITE + "# another line\n")).generation == 2
    client.confirm()
    with BlockFile(settings.state) as device:
        memory = NodeState(Ring.open(device))
        identity, site = memory.identity(), memory.confirmed()
    assert memory.lost == ()
    assert identity is not None
    assert identity.node_name == "alpha"
    assert site is not None
    assert site.generation == 2


def test_an_agent_that_starts_again_without_flash_serves_on(
    settings: Settings, tmp_path: Path, keyring: Keyring
) -> None:
    with agent(settings, tmp_path / "console") as first, Client(parse_address(authority(first)), keyring) as client:
        bring_up(client, tmp_path)
        lose(first, settings)
    with agent(settings, tmp_path / "console") as second, Client(parse_address(authority(second)), keyring) as client:
        assert client.site().generation == 1
        assert client.guest("hello").state is GuestState.RUNNING
        assert any("guests go on" in problem for problem in client.node().problems)


def test_media_tell_what_fits(client: Client, stick: Path) -> None:
    (medium,) = client.media()
    assert (medium.name, medium.serial, medium.refusal) == (stick.name, "S1", "")


def test_nos_arrive_as_errors(
    running: Agent, settings: Settings, client: Client, stick: Path, image: Path, tmp_path: Path
) -> None:
    with pytest.raises(FlashWorksError):
        client.burn(image, "sdz")
    lose(running, settings)
    with pytest.raises(DeviceError, match="no disk 'sdy'"):
        client.burn(image, "sdy")
    with pytest.raises(DeviceError, match="serial number 'S1'; expected 'S2'"):
        client.burn(image, "sdz", serial="S2")
    noise = tmp_path / "noise.img"
    with noise.open("wb") as file:
        file.truncate(DEVICE_SIZE)
    with pytest.raises(BadRequestError, match="no partition table"):
        client.burn(noise, "sdz")
    assert bytes_on_disk(stick) == 0


def test_what_fails_after_all_was_sent_arrives_as_an_error_too(
    running: Agent, settings: Settings, client: Client, stick: Path, image: Path, tmp_path: Path
) -> None:
    lose(running, settings)
    silent = tmp_path / "silent.img"
    data = image.read_bytes()
    silent.write_bytes(data[: STATE.start] + bytes(STATE.size) + data[STATE.end :])
    with pytest.raises(LayoutError, match="what its slots hold"):
        client.burn(silent, "sdz")
    with BlockFile(stick) as device:
        assert not any(device.read(0, 1 << 20)), "no table leads to what was written"
    assert client.burn(image, "sdz").in_use
