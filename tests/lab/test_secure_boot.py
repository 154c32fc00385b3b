"""Secure Boot with the owner's keys: the firmware starts what they signed, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.cli.buildtools import open_cache
from flashvisor.image.flashfile import flash_image
from flashvisor.image.labqemu import lab_qemu
from flashvisor.lab.firmware import enrolled
from flashvisor.lab.machine import ServerSpec
from flashvisor.lab.rack import Rack
from flashvisor.lab.trial import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flashvisor.image.build import BuildResult
    from flashvisor.lab.server import Server
    from flashvisor.trust.keyring import Keyring

pytestmark = pytest.mark.lab

FIRMWARE_LIMIT = 180.0  # seconds, under emulation, on a busy machine
READY_LIMIT = 300.0  # seconds
MEMORY = 2 << 30  # bytes


@pytest.fixture
def power_on(owner: Keyring, tmp_path: Path) -> Iterator[Callable[[str, Path], Server]]:
    """Powers on a server whose firmware knows the owner's keys, with a flash that holds a given image."""
    rack = Rack(tmp_path / "rack")

    def up(name: str, efi: Path) -> Server:
        flash = flash_image(efi, tmp_path / f"{name}.img", owner, name)
        with enrolled(owner) as variables:
            spec = ServerSpec(
                name=name, flash=flash, firmware_vars=variables, memory=MEMORY, qemu=lab_qemu(open_cache())
            )
            return rack.up(spec)

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
