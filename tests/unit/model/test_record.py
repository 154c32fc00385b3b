"""Payloads of state records."""

from __future__ import annotations

import pytest

from flashvisor.errors import RecordFormatError
from flashvisor.model.record import (
    KINDS,
    Boot,
    Config,
    Confirm,
    FailedRelease,
    Identity,
    ImageEntry,
    Payload,
    RecordKind,
    SlotNote,
    Slots,
    Wear,
    claim,
    decode,
    encode,
    kind_of,
)
from flashvisor.model.release import Memory
from flashvisor.model.slot import Slot, SlotState

SHA = "ab" * 32
IDENTITY = Identity(node_name="alpha", owner_ca_pem="ca", node_cert_pem="cert", node_key_pem="key")
CONFIG = Config(
    generation=3, when=1.5, who="admin", site_toml="schema = 1\n",
    images={"hello": ImageEntry(sha256=SHA, size=7, kind="appliance")},
)  # fmt: skip


@pytest.mark.parametrize(
    "payload",
    [
        IDENTITY,
        CONFIG,
        Confirm(generation=3),
        Boot(when=1.0, image_id="kvm-1", version="0.1.0", slot="a", ready_s=8.25),
        Wear(bytes_written=4096, by_cause={"boot": 4096}),
        Memory(root=b"{}\xff", timestamp=3, release="1.2"),
        Slots(
            when=2.0,
            committed=Slot.B,
            a=SlotNote(),
            b=SlotNote(state=SlotState.COMMITTED, sha256=SHA, image=SHA, version="1.2", deaths=1),
            failed=(FailedRelease(image=SHA, version="1.1", reason="panic", when=1.0),),
        ),
    ],
)
def test_every_payload_goes_and_comes_back(payload: Payload) -> None:
    assert decode(encode(payload), type(payload)) == payload
    assert KINDS[type(payload)] is kind_of(payload)


def test_every_kind_has_a_payload() -> None:
    assert set(KINDS.values()) == set(RecordKind)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"generation":0}',
        b'{"generation":"3"}',
        b'{"generation":3,"more":1}',
        b'{"generation":3}\xff',
    ],
)
def test_a_wrong_payload_is_our_error(data: bytes) -> None:
    with pytest.raises(RecordFormatError, match="CONFIRM"):
        decode(data, Confirm)


def test_an_image_needs_a_digest() -> None:
    with pytest.raises(RecordFormatError) as caught:
        decode(encode(CONFIG).replace(SHA.encode(), b"short"), Config)
    assert "sha256" in caught.value.evidence


def test_generations_are_read_from_later_versions_too() -> None:
    found = claim(b'{"generation":4,"confirmed":true,"colour":"blue"}')
    assert found is not None
    assert (found.generation, found.confirmed) == (4, True)
    assert claim(b"nonsense") is None
