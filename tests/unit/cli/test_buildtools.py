"""The keyring of commands that run unattended: made when missing, and plain words about what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor.cli.buildtools import open_keyring
from unit.trust.firstform import write_first_form

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from flashvisor.trust.keyring import Keyring


def test_a_new_keyring_is_said_not_to_be_encrypted(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = open_keyring()
    assert not made.encrypted
    assert "NOT encrypted" in capsys.readouterr().err
    assert open_keyring().store == made.store
    assert capsys.readouterr().err == ""
    assert made.directory.is_relative_to(home)


def test_with_a_passphrase_in_a_file_it_is(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "passphrase").write_text("correct horse battery\n")
    monkeypatch.setenv("FLASHVISOR_PASSPHRASE_FILE", str(home / "passphrase"))
    assert open_keyring().encrypted
    assert "NOT" not in capsys.readouterr().err
    assert b"BEGIN" in open_keyring().pair("db").key_pem


def test_a_keyring_of_the_first_form_is_said_to_give_no_updates(
    home: Path, keyring: Keyring, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_first_form(keyring, home / "old")
    monkeypatch.setenv("FLASHVISOR_KEYS", str(home / "old"))
    assert open_keyring().is_first_form
    assert "takes no updates" in capsys.readouterr().err
