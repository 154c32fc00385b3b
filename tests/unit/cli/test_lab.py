"""`flashvisor lab` as a user calls it, on a rack whose servers are never powered. Real ones: tests/tools."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
import pytest

from flashvisor.cli import lab as lab_module
from flashvisor.lab import accel
from flashvisor.lab import rack as rack_module
from flashvisor.lab.machine import ServerSpec
from flashvisor.lab.rack import Rack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flashvisor.trust.keyring import Keyring

    from .conftest import Ran

    Run = Callable[..., Ran]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The rack's directory; KVM is known to do nothing here."""
    monkeypatch.setenv("FLASHVISOR_LAB", str(tmp_path / "rack"))
    monkeypatch.setattr(rack_module, "power_on", lambda paths, state: state)
    monkeypatch.setattr(accel, "kvm_boots", lambda directory: False)
    monkeypatch.setattr(lab_module, "lab_qemu", lambda cache: tmp_path / "qemu-system-x86_64")
    firmware = tmp_path / "vars.fd"
    firmware.write_bytes(b"variables")
    monkeypatch.setattr(ServerSpec, "__init__", _with_firmware(firmware))
    return tmp_path / "rack"


def _with_firmware(firmware: Path) -> Callable[..., None]:
    original = ServerSpec.__init__

    def init(self: ServerSpec, **fields: object) -> None:
        original(self, **{"firmware_vars": firmware, **fields})  # type: ignore[arg-type]

    return init


@pytest.fixture
def flash(tmp_path: Path) -> str:
    path = tmp_path / "flash.img"
    path.write_bytes(bytes(4096))
    return str(path)


def test_up_tells_how_to_reach_the_server(flashvisor: Run, lab: Path, flash: str) -> None:
    ran = flashvisor("lab", "up", "alpha", "--flash", flash, "--memory", "512MiB", "--cpus", "1", "--no-tpm")
    server = Rack(lab).get("alpha")
    assert ran.status == 0
    assert f"flashvisor node show --node 127.0.0.1:{server.api_port}" in ran.stdout
    assert "flashvisor lab console alpha" in ran.stdout
    assert (server.spec.memory, server.spec.cpus, server.spec.tpm) == (512 << 20, 1, False)


def test_secure_boot_gives_each_server_the_owners_variables(
    flashvisor: Run, lab: Path, flash: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners: list[str] = []

    @contextmanager
    def enrolled(keyring: Keyring) -> Iterator[Path]:
        owners.append(keyring.owner)
        (tmp_path / "enrolled.fd").write_bytes(b"the owner's")
        yield tmp_path / "enrolled.fd"

    monkeypatch.setattr(lab_module, "enrolled", enrolled)
    assert flashvisor("lab", "up", "node", "--count", "2", "--flash", flash, "--secure-boot").status == 0
    assert flashvisor("lab", "up", "plain", "--flash", flash).status == 0
    variables = {server.name: server.paths.firmware_vars.read_bytes() for server in Rack(lab).list()}
    assert variables == {"node1": b"the owner's", "node2": b"the owner's", "plain": b"variables"}
    assert owners == ["admin"]


def test_several_at_once_are_numbered(flashvisor: Run, lab: Path, flash: str) -> None:
    ran = flashvisor("lab", "up", "node", "--count", "2", "--flash", flash, "--json")
    reports = msgspec.json.decode(ran.stdout)
    assert [report["name"] for report in reports] == ["node1", "node2"]
    assert len({report["api"] for report in reports}) == 2
    listed = flashvisor("lab", "list", "--json")
    assert [report["state"] for report in msgspec.json.decode(listed.stdout)] == ["off", "off"]
    assert reports[0]["api"] in flashvisor("lab", "list").stdout
    assert len(Rack(lab).list()) == 2


def test_forward_names_both_ports(flashvisor: Run, lab: Path, flash: str) -> None:
    flashvisor("lab", "up", "alpha", "--flash", flash)
    ran = flashvisor("lab", "forward", "alpha", "22")
    port = Rack(lab).get("alpha").forwards[22]
    assert ran.stdout == f"127.0.0.1:{port} leads to port 22 of alpha\n"
    assert f"{port}→22" in flashvisor("lab", "list").stdout


def test_down_takes_one_or_all(flashvisor: Run, lab: Path, flash: str) -> None:
    for name in ("alpha", "beta"):
        flashvisor("lab", "up", name, "--flash", flash)
    assert flashvisor("lab", "power", "alpha", "off").stdout == "alpha is off\n"
    assert "alpha" in flashvisor("lab", "down", "alpha").stdout
    assert msgspec.json.decode(flashvisor("lab", "down", "--all", "--json").stdout) == {"down": ["beta"]}
    assert Rack(lab).list() == ()
    assert flashvisor("lab", "down", "--all").stdout == "the rack is empty\n"


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (["up", "alpha", "--flash", "nowhere.img"], 2, "FV-USE-002"),
        (["up", "Alpha", "--flash", "FLASH"], 2, "FV-USE-003"),
        (["up", "alpha", "--flash", "FLASH", "--memory", "lots"], 2, "FV-USE-003"),
        (["down"], 2, "FV-USE-003"),
        (["down", "alpha", "--all"], 2, "FV-USE-003"),
        (["down", "nobody"], 9, "FV-LAB-001"),
        (["power", "nobody", "on"], 9, "FV-LAB-001"),
        (["power", "off", "reset"], 9, "FV-LAB-005"),
        (["console", "off"], 9, "FV-LAB-005"),
        (["screen", "off", "x.png"], 9, "FV-LAB-005"),
        (["up", "off", "--flash", "FLASH"], 9, "FV-LAB-004"),
    ],
)
def test_mistakes(flashvisor: Run, lab: Path, flash: str, words: list[str], status: int, code: str) -> None:
    flashvisor("lab", "up", "off", "--flash", flash)
    ran = flashvisor("lab", *(flash if word == "FLASH" else word for word in words))
    assert ran.status == status
    assert ran.stderr.startswith(code) or f"\n{code}" in ran.stderr
    assert [server.name for server in Rack(lab).list()] == ["off"]
