"""Virtual servers with the real QEMU, firmware and TPM: power, ports, screen, switch, and nothing left running.

The flash holds nothing to start, so each boot ends where the firmware has looked at it: a few seconds.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from flashvisor.cli.main import run
from flashvisor.errors import (
    ConsoleBusyError,
    NoFreePortError,
    ServerDiedError,
    ServerOffError,
    WaitTimeoutError,
)
from flashvisor.host import processes, qemu_system, swtpm
from flashvisor.lab import accel
from flashvisor.lab.machine import Accel, NicModel, ServerSpec, Watchdog
from flashvisor.lab.rack import Rack
from flashvisor.lab.server import PowerState
from flashvisor.model.names import derive_mac

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flashvisor.lab.server import Server

pytestmark = pytest.mark.tools

FLASH_BYTES = 128_000_000
LIMIT = 120.0  # seconds for the firmware on a machine with much else to do; 4 s on a quiet one
FIRMWARE_LOOKED = r"BdsDxe: .*lab-flash"  # the firmware has found the flash, and tried to start from it


@pytest.fixture
def spec(tmp_path: Path) -> ServerSpec:
    flash = tmp_path / "flash.img"
    with flash.open("wb") as file:
        file.truncate(FLASH_BYTES)
    return ServerSpec(name="alpha", flash=flash, memory=512 << 20, accel=Accel.TCG)


@pytest.fixture
def rack(tmp_path: Path) -> Iterator[Rack]:
    # Deeper than the address of a unix socket may be long.
    rack = Rack(tmp_path / ("deep" * 25) / "rack")
    yield rack
    rack.down_all()
    assert running(rack) == []


def running(rack: Rack) -> list[str]:
    """The command lines of all processes that name the rack's directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has ended meanwhile
        if str(rack.root) in words:
            found.append(words)
    return found


def power_of(server: Server) -> PowerState:
    """Asks anew each time; mypy takes a property for a value that stays."""
    return server.power


def qemu_of(server: Server) -> processes.ProcessMark:
    found = processes.from_pid_file(server.paths.directory / qemu_system.PID_FILE)
    assert found is not None
    return found


def test_power_on_off_on_and_away(rack: Rack, spec: ServerSpec) -> None:
    server = rack.up(spec)
    assert power_of(server) is PowerState.ON
    assert "lab-flash" in server.wait_for(FIRMWARE_LOOKED, LIMIT)
    programs = sorted(Path(words.split()[0]).name for words in running(rack))
    assert programs == [qemu_system.PROGRAM, "swtpm"]

    first = qemu_of(server)
    server.power_off()
    assert power_of(server) is PowerState.OFF
    assert not processes.alive(first)
    assert running(rack) == []

    # Another command, later: it knows the server by its file alone.
    again = Rack(rack.root).get("alpha")
    again.power_on()
    assert qemu_of(again) != first
    again.power_on()  # the button of a server that runs
    again.wait_for(FIRMWARE_LOOKED, LIMIT)
    assert "lab-flash" in (server.paths.directory / "serial.previous.log").read_text(errors="replace")

    again.reset()
    again.wait_for(FIRMWARE_LOOKED, LIMIT, since=again.position())
    with pytest.raises(WaitTimeoutError, match="stage=ready"):
        again.wait_for("stage=ready", 0.2)

    rack.down("alpha")
    assert running(rack) == []
    assert not server.paths.directory.exists()


def test_two_servers_on_one_switch(rack: Rack, spec: ServerSpec, tmp_path: Path) -> None:
    # The listener first; then a server whose only card that the firmware can drive is on the switch. With an empty
    # flash it asks for a boot server there (PXE). The listener's card has no driver yet, so it takes one frame.
    beta = rack.up(replace(spec, name="beta"))
    heard = tmp_path / "switch.pcap"
    with qemu_system.Qmp.connect(beta.paths.directory) as qmp:
        qmp.execute("object-add", qom_type="filter-dump", id="listen", netdev="switch", file=str(heard))
    alpha = rack.up(replace(spec, uplink_nic=NicModel.E1000E, switch_nic=NicModel.VIRTIO))
    assert alpha.api_port != beta.api_port
    sender = bytes.fromhex(derive_mac("lab", "alpha", 1).replace(":", ""))
    end = time.monotonic() + LIMIT
    while sender not in heard.read_bytes():
        assert time.monotonic() < end, "no frame of alpha's came to beta"
        time.sleep(0.2)
    assert alpha.power is beta.power is PowerState.ON
    rack.down("alpha")
    assert power_of(beta) is PowerState.ON


def test_ports_screen_and_console_of_a_running_server(rack: Rack, spec: ServerSpec, tmp_path: Path) -> None:
    server = rack.up(replace(spec, tpm=False, watchdog=Watchdog.ITCO))
    port = server.forward(22)
    assert server.forward(22) == port
    for each in (server.api_port, port):
        # QEMU listens; whether the server answers is the server's business.
        socket.create_connection(("127.0.0.1", each), timeout=10).close()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        with pytest.raises(NoFreePortError):
            server.forward(80, other.getsockname()[1])
    assert server.forwards == {443: server.api_port, 22: port}

    picture = tmp_path / "screen.png"
    server.screenshot(picture)
    assert picture.read_bytes().startswith(b"\x89PNG")

    with server.console() as line:
        with pytest.raises(ConsoleBusyError):
            server.console()
        assert line.receive()
    server.power_off()
    server.power_on()
    socket.create_connection(("127.0.0.1", port), timeout=10).close()


def test_a_qemu_that_dies_is_noticed_at_once(rack: Rack, spec: ServerSpec) -> None:
    server = rack.up(spec)
    qemu = qemu_of(server)
    os.kill(qemu.pid, signal.SIGKILL)
    begin = time.monotonic()
    with pytest.raises(ServerDiedError, match="alpha went off before"):
        server.wait_for("never said", LIMIT)
    assert time.monotonic() - begin < LIMIT / 2
    server.wait_off(1)
    assert power_of(server) is PowerState.ENDED
    assert server.report().uptime is None
    with pytest.raises(ServerDiedError):
        server.reset()
    tpm = processes.from_pid_file(server.paths.directory / "swtpm.pid")
    assert tpm is None or processes.wait_for_end(tpm, 10), "the TPM outlives its server"
    server.power_on()
    assert power_of(server) is PowerState.ON


def test_what_qemu_refuses_is_told_in_its_words_and_leaves_nothing(rack: Rack, spec: ServerSpec) -> None:
    with pytest.raises(ServerDiedError) as caught:
        rack.up(replace(spec, cpu_model="abacus"))
    assert "abacus" in caught.value.evidence.splitlines()[-1]
    assert rack.list() == ()
    assert running(rack) == []


def test_a_server_with_a_write_log_starts_and_starts_again(rack: Rack, spec: ServerSpec) -> None:
    server = rack.up(replace(spec, write_log=True))
    for _ in range(2):
        server.wait_for(FIRMWARE_LOOKED, LIMIT)
        server.power_off()
        assert not [entry for entry in server.resting_flash.writes() if entry.length]  # firmware only reads
        server.power_on()


def test_a_port_that_was_taken_while_the_server_was_off(rack: Rack, spec: ServerSpec) -> None:
    server = rack.up(spec)
    server.power_off()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", server.api_port))
        other.listen(1)
        with pytest.raises(NoFreePortError, match=str(server.api_port)):
            server.power_on()
    assert power_of(server) is PowerState.OFF
    with pytest.raises(ServerOffError):
        server.wait_for("x", 1)


def test_a_server_whose_starter_was_killed_is_found_and_stopped(rack: Rack, spec: ServerSpec) -> None:
    server = rack.up(spec)
    state = msgspec.json.decode(server.paths.state.read_bytes())
    server.paths.state.write_bytes(msgspec.json.encode({**state, "power": None}))  # killed before it wrote this
    assert len(running(rack)) == 2
    rack.down("alpha")
    assert running(rack) == []


def test_the_command_line_as_users_have_it(rack: Rack, spec: ServerSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHVISOR_LAB", str(rack.root))
    words = ["lab", "up", "node", "--count", "2", "--memory", "512MiB", "--flash", str(spec.flash)]
    assert run(words) == 0
    assert [server.power for server in rack.list()] == [PowerState.ON] * 2
    assert run(["lab", "power", "node1", "off"]) == 0
    assert [server.power for server in rack.list()] == [PowerState.OFF, PowerState.ON]
    assert run(["lab", "down", "--all"]) == 0
    assert running(rack) == []


def test_the_probe_guest_boots_and_nothing_else_passes_for_it() -> None:
    # Under emulation every machine can run it, so this shows that a "no" of KVM is KVM's.
    assert accel.probe(Accel.TCG)
    assert not accel.probe(Accel.TCG, accel.BOOT_SECTOR.replace(b"K", b"X"))


def test_the_choice_follows_the_probe_on_this_machine(tmp_path: Path) -> None:
    begin = time.monotonic()
    boots = accel.kvm_boots(tmp_path)
    assert time.monotonic() - begin < accel.LIMIT + 5
    assert accel.choose(tmp_path, None) is (Accel.KVM if boots else Accel.TCG)
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        assert not boots


def test_versions_of_the_tools() -> None:
    assert qemu_system.version() >= (7, 2)
    assert swtpm.version().startswith("TPM emulator version")
    assert shutil.which("swtpm")


def test_the_flash_is_pulled_and_put_in_while_the_server_runs(rack: Rack, spec: ServerSpec) -> None:
    server = rack.up(spec)
    for dying in (False, True):
        pulled = server.flash_slot.pull()
        assert not server.paths.flash.exists()
        assert pulled.stat().st_size == FLASH_BYTES
        server.flash_slot.insert(pulled, dying=dying)
    since = server.position()
    server.reset()
    server.wait_for(FIRMWARE_LOOKED, LIMIT, since=since)
    server.power_off()
    with pytest.raises(ServerOffError):
        server.flash_slot.pull()
    # What was put in is there at the next power-on: without it, QEMU would not start.
    server.power_on()
    assert power_of(server) is PowerState.ON
