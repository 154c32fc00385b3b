"""A virtual server that runs examples/site.toml, powered on once for all lab tests."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flashvisor.cli.buildtools import open_cache, open_keyring
from flashvisor.lab.rack import Rack
from flashvisor.lab.trial import Materials, materials, power_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flashvisor.lab.server import Server
    from flashvisor.trust.keyring import Keyring

CHECKOUT = Path(__file__).parents[2]
BUILD = CHECKOUT / "build"
LOGS = BUILD / "lab-logs"


@pytest.fixture(scope="session")
def owner() -> Keyring:
    """This machine's own keyring: another one would mean another kernel, for modules are signed with it."""
    return open_keyring()


@pytest.fixture(scope="session")
def files(owner: Keyring) -> Materials:
    """The image, the example's guests, and the key they let in."""
    return materials(open_cache(), owner, BUILD)


@pytest.fixture(scope="session")
def shared_rack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rack]:
    """Where the server of all tests stands. Serial logs stay in build/lab-logs/."""
    rack = Rack(tmp_path_factory.mktemp("rack"))
    try:
        yield rack
    finally:
        LOGS.mkdir(parents=True, exist_ok=True)
        for each in rack.list():
            shutil.copyfile(each.serial_log, LOGS / f"{each.name}.log")
        rack.down_all()


@pytest.fixture(scope="session")
def server(shared_rack: Rack, files: Materials) -> Server:
    """A server that is ready."""
    return power_on(shared_rack, "lab", files)


@pytest.fixture(scope="module")
def alone(shared_rack: Rack) -> None:
    """For modules with servers of their own, which come after all that use `server`: it takes their time no more."""
    for each in shared_rack.list():
        each.power_off()
