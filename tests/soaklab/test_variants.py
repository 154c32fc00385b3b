"""The images that go wrong do so in the way that their names say: what update tests stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.cli.buildtools import open_cache
from flashvisor.errors import NodeUnreachableError
from flashvisor.image.flashfile import flash_image
from flashvisor.image.labqemu import lab_qemu
from flashvisor.lab.machine import ServerSpec
from flashvisor.lab.rack import Rack
from flashvisor.lab.trial import READY_LIMIT, connect
from flashvisor.lab.writelog import flushes, replay
from lab.variants import HANGS, Variants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flashvisor.image.build import BuildResult
    from flashvisor.lab.server import Server
    from flashvisor.trust.keyring import Keyring

pytestmark = pytest.mark.lab

FIRMWARE = r"BdsDxe: starting Boot"
FIRMWARE_LIMIT = 180.0  # seconds, under emulation, on a busy machine
MEMORY = 2 << 30  # bytes


@pytest.fixture
def variants(owner: Keyring, built_image: BuildResult) -> Variants:
    return Variants(open_cache(), owner, built_image.unsigned)


@pytest.fixture
def power_on(owner: Keyring, tmp_path: Path) -> Iterator[Callable[[Path], Server]]:
    """Powers on a server whose flash holds a given image, with a write log."""
    rack = Rack(tmp_path / "rack")

    def up(efi: Path) -> Server:
        flash = flash_image(efi, tmp_path / "flash.img", owner, "alpha")
        return rack.up(
            ServerSpec(name="alpha", flash=flash, memory=MEMORY, qemu=lab_qemu(open_cache()), write_log=True)
        )

    yield up
    rack.down_all()


def test_one_that_panics_is_reset_by_its_kernel(variants: Variants, power_on: Callable[[Path], Server]) -> None:
    server = power_on(variants.panics())
    server.wait_for("Kernel panic - not syncing", FIRMWARE_LIMIT)
    server.wait_for(FIRMWARE, FIRMWARE_LIMIT, since=server.position())
    assert b"stage=" not in server.serial_log.read_bytes()


def test_one_that_hangs_is_reset_by_the_watchdog(variants: Variants, power_on: Callable[[Path], Server]) -> None:
    server = power_on(variants.hangs())
    server.wait_for(HANGS, FIRMWARE_LIMIT)
    server.wait_for(FIRMWARE, FIRMWARE_LIMIT, since=server.position())
    assert b"stage=" not in server.serial_log.read_bytes()


def test_another_version_is_as_good_and_its_write_log_is_complete(
    variants: Variants, power_on: Callable[[Path], Server], owner: Keyring
) -> None:
    server = power_on(variants.another())
    server.wait_for("stage=ready", READY_LIMIT)
    with connect(server, owner) as client:
        assert client.node().problems == ()
    base = server.spec.flash.read_bytes()
    server.power_off()
    entries = server.resting_flash.writes()
    assert flushes(entries), "what the agent wrote was never flushed"
    assert replay(entries, base, len(entries)) == server.paths.flash.read_bytes()


def test_a_silent_one_is_reached_by_nobody(
    variants: Variants, power_on: Callable[[Path], Server], owner: Keyring
) -> None:
    server = power_on(variants.silent())
    server.wait_for("stage=api", READY_LIMIT)
    with pytest.raises(NodeUnreachableError), connect(server, owner) as client:
        client.node()
