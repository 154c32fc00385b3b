"""What a server's flash holds besides its images: who it is, and which root its updates are verified by. Twice each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from flashvisor.flash.layout import STATE
from flashvisor.flash.ring import Ring
from flashvisor.host import files
from flashvisor.host.block import BlockFile
from flashvisor.image.flashfile import flash_image
from flashvisor.model.record import RecordKind, decode
from flashvisor.model.release import Memory
from flashvisor.node.state import NodeState
from flashvisor.trust import keystore
from flashvisor.trust.keyring import Keyring
from sim.nodekit import uki
from sim.releasekit import publish, take
from unit.trust.firstform import write_first_form

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.tools


def burn(keyring: Keyring, tmp_path: Path) -> tuple[NodeState, list[bytes]]:
    """Returns what a server with this owner's flash remembers, and the payloads of its TRUST records."""
    efi = tmp_path / "flashvisor.efi"
    efi.write_bytes(uki())
    path = flash_image(efi, tmp_path / "flash.img", keyring, "alpha")
    with BlockFile(path, offset=STATE.start, length=STATE.size) as device:
        ring = Ring.open(device)
        return NodeState(ring), [item.payload for item in ring.records(RecordKind.TRUST)]


def test_the_burnt_root_verifies_what_is_published_later(keyring: Keyring, tmp_path: Path) -> None:
    data = json.loads(keystore.encode(keyring.store))
    del data["roots"]
    files.write_directory_once(tmp_path / "keys", {keystore.STORE: json.dumps(data).encode()}, mode=0o600)
    state, payloads = burn(Keyring.open(tmp_path / "keys"), tmp_path)
    owner = Keyring.open(tmp_path / "keys")
    assert [decode(payload, Memory) for payload in payloads] == [Memory(root=owner.roots[-1])] * 2
    publish(tmp_path / "releases", owner.rotate("tuf-root"), "1.0")
    memory = state.trust()
    assert memory
    assert take(tmp_path / "releases", memory).manifest.version == "1.0"
    assert state.identity()


def test_a_keyring_of_the_first_form_still_burns(keyring: Keyring, tmp_path: Path) -> None:
    write_first_form(keyring, tmp_path / "old")
    state, payloads = burn(Keyring.open(tmp_path / "old"), tmp_path)
    assert (state.trust(), payloads) == (None, [])
    assert state.identity()
