"""`flashvisor attest` against a server in memory with a TPM in memory."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import msgspec
import pytest

from flashvisor.model.measurement import Measurements, Section, encode
from flashvisor.trust.secureboot import contents
from sim import tpmsim
from sim.tpmsim import TpmSim

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flashvisor.trust.keyring import Keyring
    from sim.nodesim import NodeSim
    from unit.cli.conftest import Ran

IMAGE = Measurements(
    title="flashvisor 1.0",
    image=hashlib.sha256(b"image").hexdigest(),
    sections=(Section(".linux", hashlib.sha256(b"linux").hexdigest()),),
)


@pytest.fixture
def image(tmp_path: Path) -> str:
    path = tmp_path / "measurements.json"
    path.write_bytes(encode(IMAGE))
    return str(path)


@pytest.fixture
def tpm(sim: NodeSim, keyring: Keyring) -> TpmSim:
    sim.tpm = TpmSim()
    tpmsim.boot(sim.tpm, IMAGE, contents(keyring))
    return sim.tpm


@pytest.mark.usefixtures("tpm")
def test_the_first_time_is_remembered(flashvisor: Callable[..., Ran], image: str, home: Path) -> None:
    first = flashvisor("attest", "--image", image)
    assert first.status == 0, first.stderr
    assert "flashvisor 1.0 was started, and nothing else" in first.stdout
    assert "Secure Boot is on, with your keys and no others" in first.stdout
    assert "seen for the first time, remembered from now on" in first.stdout
    assert "the firmware is the same as before" not in first.stdout
    assert (home / ".config/flashvisor/attested.json").stat().st_mode & 0o777 == 0o600
    second = flashvisor("attest", "alpha.example", "--image", image)
    assert second.status == 0
    assert "the one seen before" in second.stdout
    assert "the firmware is the same as before" in second.stdout


@pytest.mark.usefixtures("tpm")
def test_another_server_is_another_first_time(flashvisor: Callable[..., Ran], image: str) -> None:
    flashvisor("attest", "--image", image)
    assert json.loads(flashvisor("attest", "beta.example", "--image", image, "--json").stdout)["first"]


def test_another_image_ends_with_a_code_and_is_not_remembered(
    flashvisor: Callable[..., Ran], image: str, home: Path, sim: NodeSim, keyring: Keyring
) -> None:
    sim.tpm = TpmSim()
    other = msgspec.structs.replace(IMAGE, image=hashlib.sha256(b"other").hexdigest())
    tpmsim.boot(sim.tpm, other, contents(keyring))
    ran = flashvisor("attest", "--image", image)
    assert ran.status == 6
    assert "FV-TRUST-208: alpha.example:443: 1 of 4 things are not as they should be" in ran.stderr
    assert "  | PCR 4: another image was started: expected flashvisor 1.0" in ran.stderr
    assert "DIFFERS" in ran.stdout
    assert not (home / ".config/flashvisor/attested.json").exists()
    said = flashvisor("attest", "--image", image, "--json")
    assert said.status == 6
    verdict = json.loads(said.stdout)
    assert verdict["code"] == "FV-TRUST-208"
    assert [each["pcr"] for each in verdict["findings"] if not each["good"]] == [4]


def test_another_tpm_is_refused_until_it_is_renewed(
    flashvisor: Callable[..., Ran], image: str, tpm: TpmSim, sim: NodeSim
) -> None:
    flashvisor("attest", "--image", image)
    sim.tpm = TpmSim(events=tpm.events)
    refused = flashvisor("attest", "--image", image)
    assert refused.status == 6
    assert "FV-TRUST-207: alpha.example:443: expected the TPM whose key is 000b" in refused.stderr
    assert flashvisor("attest", "--image", image, "--renew").status == 0
    assert flashvisor("attest", "--image", image).status == 0


def test_changed_firmware_is_told_until_it_is_renewed(
    flashvisor: Callable[..., Ran], image: str, tpm: TpmSim, sim: NodeSim, keyring: Keyring
) -> None:
    flashvisor("attest", "--image", image)
    sim.tpm = TpmSim(private=tpm.private)
    sim.tpm.extend(2, b"a new card", tpmsim.DRIVER)
    tpmsim.boot(sim.tpm, IMAGE, contents(keyring))
    ran = flashvisor("attest", "--image", image)
    assert ran.status == 6
    assert "PCR 2: the cards' own firmware changed since the last attest; new: a driver from a card" in ran.stderr
    assert flashvisor("attest", "--image", image, "--renew").status == 0
    assert flashvisor("attest", "--image", image).status == 0


def test_without_secure_boot_is_a_wish(
    flashvisor: Callable[..., Ran], image: str, sim: NodeSim, keyring: Keyring
) -> None:
    sim.tpm = TpmSim()
    tpmsim.boot(sim.tpm, IMAGE, contents(keyring), on=False)
    assert "PCR 7: Secure Boot is off" in flashvisor("attest", "--image", image).stderr
    ran = flashvisor("attest", "--image", image, "--without-secure-boot")
    assert ran.status == 0
    assert "Secure Boot" not in ran.stdout


@pytest.mark.usefixtures("sim")
def test_no_tpm_no_measurements_no_memory(flashvisor: Callable[..., Ran], image: str, tmp_path: Path) -> None:
    ran = flashvisor("attest", "--image", image)
    assert ran.status == 6
    assert "FV-TRUST-201: this server has no TPM 2.0" in ran.stderr
    missing = flashvisor("attest", "--image", str(tmp_path / "none.json"))
    assert missing.status == 2
    assert "FV-USE-002" in missing.stderr
    assert "flashvisor build" in missing.stderr


def test_a_damaged_memory_is_told(flashvisor: Callable[..., Ran], image: str, tpm: TpmSim, home: Path) -> None:
    del tpm
    path = home / ".config/flashvisor/attested.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    ran = flashvisor("attest", "--image", image)
    assert ran.status == 2
    assert "counts as its first" in ran.stderr
