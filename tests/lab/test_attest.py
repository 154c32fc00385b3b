"""A server with the owner's keys, real firmware and a TPM: its measurements are those that the build expected."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest

from flashvisor.cli.buildtools import open_cache
from flashvisor.cli.main import run
from flashvisor.host.sockets import LOOPBACK
from flashvisor.image.flashfile import flash_image
from flashvisor.image.labqemu import lab_qemu
from flashvisor.lab.firmware import enrolled
from flashvisor.lab.machine import ServerSpec
from flashvisor.lab.rack import Rack
from flashvisor.model.measurement import Section, decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flashvisor.image.build import BuildResult
    from flashvisor.lab.server import Server
    from flashvisor.trust.keyring import Keyring

pytestmark = pytest.mark.lab

READY_LIMIT = 300.0  # seconds
MEMORY = 2 << 30  # bytes


@pytest.fixture(scope="module")
def attested(built_image: BuildResult, owner: Keyring, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that is ready, and whose firmware knows the owner's keys."""
    place = tmp_path_factory.mktemp("attest")
    rack = Rack(place / "rack")
    flash = flash_image(built_image.efi, place / "flash.img", owner, "alpha")
    try:
        with enrolled(owner) as variables:
            spec = ServerSpec(
                name="alpha", flash=flash, memory=MEMORY, qemu=lab_qemu(open_cache()), firmware_vars=variables
            )
            server = rack.up(spec)
        server.wait_for("stage=ready", READY_LIMIT)
        yield server
    finally:
        rack.down_all()


def test_what_was_built_is_what_was_measured(
    attested: Server,
    built_image: BuildResult,
    owner: Keyring,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FLASHVISOR_KEYS", str(owner.directory))
    monkeypatch.setenv("HOME", str(tmp_path))
    node, expected = f"{LOOPBACK}:{attested.api_port}", built_image.efi.with_name("measurements.json")
    assert run(["attest", node, "--image", str(expected)]) == 0
    said = capsys.readouterr().out
    assert "seen for the first time" in said
    assert "was started, and nothing else" in said
    assert "Secure Boot is on, with your keys and no others" in said
    position = attested.position()
    attested.reset()
    attested.wait_for("stage=ready", READY_LIMIT, since=position)
    assert run(["attest", node, "--image", str(expected)]) == 0
    said = capsys.readouterr().out
    assert "the one seen before" in said
    assert "the firmware is the same as before" in said
    real = decode(expected.read_bytes(), "real")
    sections = tuple(Section(one.name, "0" * 64) if one.name == ".cmdline" else one for one in real.sections)
    other = tmp_path / "other.json"
    other.write_bytes(encode(msgspec.structs.replace(real, title="flashvisor 9", image="0" * 64, sections=sections)))
    assert run(["attest", node, "--image", str(other), "--json"]) == 6
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["code"] == "FV-TRUST-208"
    assert [each["what"] for each in verdict["findings"] if not each["good"]] == [
        f"another image was started: expected flashvisor 9 (sha256 {'0' * 16}…), measured sha256 {real.image[:16]}…",
        "its kernel command line (.cmdline) is not the one that was built",
    ]
