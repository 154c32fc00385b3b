"""A run's servers: copies of one that has been on, and never left behind."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flashvisor.bench.runs import Contestant, run_once, warm_up
from flashvisor.errors import LabError, ServerOffError
from flashvisor.lab import rack as rack_module
from flashvisor.lab.machine import ServerSpec
from flashvisor.lab.rack import Rack

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.lab.server import Server

MIB = 1 << 20


@pytest.fixture
def spec(tmp_path: Path) -> ServerSpec:
    flash, firmware = tmp_path / "flash.img", tmp_path / "vars.fd"
    flash.write_bytes(b"new flash")
    firmware.write_bytes(b"new variables")
    return ServerSpec(name="alpha", flash=flash, firmware_vars=firmware, data_disks=(MIB,))


@pytest.fixture
def rack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rack:
    """A rack whose servers are made and never powered."""
    monkeypatch.setattr(rack_module, "power_on", lambda paths, state: state)
    return Rack(tmp_path / "rack")


def use(server: Server) -> None:
    server.paths.flash.write_bytes(b"used flash")
    server.paths.firmware_vars.write_bytes(b"used variables")
    with server.paths.data_disk(0).open("r+b") as disk:
        disk.write(b"used disk")


def test_a_warm_server_consists_of_what_its_first_start_left(rack: Rack, spec: ServerSpec, tmp_path: Path) -> None:
    warm = warm_up(rack, spec, use, tmp_path / "warm")
    assert rack.list() == ()
    paths = rack.up(warm).paths
    assert paths.flash.read_bytes() == b"used flash"
    assert paths.firmware_vars.read_bytes() == b"used variables"
    assert paths.data_disk(0).read_bytes() == b"used disk".ljust(MIB, b"\0")
    assert spec.flash.read_bytes() == b"new flash"


def test_a_first_start_that_fails_leaves_no_server(rack: Rack, spec: ServerSpec, tmp_path: Path) -> None:
    def fail(server: Server) -> None:
        raise LabError(f"{server.name} is broken")

    with pytest.raises(LabError, match="alpha is broken"):
        warm_up(rack, spec, fail, tmp_path / "warm")
    assert rack.list() == ()


def test_a_run_that_fails_leaves_no_server(rack: Rack, spec: ServerSpec) -> None:
    with pytest.raises(ServerOffError):  # nothing was really powered on, so there is nothing to wait for
        run_once(rack, Contestant(replace(spec, name="beta"), ready="ready"))
    assert rack.list() == ()
