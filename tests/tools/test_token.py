"""Keys on a PKCS#11 token: SoftHSM, through the library and the engine that a real token is reached through."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from flashvisor.cli.main import run as flashvisor
from flashvisor.errors import (
    FlashvisorError,
    NotOnTokenError,
    TokenKeyMissingError,
    TokenLibraryError,
    TokenMissingError,
    TokenRefusedError,
    TokenUriError,
    WrongPinError,
)
from flashvisor.flash.chunks import cut
from flashvisor.host import sbsign
from flashvisor.host.files import sha256_file
from flashvisor.host.run import run
from flashvisor.image.countersign import countersign
from flashvisor.model.release import Memory
from flashvisor.trust import authenticode, certificates, publickeys, secureboot
from flashvisor.trust.keymaker import OnToken
from flashvisor.trust.keyring import Keyring
from flashvisor.trust.repository import Repository
from flashvisor.trust.roles import TOKEN_ROLES
from flashvisor.trust.token import Token
from flashvisor.trust.tokenkeys import Kind, TokenEd25519Key, TokenRsaKey
from flashvisor.trust.tokenuri import parse
from tools.test_countersign import unified
from tools.test_sbsign import sign, verify
from tools.test_secureboot_tools import verify as verify_variable
from unit.trust import test_updates as updates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.tools

NOW = datetime(2026, 11, 24, tzinfo=UTC)
LIBRARY = "/usr/lib/softhsm/libsofthsm2.so"
SETTINGS = "SOFTHSM2_CONF"
PIN = "12 $34#'x"
NAME = "Owner ; Ltd"
URI = f"pkcs11:token=Owner%20%3B%20Ltd?module-path={LIBRARY}"


def no_passphrase() -> bytes:
    raise AssertionError("no private key in the keyring's file is needed")


def pin(_: str) -> bytes:
    return PIN.encode()


@pytest.fixture(scope="module")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three tokens. SoftHSM reads its settings and looks for tokens once, when a process loads it first."""
    place = tmp_path_factory.mktemp("softhsm")
    (place / "tokens").mkdir()
    config = place / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {place / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    os.environ[SETTINGS] = str(config)
    for name in (NAME, "Twin", "Twin"):
        run(["softhsm2-util", "--init-token", "--free", "--label", name, "--pin", PIN, "--so-pin", "43214321"])
    yield place
    del os.environ[SETTINGS]


def objects() -> int:
    """Returns how many objects lie on the token."""
    with Token(parse(URI), pin)._session() as session:
        return len(list(session.get_objects()))


def on_token(*roles: str, uri: str = URI, answer: Callable[[str], bytes] = pin) -> OnToken:
    return OnToken(Token(parse(uri), answer), frozenset(roles))


@pytest.fixture(scope="module")
def held(softhsm: Path) -> Keyring:
    """A keyring with every key on the token that can be there, opened anew; the rest under a passphrase."""
    return make(softhsm / "keys")


def make(directory: Path) -> Keyring:
    Keyring.create(directory, "Owner Ltd", passphrase=b"correct horse battery", place=on_token(*TOKEN_ROLES))
    return Keyring.open(directory, no_passphrase, pin)


def test_private_keys_are_on_the_token_alone(held: Keyring) -> None:
    kept = json.loads((held.directory / "keyring.json").read_bytes())["keys"]
    assert {key["role"] for key in kept if key["private"]} == {"admin", "modules"}
    assert {key["role"] for key in kept if "token" in key} == set(TOKEN_ROLES)
    assert objects() == 2 * len(TOKEN_ROLES)
    token = Token(parse(URI), pin)
    with token._session() as session:
        from pkcs11 import Attribute, ObjectClass

        found = list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY}))
        assert {(key[Attribute.SENSITIVE], key[Attribute.EXTRACTABLE]) for key in found} == {(True, False)}
    for role in ("db", "tuf-root"):
        with pytest.raises(NotOnTokenError):
            held.pair(role)


def test_an_image_is_signed(held: Keyring, stranger: Keyring, tmp_path: Path) -> None:
    image, signed = unified(tmp_path / "plain.efi"), tmp_path / "signed.efi"
    done = countersign(image, signed, held, sha256=sha256_file(image))
    assert done.after == ("/O=Owner Ltd/CN=flashvisor db",)
    (tmp_path / "db.pem").write_bytes(held.certificate("db"))
    (tmp_path / "other.pem").write_bytes(stranger.certificate("db"))
    sbsign.verify(signed, tmp_path / "db.pem")
    with pytest.raises(FlashvisorError, match="is not signed by"):
        sbsign.verify(signed, tmp_path / "other.pem")


def test_a_signature_made_anew_with_its_own_key_is_the_same_byte_for_byte(keyring: Keyring, tmp_path: Path) -> None:
    image, signature = unified(tmp_path / "plain.efi"), tmp_path / "signature"
    with keyring.unlocked("db") as files:
        sbsign.sign_detached(image, signature, key=files.key, cert=files.cert)
    data = signature.read_bytes()
    assert authenticode.resigned(data, keyring.signing("db")) == data
    assert authenticode.resigned(data, keyring.signing("KEK")) != data


def test_the_tokens_signature_stands_beside_another(held: Keyring, stranger: Keyring, tmp_path: Path) -> None:
    foreign, both = tmp_path / "foreign.efi", tmp_path / "both.efi"
    sign(unified(tmp_path / "plain.efi"), foreign, stranger)
    done = countersign(foreign, both, held, sha256=sha256_file(foreign))
    assert done.after == ("/O=Stranger Ltd/CN=flashvisor db", "/O=Owner Ltd/CN=flashvisor db")
    verify(both, stranger)


def test_secure_boots_variables_are_signed(held: Keyring, tmp_path: Path) -> None:
    for payload in secureboot.enrolment(held, NOW):
        verify_variable(tmp_path, payload.data, held.certificate("PK"), payload.name)
    assert {"db.auth", "tuf-root.pub"} <= set(publickeys.export(held, NOW))


def test_a_release_is_published_that_servers_take(held: Keyring, tmp_path: Path) -> None:
    release, image = updates.manifest("1.0")
    Repository(tmp_path / "repository", held.tuf_keys(), held.roots).publish(release, cut(image), NOW)
    sim = updates.read(tmp_path / "repository")
    verdict = updates.run(sim, Memory(root=sim.files["1.root.json"]))
    assert verdict.manifest == release


def test_the_ca_issues_what_tls_takes(held: Keyring, tmp_path: Path) -> None:
    (tmp_path / "node.pem").write_bytes(held.issue_node("alpha").cert_pem)
    (tmp_path / "ca.pem").write_bytes(held.ca_pem)
    run(["openssl", "verify", "-x509_strict", "-CAfile", tmp_path / "ca.pem", tmp_path / "node.pem"])


def test_rotated_keys_stay_on_the_token_and_vouch_for_their_successors(softhsm: Path, tmp_path: Path) -> None:
    del softhsm
    old = make(tmp_path / "keys")
    new = old.rotate("PK").rotate("tuf-root").rotate("db")
    update = secureboot.platform_key_update(new, NOW)
    assert update is not None
    verify_variable(tmp_path, update.data, old.certificate("PK"), "PK")
    release, image = updates.manifest("1.0")
    Repository(tmp_path / "repository", old.tuf_keys(), old.roots).publish(release, cut(image), NOW)
    Repository(tmp_path / "repository", new.tuf_keys(), new.roots).refresh(NOW)
    sim = updates.read(tmp_path / "repository")
    assert updates.run(sim, Memory(root=sim.files["1.root.json"])).memory.root == sim.files["2.root.json"]
    retired = [key for key in new.store.keys if key.role == "db" and key.state == "retired"]
    assert [key.token for key in retired] == [None]


def test_a_role_moves_onto_the_token_and_takes_a_key_that_is_there(softhsm: Path, tmp_path: Path) -> None:
    del softhsm
    words = b"correct horse battery"
    Keyring.create(tmp_path / "keys", "Owner Ltd", passphrase=words, root_keys=(2, 2))
    keyring = Keyring.open(tmp_path / "keys", no_passphrase, pin)
    moved = keyring.rotate("db", on_token("db"))
    assert moved.on_token("db")
    token = Token(parse(URI), pin)
    label = tmp_path.name
    made, key = token.make(Kind.RSA, label)
    taken = moved.rotate(
        "db", on_token("db", uri=f"pkcs11:token=Owner%20%3B%20Ltd;object={label}?module-path={LIBRARY}")
    )
    assert certificates.public_key(taken.certificate("db")) == key.public_key()
    assert taken.active("db")[0].token == str(made)
    assert taken.rotate("KEK", on_token("KEK", uri=str(made))).on_token("KEK")
    refusals = (
        (("tuf-targets",), str(made), TokenRefusedError, "not of the kind"),
        (("tuf-root",), str(made), TokenUriError, "several are needed"),
        (
            ("ca",),
            f"pkcs11:token=Owner%20%3B%20Ltd;object=absent?module-path={LIBRARY}",
            TokenKeyMissingError,
            "absent",
        ),
        (("modules",), URI, NotOnTokenError, "the kernel's build"),
    )
    before = (tmp_path / "keys/keyring.json").read_bytes()
    for roles, uri, error, said in refusals:
        with pytest.raises(error, match=said):
            taken.rotate(roles[0], on_token(*roles, uri=uri))
    assert (tmp_path / "keys/keyring.json").read_bytes() == before


def test_p11_kit_finds_the_library(softhsm: Path) -> None:
    del softhsm
    Token(parse(URI.partition("?")[0]), pin).check(*Kind)


def test_a_wrong_pin_is_tried_once(held: Keyring, tmp_path: Path) -> None:
    asked: list[str] = []

    def wrong(token: str) -> bytes:
        asked.append(token)
        return b"99999999"

    keyring = Keyring.open(held.directory, no_passphrase, wrong)
    with pytest.raises(WrongPinError, match=f"the token '{NAME}' refused the PIN"):
        secureboot.release(keyring, NOW)
    image = unified(tmp_path / "plain.efi")
    with pytest.raises(WrongPinError):
        countersign(image, tmp_path / "signed.efi", keyring, sha256=sha256_file(image))
    assert asked == [f"the token '{NAME}'"]
    forgetful = Token(parse(URI), lambda _: next(answers))
    answers = iter([b"99999999", PIN.encode()])
    for _ in range(2):
        with pytest.raises(WrongPinError):
            forgetful.check()
    assert not (tmp_path / "signed.efi").exists()
    with pytest.raises(WrongPinError):
        Keyring.create(tmp_path / "keys", "Owner Ltd", place=on_token("db", answer=wrong))
    assert not (tmp_path / "keys").exists()


def test_a_token_that_is_not_there(held: Keyring, tmp_path: Path) -> None:
    absent = on_token("db", uri=f"pkcs11:token=Elsewhere?module-path={LIBRARY}")
    with pytest.raises(TokenMissingError, match="'Elsewhere' is not there"):
        Keyring.create(tmp_path / "keys", "Owner Ltd", place=absent)
    with pytest.raises(TokenMissingError, match="2 tokens fit"):
        Token(parse(f"pkcs11:token=Twin?module-path={LIBRARY}"), pin).check()
    uri, key = Token(parse(URI), pin).make(Kind.ED25519, "flashvisor test")
    assert isinstance(key, TokenEd25519Key)
    assert len(key.sign(b"data")) == 64
    before = objects()
    Token(parse(URI), pin).destroy(str(uri))
    assert objects() == before - 2
    with pytest.raises(TokenKeyMissingError, match="does not hold the key"):
        key.sign(b"data")
    del held


def test_a_token_with_another_key_of_that_name(held: Keyring, stranger: Keyring) -> None:
    key = next(key for key in held.store.keys if key.role == "db")
    assert key.token is not None
    foreign = Token(parse(URI), pin).key(parse(key.token), certificates.public_key(stranger.certificate("db")))
    assert isinstance(foreign, TokenRsaKey)
    with pytest.raises(TokenKeyMissingError, match="holds another key"):
        certificates.signer_certificate(foreign, "db", "Owner Ltd", certificates.Purpose.SECURE_BOOT, NOW)


def test_a_library_that_is_missing_or_is_none(softhsm: Path, tmp_path: Path) -> None:
    del softhsm
    for library in ("/usr/lib/absent.so", "/usr/lib/x86_64-linux-gnu/libz.so.1"):
        place = on_token("db", uri=f"pkcs11:token=Owner?module-path={library}")
        with pytest.raises(TokenLibraryError, match=library):
            Keyring.create(tmp_path / "keys", "Owner Ltd", place=place)


def test_what_fails_halfway_leaves_nothing_on_the_token(softhsm: Path, tmp_path: Path) -> None:
    del softhsm
    before = objects()

    class Full(Token):
        """A token that is full after two keys."""

        left = 2

        def make(self, kind: Kind, label: str):  # type: ignore[no-untyped-def] # noqa: ANN202
            if not self.left:
                raise TokenRefusedError("the token is full")
            self.left -= 1
            return super().make(kind, label)

    with pytest.raises(TokenRefusedError, match="full"):
        Keyring.create(tmp_path / "keys", "Owner Ltd", place=OnToken(Full(parse(URI), pin), frozenset(TOKEN_ROLES)))
    assert objects() == before
    assert not (tmp_path / "keys").exists()


def test_the_command_line(
    softhsm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del softhsm
    (tmp_path / "pin").write_text(f"{PIN}\n")
    (tmp_path / "words").write_text("correct horse battery\n")
    monkeypatch.setenv("FLASHVISOR_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("FLASHVISOR_PIN_FILE", str(tmp_path / "pin"))
    monkeypatch.setenv("FLASHVISOR_PASSPHRASE_FILE", str(tmp_path / "words"))
    assert flashvisor(["keys", "init", "--owner", "Owner Ltd", "--token", URI, "--json"]) == 0
    keys = json.loads(capsys.readouterr().out)["keys"]
    places = {key["role"]: key["place"].partition(";")[0] for key in keys}
    token = "pkcs11:token=Owner%20%3B%20Ltd"
    there = dict.fromkeys(("PK", "KEK", "db", "tuf-root", "tuf-targets"), token)
    assert places == dict.fromkeys(("ca", "admin", "modules", "tuf-snapshot", "tuf-timestamp"), "keyring") | there
    assert flashvisor(["keys", "backup", str(tmp_path / "backup")]) == 0
    assert "Not in a backup: private keys on a token (KEK, PK, db, tuf-root, tuf-targets)" in capsys.readouterr().err
    (tmp_path / "keys").rename(tmp_path / "lost")
    assert flashvisor(["keys", "restore", str(tmp_path / "backup")]) == 0
    assert "Not in a backup" in capsys.readouterr().err
    image = unified(tmp_path / "plain.efi")
    assert flashvisor(["sign", str(image), "--sha256", sha256_file(image)]) == 0
    assert "CN=flashvisor db" in capsys.readouterr().out
    assert flashvisor(["keys", "rotate", "KEK"]) == 0
    assert "The old private key is still on its token" in capsys.readouterr().out
    assert flashvisor(["keys", "rotate", "PK"]) == 0
    assert "still on its token" not in capsys.readouterr().out
    assert flashvisor(["keys", "passphrase", "--unencrypted"]) == 0
    shown = capsys.readouterr().out
    assert "Keys on a token apart" in shown
    assert shown.count("\npkcs11:token=Owner") == len(there) + 1
    monkeypatch.delenv("FLASHVISOR_PIN_FILE")
    assert flashvisor(["sign", str(image), "--sha256", sha256_file(image)]) == 6
    assert "FV-TRUST-040: the PIN of the token" in capsys.readouterr().err
