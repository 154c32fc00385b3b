"""`flashvisor release` shows what was published, and says so when nothing was."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner

from flashvisor.cli.main import run
from flashvisor.flash.chunks import cut
from flashvisor.model.release import Flavour, Manifest
from flashvisor.trust.repository import Repository
from flashvisor.trust.roles import TUF_ROLES, RoleSigners

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    repository = Repository(tmp_path, {role: RoleSigners([CryptoSigner.generate_ed25519()]) for role in TUF_ROLES})
    for version in ("1.10", "1.9"):
        image = version.encode() * 10_000
        release = Manifest(
            name="flashvisor",
            version=version,
            flavour=Flavour.KVM,
            sha256=hashlib.sha256(image).hexdigest(),
            length=len(image),
            modaliases=(),
            chunks=tuple(chunk for chunk, _ in cut(image)),
        )
        repository.publish(release, cut(image), datetime(2026, 11, 24, tzinfo=UTC))
    return tmp_path


def test_list_puts_the_newest_last(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["release", "list", str(directory), "--json"]) == 0
    assert [each["version"] for each in msgspec.json.decode(capsys.readouterr().out)] == ["1.9", "1.10"]


def test_show_takes_the_newest_or_the_one_named(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["release", "show", str(directory)]) == 0
    assert "1.10" in capsys.readouterr().out
    assert run(["release", "show", str(directory), "1.9", "--json"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out)["version"] == "1.9"


def test_what_is_not_there_is_said(directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["release", "show", str(directory), "3"]) == 6
    assert "FV-TRUST-111" in capsys.readouterr().err
    assert run(["release", "list", str(tmp_path / "none")]) == 6
    assert "FV-TRUST-110" in capsys.readouterr().err
