"""The keyring: whole or not at all, private, never overwritten."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import KeyringDamagedError, KeyringExistsError, KeyringMissingError, OwnerNameError
from flashvisor.host import files
from flashvisor.trust import certificates
from flashvisor.trust.keyring import Keyring, default_directory

if TYPE_CHECKING:
    from pathlib import Path


def test_files_are_private_to_their_user(keyring: Keyring) -> None:
    assert keyring.directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in keyring.directory.iterdir()} == {0o600}


def test_open_gives_what_create_made(keyring: Keyring) -> None:
    again = Keyring.open(keyring.directory)
    assert again.owner == "Owner Ltd"
    assert again.owner_guid == keyring.owner_guid
    assert again.ca_pem == keyring.ca_pem


def test_an_existing_keyring_is_never_touched(keyring: Keyring) -> None:
    before = {path: path.read_bytes() for path in keyring.directory.iterdir()}
    with pytest.raises(KeyringExistsError, match="never overwritten"):
        Keyring.create(keyring.directory, "Thief Ltd")
    assert {path: path.read_bytes() for path in keyring.directory.iterdir()} == before


def test_a_failure_in_the_middle_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = files.write_atomic
    written: list[Path] = []

    def full(path: Path, data: bytes, *, mode: int = 0o644) -> None:
        if len(written) == 5:
            raise OSError(28, "No space left on device")
        written.append(path)
        real(path, data, mode=mode)

    monkeypatch.setattr(files, "write_atomic", full)
    with pytest.raises(OSError, match="No space left"):
        Keyring.create(tmp_path / "keys", "Owner Ltd")
    assert len(written) == 5
    assert list(tmp_path.iterdir()) == []


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir(mode=0o755)
    assert Keyring.create(tmp_path / "keys", "Owner Ltd").directory.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("owner", ["", "  ", "x" * 65, "two\nlines"])
def test_an_owner_without_a_usable_name(tmp_path: Path, owner: str) -> None:
    with pytest.raises(OwnerNameError):
        Keyring.create(tmp_path / "keys", owner)
    assert not (tmp_path / "keys").exists()


def test_absent_and_damaged_keyrings(tmp_path: Path, keyring: Keyring) -> None:
    with pytest.raises(KeyringMissingError):
        Keyring.open(tmp_path)
    for path in keyring.directory.iterdir():
        if path.name != "db.key":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(KeyringDamagedError, match=r"db\.key"):
        Keyring.open(tmp_path)


def test_a_nodes_identity_is_the_owners_and_is_not_kept(keyring: Keyring) -> None:
    before = sorted(keyring.directory.iterdir())
    identity = keyring.issue_node("alpha")
    assert certificates.subject(identity.cert_pem) == "CN=alpha,O=Owner Ltd"
    assert b"PRIVATE KEY" in identity.key_pem
    assert sorted(keyring.directory.iterdir()) == before


def test_the_module_key_holds_key_and_certificate(keyring: Keyring) -> None:
    labels = re.findall(r"-----BEGIN ([A-Z ]+)-----", keyring.module_key.read_text())
    assert labels == ["PRIVATE KEY", "CERTIFICATE"]


def test_each_certificate_fits_its_key(keyring: Keyring) -> None:
    for pair in (keyring.admin, keyring.platform_key, keyring.key_exchange_key, keyring.db):
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(pair.cert, pair.key)
    with pytest.raises(ssl.SSLError, match="KEY_VALUES_MISMATCH"):
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(keyring.db.cert, keyring.platform_key.key)


def test_default_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLASHVISOR_KEYS", str(tmp_path))
    assert default_directory() == tmp_path
    monkeypatch.delenv("FLASHVISOR_KEYS")
    monkeypatch.setenv("HOME", "/home/admin")
    assert str(default_directory()) == "/home/admin/.local/share/flashvisor/keys"
