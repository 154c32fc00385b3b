"""`flashvisor release` shows and renews what was published, says so when nothing was, and publishes no odd things."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest

from flashvisor.cli.main import run
from flashvisor.flash.chunks import cut
from flashvisor.host import clock
from flashvisor.trust.repository import LIFETIMES, Repository, expiries
from sim.reposim import manifest_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flashvisor.trust.keyring import Keyring
    from unit.cli.conftest import Ran


@pytest.fixture
def directory(tmp_path: Path, keyring: Keyring) -> Path:
    repository = Repository(tmp_path / "releases", keyring.tuf_keys(), keyring.roots)
    for version in ("1.10", "1.9"):
        image = version.encode() * 10_000
        repository.publish(manifest_of(image, version), cut(image), datetime(2026, 11, 24, tzinfo=UTC))
    return repository.directory


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


@pytest.fixture
def keys(home: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner's keyring is the one that commands use."""
    del home
    monkeypatch.setenv("FLASHVISOR_KEYS", str(keyring.directory))


@pytest.mark.usefixtures("keys")
def test_refresh_says_until_when(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["release", "refresh", str(directory), "--json"]) == 0
    said = msgspec.json.decode(capsys.readouterr().out)
    end = datetime.fromisoformat(said["until"]["timestamp"])
    assert abs(end - clock.now() - LIFETIMES["timestamp"]) < timedelta(minutes=5)
    assert run(["release", "refresh", str(directory)]) == 0
    assert f"Servers take it until {end:%Y-%m-%d}" in capsys.readouterr().out
    assert expiries(directory)["timestamp"] >= end


@pytest.mark.usefixtures("keys")
def test_refresh_of_nothing_and_publishing_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["release", "refresh", str(tmp_path / "none")]) == 6
    assert "FV-TRUST-110" in capsys.readouterr().err
    words = ["release", "publish", str(tmp_path / "none"), "--image", str(tmp_path / "flashvisor.efi")]
    assert run(words) == 2
    said = capsys.readouterr().err
    assert "FV-USE-002" in said
    assert "flashvisor build" in said
    assert not (tmp_path / "none").exists()


def test_publishing_without_keys(flashvisor: Callable[..., Ran], tmp_path: Path) -> None:
    assert "FV-TRUST-001" in flashvisor("release", "publish", str(tmp_path / "none")).stderr
