"""What a new flash device remembers: this server's records, and the image's slots."""

from __future__ import annotations

import msgspec
import pytest

from flashvisor.errors import LayoutError
from flashvisor.flash.carryover import carry_over, contents, copy, differences
from flashvisor.flash.ramdevice import RamDevice
from flashvisor.flash.ring import Ring
from flashvisor.model.record import (
    Boot,
    Config,
    Confirm,
    FailedRelease,
    Identity,
    RecordKind,
    SlotNote,
    Slots,
    Wear,
    decode,
    encode,
    kind_of,
)
from flashvisor.model.slot import Slot, SlotState

SIZE = 4 << 20  # bytes
ALPHA = Identity(node_name="alpha", owner_ca_pem="ca", node_cert_pem="cert", node_key_pem="key")
BETA = msgspec.structs.replace(ALPHA, node_name="beta", node_key_pem="other key")
FAILED = FailedRelease(image="f" * 64, version="2", reason="it hung", when=5.0)
OLD_SLOTS = Slots(when=1.0, committed=Slot.B, b=SlotNote(state=SlotState.COMMITTED, sha256="b" * 64), failed=(FAILED,))
NEW_SLOTS = Slots(when=0.0, committed=Slot.A, a=SlotNote(state=SlotState.COMMITTED, sha256="a" * 64))
LATER_KIND = 77


def ring_of(*payloads: Identity | Config | Confirm | Boot | Slots | Wear) -> Ring:
    ring = Ring.open(RamDevice(SIZE))
    for payload in payloads:
        ring.append(kind_of(payload), encode(payload), cause="test")
    return ring


def config(generation: int) -> Config:
    return Config(generation=generation, when=1.0, who="anna", site_toml="schema = 1")


def mine() -> Ring:
    ring = ring_of(ALPHA, ALPHA, OLD_SLOTS, config(1), Confirm(generation=1), config(2), Wear(bytes_written=9))
    ring.append(LATER_KIND, b"of a later version", cause="test")
    ring.append(RecordKind.BOOT, encode(Boot(when=1.0, image_id="x", version="0")), cause="boot")
    return ring


def test_all_that_the_server_remembers_goes_over_in_its_order() -> None:
    before, device = mine(), RamDevice(SIZE)
    carry_over(before, ring_of(BETA, NEW_SLOTS), device)
    after = Ring.open(device)
    assert after.lost == ()
    of_the_device = (RecordKind.SLOTS, RecordKind.WEAR)
    assert [row for row in contents(after) if row[0] != RecordKind.SLOTS] == [
        row for row in contents(before) if row[0] not in of_the_device
    ]
    assert len(after.records(RecordKind.IDENTITY)) == 2


def test_the_slots_are_the_images_and_what_failed_here_stays_known() -> None:
    after = carry_over(mine(), ring_of(BETA, NEW_SLOTS), RamDevice(SIZE))
    newest = after.latest(RecordKind.SLOTS)
    assert newest is not None
    assert decode(newest.payload, Slots) == msgspec.structs.replace(NEW_SLOTS, failed=(FAILED,))
    assert len(after.records(RecordKind.SLOTS)) == 1


def test_an_image_without_slots_is_refused() -> None:
    with pytest.raises(LayoutError, match="what its slots hold"):
        carry_over(mine(), ring_of(BETA), RamDevice(SIZE))


def test_another_node_name_and_owner_are_told() -> None:
    stranger = msgspec.structs.replace(BETA, owner_ca_pem="another")
    assert differences(mine(), ring_of(ALPHA)) == ()
    assert differences(mine(), ring_of(BETA)) == ("the image was made for 'beta'; this server stays 'alpha'",)
    assert len(differences(mine(), ring_of(stranger))) == 2


def test_a_copy_remembers_the_same() -> None:
    device = RamDevice(SIZE)
    copy(mine(), device)
    assert contents(Ring.open(device)) == contents(mine())


def test_a_ring_goes_on_as_another() -> None:
    ring, device = mine(), RamDevice(SIZE)
    new = carry_over(ring, ring_of(BETA, NEW_SLOTS), device)
    ring.continue_as(new)
    assert contents(ring) == contents(new)
    assert (ring.bytes_written, ring.lost) == (new.bytes_written, ())
