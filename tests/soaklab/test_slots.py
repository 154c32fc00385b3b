"""A server's slots on real firmware: what starts first, what starts next, and the ways back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.cli.buildtools import open_cache
from flashvisor.image.flashfile import flash_image
from flashvisor.image.labqemu import lab_qemu
from flashvisor.lab.machine import ServerSpec
from flashvisor.lab.rack import Rack
from flashvisor.lab.trial import READY_LIMIT, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flashvisor.api.flashtypes import SlotsReport
    from flashvisor.image.build import BuildResult
    from flashvisor.lab.server import Server
    from flashvisor.trust.keyring import Keyring

pytestmark = pytest.mark.lab

MEMORY = 2 << 30  # bytes


@pytest.fixture(scope="module")
def alone(built_image: BuildResult, owner: Keyring, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server as it was shipped, ready, without a site."""
    place = tmp_path_factory.mktemp("slots")
    rack = Rack(place / "rack")
    try:
        flash = flash_image(built_image.efi, place / "flash.img", owner, "alone")
        server = rack.up(ServerSpec(name="alone", flash=flash, memory=MEMORY, qemu=lab_qemu(open_cache())))
        server.wait_for("stage=ready", READY_LIMIT)
        yield server
    finally:
        rack.down_all()


def slots(server: Server, owner: Keyring) -> SlotsReport:
    with connect(server, owner) as client:
        return client.slots(verify=True)


def test_the_first_start_is_factorys_and_the_next_one_as(alone: Server, owner: Keyring) -> None:
    first = slots(alone, owner)
    assert (first.running, first.committed, first.recovery) == ("factory", "a", False)
    since = alone.position()
    with connect(alone, owner) as client:
        client.power("reboot")
    alone.wait_for("stage=ready", READY_LIMIT, since=since)
    second = slots(alone, owner)
    assert (second.running, second.committed, second.recovery) == ("a", "a", False)
    assert [row.intact for row in second.slots] == [True, None]


def test_after_a_pulled_plug_it_is_still_a(alone: Server, owner: Keyring) -> None:
    alone.power_off()
    alone.power_on()
    alone.wait_for("stage=ready", READY_LIMIT)
    assert slots(alone, owner).running == "a"


def test_with_a_flipped_bit_in_factory_it_is_still_a(alone: Server, owner: Keyring) -> None:
    alone.power_off()
    alone.resting_flash.corrupt("factory", 0)
    alone.power_on()
    alone.wait_for("stage=ready", READY_LIMIT)
    assert (slots(alone, owner).running, slots(alone, owner).committed) == ("a", "a")
    alone.power_off()
    alone.resting_flash.corrupt("factory", 0)


def test_a_server_whose_firmware_forgot_everything_finds_its_way_back(alone: Server, owner: Keyring) -> None:
    alone.power_off()
    alone.forget_firmware()
    alone.power_on()
    alone.wait_for("stage=ready", READY_LIMIT)
    assert slots(alone, owner).committed == "a"
