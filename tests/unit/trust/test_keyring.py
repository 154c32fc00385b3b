"""The keyring: whole or not at all, private, never overwritten, under a passphrase, and what rotating keeps."""

from __future__ import annotations

import json
import re
import ssl
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import (
    KeyringDamagedError,
    KeyringExistsError,
    KeyringMissingError,
    OldKeyringError,
    OwnerNameError,
    PassphraseNeededError,
    UnknownNameError,
    WeakPassphraseError,
    WrongPassphraseError,
)
from flashvisor.host import files
from flashvisor.trust import certificates, keystore
from flashvisor.trust.keyring import Keyring, default_directory
from flashvisor.trust.roles import ROLES, SECURE_BOOT_KEYS, TUF_ROLES
from unit.trust.firstform import write_first_form

if TYPE_CHECKING:
    from pathlib import Path

PASSPHRASE = b"correct horse battery"


@pytest.fixture(scope="module")
def locked_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tmp_path_factory.mktemp("locked") / "keys"
    Keyring.create(directory, "Owner Ltd", passphrase=PASSPHRASE, root_keys=(3, 2))
    return (directory / keystore.STORE).read_bytes()


@pytest.fixture
def locked(locked_bytes: bytes, tmp_path: Path) -> Path:
    """The directory of an encrypted keyring, the test's to change."""
    files.write_directory_once(tmp_path / "locked", {keystore.STORE: locked_bytes}, mode=0o600, directory_mode=0o700)
    return tmp_path / "locked"


@pytest.fixture
def own(keyring: Keyring, tmp_path: Path) -> Keyring:
    """A keyring that is not encrypted, the test's to change."""
    files.write_directory_once(tmp_path / "own", {keystore.STORE: keystore.encode(keyring.store)}, mode=0o600)
    return Keyring.open(tmp_path / "own")


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
    def full(path: Path, data: bytes, *, mode: int = 0o644) -> None:
        del path, data, mode
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_atomic", full)
    with pytest.raises(OSError, match="No space left"):
        Keyring.create(tmp_path / "keys", "Owner Ltd")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir(mode=0o755)
    assert Keyring.create(tmp_path / "keys", "Owner Ltd").directory.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("owner", ["", "  ", "x" * 65, "two\nlines"])
def test_an_owner_without_a_usable_name(tmp_path: Path, owner: str) -> None:
    with pytest.raises(OwnerNameError):
        Keyring.create(tmp_path / "keys", owner)
    assert not (tmp_path / "keys").exists()


def test_absent_and_damaged_keyrings(tmp_path: Path, own: Keyring) -> None:
    with pytest.raises(KeyringMissingError):
        Keyring.open(tmp_path)
    text = (own.directory / keystore.STORE).read_text()
    (own.directory / keystore.STORE).write_text(text.replace('"role": "db"', '"role": "dbx"'))
    with pytest.raises(KeyringDamagedError, match="lacks db"):
        Keyring.open(own.directory)
    (own.directory / keystore.STORE).write_text(text[:-5])
    with pytest.raises(KeyringDamagedError, match="cannot be read"):
        Keyring.open(own.directory)


def test_a_nodes_identity_is_the_owners_and_is_not_kept(keyring: Keyring) -> None:
    before = (keyring.directory / keystore.STORE).read_bytes()
    identity = keyring.issue_node("alpha")
    assert certificates.subject(identity.cert_pem) == "CN=alpha,O=Owner Ltd"
    assert identity.key_pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert (keyring.directory / keystore.STORE).read_bytes() == before


def test_the_module_key_holds_key_and_certificate(keyring: Keyring) -> None:
    labels = re.findall(r"-----BEGIN ([A-Z ]+)-----", keyring.module_key)
    assert labels == ["PRIVATE KEY", "CERTIFICATE"]


def test_each_certificate_fits_its_key(keyring: Keyring) -> None:
    for role in ("admin", "ca", "modules", *SECURE_BOOT_KEYS):
        with keyring.unlocked(role) as pair:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(pair.cert, pair.key)
    with (
        keyring.unlocked("db") as db,
        keyring.unlocked("PK") as platform,
        pytest.raises(ssl.SSLError, match="KEY_VALUES_MISMATCH"),
    ):
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(db.cert, platform.key)


def test_unlocked_files_are_gone_afterwards(keyring: Keyring) -> None:
    with keyring.unlocked("db") as files_:
        assert b"PRIVATE KEY" in files_.key.read_bytes()
    assert not files_.key.exists()


def test_default_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLASHVISOR_KEYS", str(tmp_path))
    assert default_directory() == tmp_path
    monkeypatch.delenv("FLASHVISOR_KEYS")
    monkeypatch.setenv("HOME", "/home/admin")
    assert str(default_directory()) == "/home/admin/.local/share/flashvisor/keys"


def test_no_private_key_of_an_encrypted_keyring_can_be_read(locked_bytes: bytes) -> None:
    assert b"BEGIN PRIVATE KEY" not in locked_bytes
    assert locked_bytes.count(b"BEGIN ENCRYPTED PRIVATE KEY") == len(ROLES) + 2  # three root keys


def test_public_things_need_no_passphrase_and_the_rest_asks_once(locked: Path) -> None:
    asked: list[str] = []

    def ask() -> bytes:
        asked.append("passphrase")
        return PASSPHRASE

    keyring = Keyring.open(locked, ask)
    assert certificates.subject(keyring.certificate("db")) == "CN=flashvisor db,O=Owner Ltd"
    assert not asked
    assert keyring.pair("db").key_pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert "PRIVATE KEY" in keyring.module_key
    assert len(asked) == 1


def test_a_wrong_passphrase_nobody_to_ask_and_a_weak_one(locked: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongPassphraseError):
        Keyring.open(locked, lambda: b"incorrect horse").pair("db")
    with pytest.raises(PassphraseNeededError):
        Keyring.open(locked).pair("db")
    with pytest.raises(WeakPassphraseError, match="at least 12"):
        Keyring.create(tmp_path / "weak", "Owner Ltd", passphrase=b"short")
    assert not (tmp_path / "weak").exists()


def test_a_wrong_passphrase_changes_nothing(locked: Path, locked_bytes: bytes) -> None:
    keyring = Keyring.open(locked, lambda: b"incorrect horse")
    with pytest.raises(WrongPassphraseError):
        keyring.rotate("db")
    with pytest.raises(WrongPassphraseError):
        keyring.locked_with(None)
    assert (locked / keystore.STORE).read_bytes() == locked_bytes


def test_another_passphrase_same_keys(locked: Path) -> None:
    before = Keyring.open(locked, lambda: PASSPHRASE)
    before.locked_with(b"another passphrase")
    after = Keyring.open(locked, lambda: b"another passphrase")
    assert after.pair("db") == before.pair("db")
    with pytest.raises(WrongPassphraseError):
        Keyring.open(locked, lambda: PASSPHRASE).pair("db")


def test_tuf_signers_sign_and_the_threshold_is_the_owners(locked: Path) -> None:
    keyring = Keyring.open(locked, lambda: PASSPHRASE)
    assert [len(keyring.tuf_signers(role).signers) for role in TUF_ROLES] == [3, 1, 1, 1]
    assert [keyring.tuf_signers(role).threshold for role in TUF_ROLES] == [2, 1, 1, 1]
    signers = [signer for role in TUF_ROLES for signer in keyring.tuf_signers(role).signers]
    assert len({signer.public_key.keyid for signer in signers}) == 6
    for signer in signers:
        signer.public_key.verify_signature(signer.sign(b"metadata"), b"metadata")


def test_a_rotated_db_key_keeps_the_old_certificate_but_not_its_private_key(own: Keyring) -> None:
    old, old_key = own.certificate("db"), own.pair("db").key_pem.decode()
    new = own.rotate("db")
    assert new.certificates("db") == [new.certificate("db"), old]
    assert new.certificate("db") != old
    assert new.outgoing_pair("db") is None
    assert old_key.splitlines()[1] not in (own.directory / keystore.STORE).read_text()
    third = Keyring.open(own.directory).rotate("db")
    assert third.certificates("db")[1:] == [new.certificate("db"), old]


def test_what_signs_its_own_successor_keeps_its_private_key(own: Keyring) -> None:
    platform, root = own.pair("PK"), own.tuf_signers("root").signers[0].public_key.keyid
    new = own.rotate("PK").rotate("tuf-root")
    assert new.outgoing_pair("PK") == platform
    assert [signer.public_key.keyid for signer in new.outgoing_tuf_signers("root")] == [root]
    assert root not in [signer.public_key.keyid for signer in new.tuf_signers("root").signers]


def test_after_a_new_ca_both_are_trusted_and_the_owner_has_the_same_guid(own: Keyring) -> None:
    before = own.ca_pem
    new = own.rotate("ca")
    assert new.ca_pem.endswith(before)
    assert new.ca_pem.count(b"BEGIN CERTIFICATE") == 2
    assert new.owner_guid == own.owner_guid
    assert new.certificate("admin") == own.certificate("admin")
    assert new.rotate("admin").certificate("admin") != own.certificate("admin")


def test_a_role_that_does_not_exist(keyring: Keyring) -> None:
    with pytest.raises(UnknownNameError, match="'dbx' is no role"):
        keyring.certificate("dbx")


def test_the_first_form_is_read_as_it_is(keyring: Keyring, tmp_path: Path) -> None:
    write_first_form(keyring, tmp_path)
    old = Keyring.open(tmp_path)
    assert old.owner == "Owner Ltd"
    assert old.owner_guid == keyring.owner_guid
    assert old.module_key == (tmp_path / "modules.pem").read_text() == keyring.module_key
    assert old.pair("db") == keyring.pair("db")
    with pytest.raises(OldKeyringError):
        old.tuf_signers("root")
    with pytest.raises(OldKeyringError):
        old.rotate("db")
    (tmp_path / "db.key").unlink()
    with pytest.raises(KeyringDamagedError, match=r"db\.key"):
        Keyring.open(tmp_path)


def test_the_first_form_is_upgraded_with_the_same_keys(keyring: Keyring, tmp_path: Path) -> None:
    write_first_form(keyring, tmp_path)
    Keyring.open(tmp_path).locked_with(PASSPHRASE)
    assert {path.name for path in tmp_path.iterdir()} == {keystore.STORE, keystore.LOCK}
    new = Keyring.open(tmp_path, lambda: PASSPHRASE)
    assert new.encrypted
    assert new.owner_guid == keyring.owner_guid
    assert new.module_key == keyring.module_key
    assert new.pair("ca") == keyring.pair("ca")
    assert len(new.tuf_signers("root").signers) == 1


def test_an_upgrade_that_was_cut_leaves_a_keyring_and_says_what_lies_about(keyring: Keyring, tmp_path: Path) -> None:
    write_first_form(keyring, tmp_path)
    before = (tmp_path / "db.key").read_bytes()
    Keyring.open(tmp_path).locked_with(None)
    (tmp_path / "db.key").write_bytes(before)
    new = Keyring.open(tmp_path)
    assert [path.name for path in new.leftovers()] == ["db.key"]
    new.drop_first_form()
    assert not new.leftovers()


@pytest.fixture
def rootless(keyring: Keyring, tmp_path: Path) -> Path:
    """The directory of a keyring that was made before keyrings held roots; byte for byte, `roots` is not in it."""
    data = json.loads(keystore.encode(keyring.store))
    del data["roots"]
    files.write_directory_once(tmp_path / "rootless", {keystore.STORE: json.dumps(data).encode()}, mode=0o600)
    return tmp_path / "rootless"


def test_a_keyring_has_a_root_from_its_making_on(keyring: Keyring, locked: Path) -> None:
    assert len(keyring.roots) == 1
    assert keyring.founded() is keyring
    assert len(Keyring.open(locked).founded().roots) == 1, "nobody is asked for a passphrase"


def test_an_older_keyring_gets_its_root_once_and_for_good(rootless: Path) -> None:
    first, second = Keyring.open(rootless), Keyring.open(rootless)
    assert first.roots == ()
    made = first.founded()
    assert len(made.roots) == 1
    assert second.founded().roots == Keyring.open(rootless).roots == made.roots
    assert (rootless / keystore.STORE).stat().st_mode & 0o777 == 0o600


def test_an_older_keyring_whose_root_keys_are_rotated_begins_with_the_new_ones(rootless: Path) -> None:
    new = Keyring.open(rootless).rotate("tuf-root")
    assert len(new.roots) == 1
    assert new.tuf_signers("root").signers[0].public_key.keyid in new.roots[0].decode()


def test_only_tuf_roles_move_the_chain_and_a_new_passphrase_keeps_it(own: Keyring) -> None:
    assert own.rotate("db").roots == own.roots
    new = own.rotate("tuf-snapshot")
    assert new.roots[:1] == own.roots
    assert len(new.roots) == 2
    assert new.locked_with(PASSPHRASE).roots == new.roots
    assert Keyring.open(own.directory).roots == new.roots


def test_a_change_goes_on_from_what_another_process_wrote(own: Keyring) -> None:
    stale = Keyring.open(own.directory)
    own.rotate("db")
    stale.rotate("tuf-root")
    after = Keyring.open(own.directory)
    assert (len(after.certificates("db")), len(after.roots)) == (2, 2)


def test_the_first_form_has_no_root_until_it_is_upgraded(keyring: Keyring, tmp_path: Path) -> None:
    write_first_form(keyring, tmp_path)
    with pytest.raises(OldKeyringError):
        Keyring.open(tmp_path).founded()
    assert len(Keyring.open(tmp_path).locked_with(None).roots) == 1
    assert len(Keyring.open(tmp_path).roots) == 1
