"""A server that was burnt with any root of the keyring takes what is published later, whatever was rotated since."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from tuf.api.metadata import Metadata

from flashvisor.errors import KeyringDamagedError, TooFewSignaturesError
from flashvisor.host import files
from flashvisor.model.release import Memory
from flashvisor.trust import keystore
from flashvisor.trust.keyring import Keyring
from flashvisor.trust.roles import TUF, TUF_ROLES
from flashvisor.trust.rootchain import next_root, parse_root
from sim.releasekit import NOW, publish, repository, take

if TYPE_CHECKING:
    from pathlib import Path

SEVERAL = (3, 2)  # keys of the root, and how many must sign
PASSPHRASE = b"correct horse battery"


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tmp_path_factory.mktemp("several") / "keys"
    return keystore.encode(Keyring.create(directory, "Owner Ltd", root_keys=SEVERAL).store)


@pytest.fixture
def own(several: bytes, tmp_path: Path) -> Keyring:
    """A keyring whose root has several keys, the test's to change."""
    files.write_directory_once(tmp_path / "keys", {keystore.STORE: several}, mode=0o600)
    return Keyring.open(tmp_path / "keys")


def burnt(keyring: Keyring) -> Memory:
    """What the flash of a server knows that is burnt now."""
    return Memory(root=keyring.roots[-1])


def test_a_server_burnt_before_the_first_publication_takes_it(own: Keyring, tmp_path: Path) -> None:
    memory = burnt(own)
    publish(tmp_path / "releases", own, "1.0")
    verdict = take(tmp_path / "releases", memory)
    assert (verdict.manifest.version, verdict.memory.root) == ("1.0", (tmp_path / "releases/1.root.json").read_bytes())


ROTATIONS = [["root"], ["targets"], ["snapshot"], ["timestamp"], ["root", "targets", "root", "root"], [*TUF_ROLES] * 2]


@pytest.mark.parametrize("roles", ROTATIONS, ids=" ".join)
def test_servers_of_every_age_follow_rotated_keys(own: Keyring, tmp_path: Path, roles: list[str]) -> None:
    directory, memories = tmp_path / "releases", [burnt(own)]
    publish(directory, own, "1.0")
    memories.append(take(directory, burnt(own)).memory)
    keyring = own
    for role in roles:
        keyring = keyring.rotate(f"{TUF}{role}")
        memories.append(burnt(keyring))
    assert [parse_root(root).version for root in keyring.roots] == list(range(1, len(roles) + 2))
    for version in ("1.1", "1.2"):
        publish(directory, keyring, version)
        for memory in memories:
            verdict = take(directory, memory)
            assert (verdict.manifest.version, verdict.memory.root) == (version, keyring.roots[-1])


def test_servers_burnt_before_a_rotation_before_the_first_publication(own: Keyring, tmp_path: Path) -> None:
    keyring = own.rotate("tuf-root").rotate("tuf-targets")
    publish(tmp_path / "releases", keyring, "1.0")
    assert take(tmp_path / "releases", burnt(own)).manifest.version == "1.0"


def test_refreshing_is_enough_after_a_rotation(own: Keyring, tmp_path: Path) -> None:
    publish(tmp_path / "releases", own, "1.0")
    memory = take(tmp_path / "releases", burnt(own)).memory
    repository(tmp_path / "releases", own.rotate("tuf-targets")).refresh(NOW)
    verdict = take(tmp_path / "releases", memory)
    assert (verdict.manifest.version, verdict.memory.targets) == ("1.0", memory.targets + 1)
    assert verdict.memory.root != memory.root


def test_a_key_that_was_rotated_out_signs_nothing_that_is_published(own: Keyring, tmp_path: Path) -> None:
    rotated = own.rotate("tuf-timestamp")
    stale = Keyring(own.directory, replace(own.store, roots=rotated.store.roots))
    with pytest.raises(TooFewSignaturesError, match="timestamp"):
        publish(tmp_path / "releases", stale, "1.0")
    assert not list(tmp_path.glob("releases/*.json"))


def test_the_keys_that_sign_a_root_are_those_of_the_one_before_and_its_own(own: Keyring) -> None:
    ids = [{signer.public_key.keyid for signer in own.tuf_signers("root").signers}]
    keyring = own
    for _ in range(2):
        keyring = keyring.rotate("tuf-root")
        ids.append({signer.public_key.keyid for signer in keyring.tuf_signers("root").signers})
    signed_by = [set(Metadata.from_bytes(root).signatures) for root in keyring.roots]
    assert signed_by == [ids[0], ids[0] | ids[1], ids[1] | ids[2]]
    assert {parse_root(root).roles["root"].threshold for root in keyring.roots} == {2}


def test_a_root_without_enough_of_the_old_keys_is_not_made(own: Keyring, stranger: Keyring) -> None:
    old = own.tuf_signers("root").signers
    with pytest.raises(TooFewSignaturesError):
        next_root(own.roots, stranger.tuf_keys(), old[:1], NOW)
    assert parse_root(next_root(own.roots, stranger.tuf_keys(), old[:2], NOW)).version == 2


def test_damaged_roots_are_the_keyrings_damage() -> None:
    with pytest.raises(KeyringDamagedError, match="root metadata"):
        parse_root(b"{}")


def test_an_encrypted_keyring_makes_the_next_root_under_its_passphrase(tmp_path: Path) -> None:
    Keyring.create(tmp_path / "keys", "Owner Ltd", passphrase=PASSPHRASE)
    asked: list[str] = []

    def ask() -> bytes:
        asked.append("passphrase")
        return PASSPHRASE

    keyring = Keyring.open(tmp_path / "keys", ask).rotate("tuf-root")
    assert len(keyring.roots) == 2
    publish(tmp_path / "releases", keyring, "1.0")
    assert asked == ["passphrase"]
