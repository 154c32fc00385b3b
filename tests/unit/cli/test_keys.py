"""flashvisor keys: what a user sees, types and never gets to see."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from flashvisor.trust.keyring import Keyring
from unit.trust.firstform import write_first_form

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from unit.cli.conftest import Ran

    Run = Callable[..., Ran]

KEYS = ".local/share/flashvisor/keys"
FILE = f"{KEYS}/keyring.json"
PASSPHRASE = "correct horse battery"


@pytest.fixture
def passphrase(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that holds the passphrase."""
    path = home / "passphrase"
    path.write_text(f"{PASSPHRASE}\n")
    monkeypatch.setenv("FLASHVISOR_PASSPHRASE_FILE", str(path))
    return path


def test_init_once_then_never_again(flashvisor: Run, home: Path) -> None:
    assert flashvisor("keys", "show").status == 6
    ran = flashvisor("keys", "init", "--owner", "Owner Ltd", "--unencrypted")
    assert ran.status == 0
    assert "NOT encrypted" in ran.stdout
    before = (home / FILE).read_bytes()
    again = flashvisor("keys", "init", "--unencrypted")
    assert again.status == 6
    assert "FV-TRUST-002" in again.stderr
    assert (home / FILE).read_bytes() == before


def test_without_a_terminal_keys_are_unencrypted_only_if_asked_for(flashvisor: Run, home: Path) -> None:
    ran = flashvisor("keys", "init")
    assert ran.status == 6
    assert "FV-TRUST-020" in ran.stderr
    assert not (home / ".local").exists()


def test_a_passphrase_from_a_file(flashvisor: Run, home: Path, passphrase: Path) -> None:
    ran = flashvisor("keys", "init", "--json")
    assert json.loads(ran.stdout)["encrypted"] is True
    assert "BEGIN PRIVATE KEY" not in (home / FILE).read_text()
    assert flashvisor("keys", "rotate", "db").status == 0
    passphrase.write_text("incorrect horse\n")
    before = (home / FILE).read_bytes()
    assert "FV-TRUST-021" in flashvisor("keys", "rotate", "db").stderr
    passphrase.write_text("\n")
    assert "FV-USE-002" in flashvisor("keys", "rotate", "db").stderr
    passphrase.unlink()
    assert "FV-USE-002" in flashvisor("keys", "rotate", "db").stderr
    assert (home / FILE).read_bytes() == before


def test_show_tells_everything_but_secrets(flashvisor: Run, home: Path) -> None:
    flashvisor("keys", "init", "--unencrypted")
    ran = flashvisor("keys", "show", "--json")
    report = json.loads(ran.stdout)
    assert report["owner"] == "admin"
    assert report["encrypted"] is False
    assert [key["role"] for key in report["keys"]] == [
        "ca", "admin", "PK", "KEK", "db", "modules", "tuf-root", "tuf-targets", "tuf-snapshot", "tuf-timestamp",
    ]  # fmt: skip
    assert len({key["sha256"] for key in report["keys"]}) == 10
    text = flashvisor("keys", "show").stdout + ran.stdout
    secret = Keyring.open(home / KEYS).pair("ca").key_pem.decode().splitlines()[1]
    assert secret not in text
    assert "PRIVATE" not in text


def test_an_owner_that_cannot_stand_in_a_certificate(flashvisor: Run, home: Path) -> None:
    ran = flashvisor("keys", "init", "--owner", "x" * 65, "--unencrypted", "--json")
    assert ran.status == 2
    assert json.loads(ran.stdout)["code"] == "FV-USE-006"
    assert not (home / ".local").exists()


def test_a_root_of_several_keys(flashvisor: Run, home: Path) -> None:
    too_many = flashvisor("keys", "init", "--unencrypted", "--root-keys", "2", "--root-threshold", "3")
    assert too_many.status == 2
    assert not (home / ".local").exists()
    ran = flashvisor("keys", "init", "--unencrypted", "--root-keys", "3", "--root-threshold", "2")
    assert "TUF root: 2 of 3 keys must sign" in ran.stdout


def test_rotation_says_what_becomes_of_the_old_key(flashvisor: Run, home: Path) -> None:
    del home
    flashvisor("keys", "init", "--unencrypted")
    before = json.loads(flashvisor("keys", "show", "--json").stdout)
    ran = flashvisor("keys", "rotate", "db")
    assert "images signed before still start" in ran.stdout
    after = json.loads(flashvisor("keys", "show", "--json").stdout)
    old = next(key["sha256"] for key in before["keys"] if key["role"] == "db")
    assert old not in ran.stdout
    assert [key["state"] for key in after["keys"] if key["role"] == "db"] == ["retired", "active"]
    assert flashvisor("keys", "rotate", "dbx").status == 2


def test_rotation_of_a_tuf_key_makes_the_next_root_and_says_how_servers_hear_of_it(flashvisor: Run, home: Path) -> None:
    flashvisor("keys", "init", "--unencrypted")
    assert "flashvisor release refresh" in flashvisor("keys", "rotate", "tuf-targets").stdout
    assert json.loads(flashvisor("keys", "show", "--json").stdout)["root_version"] == 2
    assert "TUF root: version 2" in flashvisor("keys", "show").stdout
    flashvisor("keys", "export-public", str(home / "public"))
    exported = [(home / f"public/{number}.root.json").read_bytes() for number in (1, 2)]
    assert tuple(exported) == Keyring.open(home / KEYS).roots


def test_the_passphrase_is_set_changed_and_taken_off(
    flashvisor: Run, home: Path, passphrase: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flashvisor("keys", "init", "--unencrypted")
    plain = Keyring.open(home / KEYS).pair("db")
    monkeypatch.setenv("FLASHVISOR_NEW_PASSPHRASE_FILE", str(passphrase))
    assert "are encrypted" in flashvisor("keys", "passphrase").stdout
    assert Keyring.open(home / KEYS, PASSPHRASE.encode).pair("db") == plain
    other = home / "other"
    other.write_text("another passphrase")
    monkeypatch.setenv("FLASHVISOR_NEW_PASSPHRASE_FILE", str(other))
    assert flashvisor("keys", "passphrase").status == 0
    assert Keyring.open(home / KEYS, "another passphrase".encode).pair("db") == plain
    monkeypatch.setenv("FLASHVISOR_PASSPHRASE_FILE", str(other))
    assert "NOT encrypted" in flashvisor("keys", "passphrase", "--unencrypted").stdout
    assert Keyring.open(home / KEYS).pair("db") == plain


def test_a_backup_comes_back_and_overwrites_nothing(flashvisor: Run, home: Path, passphrase: Path) -> None:
    flashvisor("keys", "init", "--unencrypted")
    file = home / "safe/keys.backup"
    assert flashvisor("keys", "backup", str(file)).status == 0
    sealed, before = file.read_bytes(), (home / FILE).read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["keys.backup"]
    assert b"PRIVATE" not in sealed
    again = flashvisor("keys", "backup", str(file))
    assert "FV-TRUST-025" in again.stderr
    assert file.read_bytes() == sealed
    assert "FV-TRUST-002" in flashvisor("keys", "restore", str(file)).stderr
    (home / KEYS).rename(home / "lost")
    assert flashvisor("keys", "restore", str(file)).status == 0
    assert (home / FILE).read_bytes() == before
    assert (home / FILE).stat().st_mode & 0o777 == 0o600
    passphrase.write_text("short")
    assert "FV-TRUST-022" in flashvisor("keys", "backup", str(home / "weak")).stderr
    assert not (home / "weak").exists()


def test_export_public(flashvisor: Run, home: Path) -> None:
    flashvisor("keys", "init", "--unencrypted")
    assert flashvisor("keys", "export-public", str(home / "public")).status == 0
    names = {path.name for path in (home / "public").iterdir()}
    assert {"db.cer", "db.esl", "db.auth", "KEK.auth", "PK.auth", "ca.pem"} <= names
    assert "FV-TRUST-025" in flashvisor("keys", "export-public", str(home / "public")).stderr


def test_a_keyring_of_the_first_form_is_shown_and_upgraded(flashvisor: Run, home: Path, keyring: Keyring) -> None:
    (home / KEYS).mkdir(parents=True)
    write_first_form(keyring, home / KEYS)
    assert json.loads(flashvisor("keys", "show", "--json").stdout)["encrypted"] is False
    refused = flashvisor("keys", "rotate", "db")
    assert "FV-TRUST-023" in refused.stderr
    assert flashvisor("keys", "upgrade", "--unencrypted").status == 0
    assert {path.name for path in (home / KEYS).iterdir()} == {"keyring.json", "keyring.lock"}
    before = (home / FILE).read_bytes()
    write_first_form(keyring, home / KEYS)
    assert "NOT encrypted, from before the upgrade" in flashvisor("keys", "show").stdout
    assert flashvisor("keys", "upgrade").status == 0
    assert (home / FILE).read_bytes() == before
    assert {path.name for path in (home / KEYS).iterdir()} == {"keyring.json", "keyring.lock"}
