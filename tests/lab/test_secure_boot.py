"""Secure Boot with the owner's keys: the firmware starts what they signed, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flashvisor.api.types import FirmwareWrite
from flashvisor.cli.buildtools import open_cache
from flashvisor.errors import LockoutError
from flashvisor.host import clock
from flashvisor.host.virtfw import show
from flashvisor.image.flashfile import flash_image
from flashvisor.image.labqemu import lab_qemu
from flashvisor.lab.firmware import enrolled
from flashvisor.lab.machine import ServerSpec
from flashvisor.lab.rack import Rack
from flashvisor.lab.trial import connect
from flashvisor.trust.secureboot import enrolment, release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flashvisor.image.build import BuildResult
    from flashvisor.lab.server import Server
    from flashvisor.trust.keyring import Keyring
    from flashvisor.trust.secureboot import Payload

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("alone")]

FIRMWARE_LIMIT = 180.0  # seconds, under emulation, on a busy machine
READY_LIMIT = 300.0  # seconds
MEMORY = 2 << 30  # bytes
NEW = "new"  # the server whose firmware is in Setup Mode


@pytest.fixture
def power_on(owner: Keyring, tmp_path: Path) -> Iterator[Callable[[str, Path], Server]]:
    """Powers on a server whose firmware knows the owner's keys (not NEW's), with a flash that holds a given image."""
    rack = Rack(tmp_path / "rack")

    def up(name: str, efi: Path) -> Server:
        flash = flash_image(efi, tmp_path / f"{name}.img", owner, name)
        spec = ServerSpec(name=name, flash=flash, memory=MEMORY, qemu=lab_qemu(open_cache()))
        if name == NEW:
            return rack.up(spec)
        with enrolled(owner) as variables:
            return rack.up(replace(spec, firmware_vars=variables))

    yield up
    rack.down_all()


def test_an_unsigned_image_is_refused_and_the_firmware_goes_on(
    built_image: BuildResult, power_on: Callable[[str, Path], Server]
) -> None:
    server = power_on("unsigned", built_image.unsigned)
    refused = server.wait_for(r"failed to load Boot\w{4} .*Access Denied", FIRMWARE_LIMIT)
    entry = refused.split()[4]
    server.wait_for(rf"BdsDxe: (loading|failed to load) (?!{entry})Boot", FIRMWARE_LIMIT)
    assert b"stage=" not in server.serial_log.read_bytes()


def test_what_the_owner_signed_starts(
    built_image: BuildResult, power_on: Callable[[str, Path], Server], owner: Keyring
) -> None:
    server = power_on("signed", built_image.efi)
    server.wait_for("stage=ready", READY_LIMIT)
    with connect(server, owner) as client:
        protections = {one.name: one.on for one in client.node().protections}
    assert protections["Secure Boot"]
    assert b"Access Denied" not in server.serial_log.read_bytes()


def write_of(payload: Payload) -> FirmwareWrite:
    return FirmwareWrite(name=payload.name, guid=str(payload.guid), attributes=payload.attributes, data=payload.data)


def writes(keyring: Keyring) -> list[FirmwareWrite]:
    return [write_of(each) for each in enrolment(keyring, clock.now())]


def test_a_new_server_becomes_the_owners_and_nobodys_again(
    built_image: BuildResult, power_on: Callable[[str, Path], Server], owner: Keyring, stranger: Keyring
) -> None:
    server = power_on(NEW, built_image.efi)
    server.wait_for("stage=ready", READY_LIMIT)
    with connect(server, owner) as client:
        with pytest.raises(LockoutError):  # with a stranger's keys it would not start again
            client.enrol(writes(stranger))
        assert not client.enrol(writes(owner)).setup_mode
    position = server.position()
    server.reset()
    server.wait_for("stage=ready", READY_LIMIT, since=position)
    with connect(server, owner) as client:
        protections = {one.name: one.on for one in client.node().protections}
        assert protections["Secure Boot"]
        position = server.position()
        client.release(write_of(release(owner, clock.now())))
    server.wait_for("this server is unclaimed", READY_LIMIT, since=position)
    server.power_off()
    assert "PK" not in show(server.paths.firmware_vars)
