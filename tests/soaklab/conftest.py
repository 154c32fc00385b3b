"""Servers, releases and variants for the long runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flashvisor.cli.buildtools import open_cache, open_keyring
from flashvisor.image.flashfile import flash_image
from flashvisor.image.labqemu import lab_qemu
from flashvisor.lab.firmware import enrolled
from flashvisor.lab.machine import ServerSpec
from flashvisor.lab.rack import Rack
from flashvisor.lab.trial import READY_LIMIT, run_site
from lab.updating import MEMORY
from lab.variants import Variants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flashvisor.image.build import BuildResult
    from flashvisor.lab.server import Server
    from flashvisor.trust.keyring import Keyring

SITE = """
schema = 1
[node]
name = "{name}"
[network.inside]
subnet = "10.77.0.0/24"
"""


@pytest.fixture(scope="session")
def owner() -> Keyring:
    """This machine's own keyring, with its first root."""
    return open_keyring().founded()


@pytest.fixture(scope="session")
def variants(owner: Keyring, built_image: BuildResult) -> Variants:
    return Variants(open_cache(), owner, built_image.unsigned)


@pytest.fixture(scope="module")
def power_on(
    owner: Keyring, built_image: BuildResult, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Server]]:
    """Powers on a server as it was shipped, waits until it is ready, and gives it a site without guests."""
    place = tmp_path_factory.mktemp("power")
    rack = Rack(place / "rack")

    def up(name: str, *, secure_boot: bool = False, write_log: bool = False) -> Server:
        flash = flash_image(built_image.efi, place / f"{name}.img", owner, name)
        spec = ServerSpec(
            name=name, flash=flash, memory=MEMORY, qemu=lab_qemu(open_cache()), write_log=write_log, data_disks=()
        )
        if secure_boot:
            with enrolled(owner) as variables:
                server = rack.up(replace(spec, firmware_vars=variables))
        else:
            server = rack.up(spec)
        server.wait_for("stage=ready", READY_LIMIT)
        site = place / f"{name}.toml"
        site.write_text(SITE.format(name=name))
        run_site(server, owner, site)
        return server

    yield up
    rack.down_all()
