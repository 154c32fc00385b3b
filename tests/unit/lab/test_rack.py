"""The rack's directory: whole servers, nothing half-made, and nothing touched that is not a server."""

from __future__ import annotations

import fcntl
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import (
    CommandLineError,
    NoSpaceError,
    RackStateError,
    ServerDiedError,
    ServerExistsError,
    ServerOffError,
    ServerOnError,
    UnknownServerError,
    UnreadableFileError,
)
from flashvisor.flash.layout import DEVICE_SIZE, PARTITIONS
from flashvisor.lab import rack as rack_module
from flashvisor.lab.machine import API_PORT, ServerSpec
from flashvisor.lab.rack import Rack, default_root
from flashvisor.lab.server import PowerState, Server
from flashvisor.lab.state import read_server

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.lab.machine import Paths
    from flashvisor.lab.state import ServerState

GIB = 1 << 30


@pytest.fixture
def spec(tmp_path: Path) -> ServerSpec:
    flash, firmware = tmp_path / "flash.img", tmp_path / "vars.fd"
    flash.write_bytes(bytes(1 << 20) + b"image" + bytes(1 << 20))
    firmware.write_bytes(b"variables")
    return ServerSpec(name="alpha", flash=flash, firmware_vars=firmware)


@pytest.fixture
def rack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rack:
    """A rack whose servers are made and never powered."""
    monkeypatch.setattr(rack_module, "power_on", lambda paths, state: state)
    return Rack(tmp_path / "rack")


def test_a_server_has_its_own_copies(rack: Rack, spec: ServerSpec) -> None:
    paths = rack.up(spec).paths
    assert paths.flash.read_bytes() == spec.flash.read_bytes()
    assert paths.firmware_vars.read_bytes() == b"variables"
    assert paths.data_disk(0).stat().st_size == 16 * GIB
    assert paths.data_disk(0).stat().st_blocks == 0
    assert read_server(paths.state).spec == spec


def test_servers_share_the_switch_and_no_port(rack: Rack, spec: ServerSpec) -> None:
    one, two = (read_server(rack.up(replace(spec, name=name)).paths.state) for name in ("one", "two"))
    assert one.switch == two.switch
    assert one.forwards.keys() == two.forwards.keys() == {API_PORT}
    assert one.forwards != two.forwards
    assert [server.name for server in rack.list()] == ["one", "two"]


def test_a_server_that_was_put_off_says_so(rack: Rack, spec: ServerSpec) -> None:
    server = rack.up(spec)
    assert server.power is PowerState.OFF
    assert server.report().uptime is None
    server.power_off()
    for action in (server.reset, server.press_power_button, server.console, lambda: server.wait_for("x", 1)):
        with pytest.raises(ServerOffError):
            action()


def test_a_forward_of_a_server_that_is_off_is_kept_for_its_next_start(rack: Rack, spec: ServerSpec) -> None:
    server = rack.up(spec)
    port = server.forward(22)
    assert server.forward(22) == port
    assert server.forwards == {API_PORT: server.api_port, 22: port}


@pytest.fixture
def flashy(rack: Rack, spec: ServerSpec) -> Server:
    """A server whose flash is as large as real ones are, with a write log."""
    with spec.flash.open("r+b") as file:
        file.truncate(DEVICE_SIZE)
    return rack.up(replace(spec, write_log=True))


def test_one_bit_of_one_partition_is_flipped_and_flipped_back(flashy: Server, spec: ServerSpec) -> None:
    flashy.resting_flash.corrupt("b", 70_000, bit=3)
    before, after = spec.flash.read_bytes(), flashy.paths.flash.read_bytes()
    place = PARTITIONS["b"].start + 70_000
    assert after[place] == before[place] ^ 8
    assert after[:place] + after[place + 1 :] == before[:place] + before[place + 1 :]
    flashy.resting_flash.corrupt("b", 70_000, bit=3)
    assert flashy.paths.flash.read_bytes() == before
    with pytest.raises(ValueError, match="outside"):
        flashy.resting_flash.corrupt("b", PARTITIONS["b"].size)


def test_the_flash_of_a_server_that_runs_is_left_alone(flashy: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "power", PowerState.ON)
    before = flashy.paths.flash.read_bytes()
    with pytest.raises(ServerOnError, match="alpha runs"):
        flashy.resting_flash.corrupt("a", 0)
    with pytest.raises(ServerOnError, match="alpha runs"):
        flashy.resting_flash.writes()
    assert flashy.paths.flash.read_bytes() == before


def test_a_write_log_is_there_when_it_was_ordered(flashy: Server, rack: Rack, spec: ServerSpec) -> None:
    assert flashy.paths.write_log.read_bytes() == b""  # QEMU refuses a log that is not there
    assert flashy.resting_flash.writes() == ()
    other = rack.up(replace(spec, name="beta"))
    assert not other.paths.write_log.exists()
    with pytest.raises(RuntimeError, match="beta keeps no write log"):
        other.resting_flash.writes()


def test_a_name_is_taken_once(rack: Rack, spec: ServerSpec) -> None:
    rack.up(spec).paths.flash.write_bytes(b"mine")
    with pytest.raises(ServerExistsError, match="alpha"):
        rack.up(spec)
    assert rack.get("alpha").paths.flash.read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["", "Alpha", "../alpha", "a/b", "-a", "a" * 40])
def test_a_bad_name_makes_nothing(rack: Rack, spec: ServerSpec, name: str) -> None:
    with pytest.raises(CommandLineError, match="no name for a server"):
        rack.up(replace(spec, name=name))
    assert not rack.root.exists()


def test_a_missing_flash_image_makes_nothing(rack: Rack, spec: ServerSpec, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="nowhere"):
        rack.up(replace(spec, flash=tmp_path / "nowhere"))
    assert not rack.root.exists()


def test_a_full_disk_makes_nothing(rack: Rack, spec: ServerSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*words: object) -> None:
        raise NoSpaceError(f"no room for {words[-1]}")

    monkeypatch.setattr(rack_module, "need_space", full)
    with pytest.raises(NoSpaceError):
        rack.up(spec)
    assert rack.list() == ()
    assert [path.name for path in rack.root.iterdir()] == ["lock"]


def test_a_server_that_does_not_start_leaves_nothing(
    rack: Rack, spec: ServerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(paths: Paths, state: ServerState) -> ServerState:
        assert paths.flash.exists()
        raise ServerDiedError(f"{state.spec.name} did not start")

    monkeypatch.setattr(rack_module, "power_on", fail)
    with pytest.raises(ServerDiedError):
        rack.up(spec)
    assert not [path for path in rack.root.iterdir() if path.is_dir()]


def test_what_a_killed_command_left_is_no_server_and_in_nobodys_way(rack: Rack, spec: ServerSpec) -> None:
    half = rack.root / ".new-alpha"
    half.mkdir(parents=True)
    (half / "server.json").write_text("{}")
    assert rack.list() == ()
    assert rack.up(spec).paths.flash.exists()
    assert not half.exists()


def test_down_takes_one_server_and_down_all_the_rest(rack: Rack, spec: ServerSpec) -> None:
    for name in ("one", "two", "three"):
        rack.up(replace(spec, name=name))
    (rack.root / "photos").mkdir()
    (rack.root / ".new-four").mkdir()
    rack.down("two")
    assert [server.name for server in rack.list()] == ["one", "three"]
    assert rack.down_all() == ("one", "three")
    assert sorted(path.name for path in rack.root.iterdir()) == ["lock", "photos"]
    assert rack.down_all() == ()


@pytest.mark.parametrize("name", ["beta", "..", "alpha/..", ""])
def test_an_unknown_name_is_an_error(rack: Rack, spec: ServerSpec, name: str) -> None:
    rack.up(spec)
    for action in (rack.get, rack.down):
        with pytest.raises(UnknownServerError):
            action(name)
    assert rack.get("alpha").name == "alpha"


def test_a_damaged_file_is_told_and_can_be_cleared(rack: Rack, spec: ServerSpec) -> None:
    paths = rack.up(spec).paths
    paths.state.write_text('{"spec": {}}')
    with pytest.raises(RackStateError, match=r"alpha/server\.json"):
        rack.list()
    assert rack.down_all() == ("alpha",)


def test_a_command_waits_for_the_one_before(rack: Rack, spec: ServerSpec) -> None:
    server = rack.up(spec)
    done = threading.Event()

    def take_down() -> None:
        rack.down("alpha")
        done.set()

    with (rack.root / "lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        thread = threading.Thread(target=take_down)
        thread.start()
        assert not done.wait(0.2)
        assert server.paths.state.exists()
    thread.join(10)
    assert done.is_set()
    assert not server.paths.directory.exists()


def test_the_environment_names_the_rack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLASHVISOR_LAB", str(tmp_path))
    assert default_root() == tmp_path
    monkeypatch.delenv("FLASHVISOR_LAB")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_root() == tmp_path / ".local/state/flashvisor/lab"


def test_a_system_disk_is_a_copy_and_as_large_as_ordered(rack: Rack, spec: ServerSpec, tmp_path: Path) -> None:
    system = tmp_path / "system.img"
    system.write_bytes(b"system" + bytes(1 << 20))
    paths = rack.up(replace(spec, system_disk=system, data_disks=(GIB, GIB))).paths
    assert paths.data_disk(0).stat().st_size == GIB
    with paths.data_disk(0).open("rb") as disk:
        assert disk.read(6) == b"system"
    assert paths.data_disk(1).stat().st_blocks == 0
    assert read_server(paths.state).spec.system_disk == system


def test_a_system_disk_that_is_not_there_is_told_before_anything_is_made(
    rack: Rack, spec: ServerSpec, tmp_path: Path
) -> None:
    with pytest.raises(UnreadableFileError, match=r"missing\.img"):
        rack.up(replace(spec, system_disk=tmp_path / "missing.img"))
    assert rack.list() == ()
