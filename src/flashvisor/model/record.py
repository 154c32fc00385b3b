"""What stands in the state ring: the kinds of records and the payload of each. Pure types, no I/O.

Owns the payloads' form (JSON by msgspec). Does not own how records lie in flash (flash/ring.py)::

    data = encode(Confirm(generation=7))
    ring.append(RecordKind.CONFIRM, data, cause="confirm")
    decode(ring.latest(RecordKind.CONFIRM).payload, Confirm).generation == 7
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct

from flashvisor.errors import RecordFormatError
from flashvisor.model.release import Memory
from flashvisor.model.slot import Slot, SlotState

# Seconds; the reset of units/flashvisor-probation.timer, which knows no trial, comes later.
PROBATION_LIMIT = 1000.0

Count = Annotated[int, Meta(ge=0)]
Generation = Annotated[int, Meta(ge=1)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
MaybeSha256 = Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?$")]


class RecordKind(IntEnum):
    """What a record says. The numbers stand in flash: they are never reused."""

    IDENTITY = 1
    CONFIG = 2
    CONFIRM = 3
    BOOT = 4
    WEAR = 5
    SLOTS = 6
    TRUST = 7


class _Payload(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every payload."""


class Identity(_Payload, frozen=True, kw_only=True):
    """Who this server is, and whose. PEM texts (RFC 7468)."""

    node_name: str
    owner_ca_pem: str
    node_cert_pem: str
    node_key_pem: str


class ImageEntry(_Payload, frozen=True, kw_only=True):
    """The bytes that an image name of the site stands for; `kind` is a value of api.types.ImageKind."""

    sha256: Sha256
    size: Count
    kind: str


class Config(_Payload, frozen=True, kw_only=True):
    """A generation of the site. `when` is in seconds since 1970 UTC; `confirmed` only if it needs no Confirm."""

    generation: Generation
    when: float
    who: str
    site_toml: str
    images: dict[str, ImageEntry] = {}
    confirmed: bool = False


class Confirm(_Payload, frozen=True, kw_only=True):
    """The administrator still reached the server after this generation was applied: it stays."""

    generation: Generation


class Boot(_Payload, frozen=True, kw_only=True):
    """A boot: which image, from which slot, when (seconds since 1970 UTC), ready after how many seconds."""

    when: float
    image_id: str
    version: str
    slot: str = ""
    ready_s: float | None = None


class Wear(_Payload, frozen=True, kw_only=True):
    """Bytes written to flash over its life, booked to what caused them.

    Args:
        bytes_written: All of them.
        by_cause: The same by cause.
        by_day: Those of the last days, by date (UTC, "2026-11-24") and cause.
        worn: Estimate of the bytes that flash erased and programmed for them.
        ring: How many bytes the state ring had ever written when the ledger stood so, this record not among them:
            what the ring wrote since is not in it.
    """

    bytes_written: Count
    by_cause: dict[str, Count] = {}
    by_day: dict[str, dict[str, Count]] = {}
    worn: Count = 0
    ring: Count = 0


class SlotNote(_Payload, frozen=True, kw_only=True):
    """What is known of slot a or b.

    Args:
        state: Where it stands.
        sha256: Of the whole slot as it was verified; "" while nobody knows.
        image: SHA-256 of the flashvisor.efi that it holds, or is to hold; "" if none.
        version: Of that image's release.
        deaths: Starts in a row that did not become healthy, while it was committed.
        reason: Why it failed.
    """

    state: SlotState = SlotState.IDLE
    sha256: MaybeSha256 = ""
    image: MaybeSha256 = ""
    version: str = ""
    deaths: Count = 0
    reason: str = ""


class Trial(_Payload, frozen=True, kw_only=True):
    """What the image on trial has to show before it is committed.

    Args:
        guests: Those that ran before, which are to run and answer again.
        health_url: What the server is to reach; "": the owner is to reach the server.
        probation: Seconds since the kernel started, by which all of it is so.
    """

    guests: tuple[str, ...] = ()
    health_url: str = ""
    probation: Annotated[float, Meta(gt=0, le=PROBATION_LIMIT)] = 600.0


class FailedRelease(_Payload, frozen=True, kw_only=True):
    """A release that was tried and did not become healthy: SHA-256 of its image, version, why, when."""

    image: Sha256
    version: str
    reason: str
    when: float


class Slots(_Payload, frozen=True, kw_only=True):
    """Where both slots stand; each record holds all of it, so that none depends on another.

    `committed` is the slot that starts first, None where nobody knows. `failed` are releases, oldest first. `factory`
    is the SHA-256 of the image that was burnt into factory, "" where nobody knows. `trial` is of the slot on trial.
    """

    when: float
    committed: Slot | None = None
    a: SlotNote = SlotNote()
    b: SlotNote = SlotNote()
    failed: tuple[FailedRelease, ...] = ()
    factory: MaybeSha256 = ""
    trial: Trial | None = None


Payload: TypeAlias = Identity | Config | Confirm | Boot | Wear | Slots | Memory
P = TypeVar("P", bound=Struct)

KINDS: dict[type[Struct], RecordKind] = {
    Identity: RecordKind.IDENTITY,
    Config: RecordKind.CONFIG,
    Confirm: RecordKind.CONFIRM,
    Boot: RecordKind.BOOT,
    Wear: RecordKind.WEAR,
    Slots: RecordKind.SLOTS,
    Memory: RecordKind.TRUST,
}


class Claim(Struct, frozen=True):
    """What retention needs to know of a Config or Confirm, read also from versions with other fields."""

    generation: int
    confirmed: bool = False


def encode(payload: Payload) -> bytes:
    """Returns a payload as JSON."""
    return msgspec.json.encode(payload)


def kind_of(payload: Payload) -> RecordKind:
    """Returns the kind of record that carries this payload."""
    return KINDS[type(payload)]


def decode(data: bytes, form: type[P]) -> P:
    """Returns the payload that `data` holds.

    Args:
        data: JSON, as `encode` made it.
        form: The payload's class; it belongs to the record's kind (KINDS).

    Raises:
        RecordFormatError: `data` is not such a payload: another version wrote it.
    """
    try:
        return msgspec.json.decode(data, type=form)
    except msgspec.MsgspecError as error:
        raise RecordFormatError(
            f"a {KINDS[form].name} record of {len(data)} bytes is not in this version's form", evidence=str(error)
        ) from error


def claim(data: bytes) -> Claim | None:
    """Returns generation and confirmation of a Config or Confirm payload; None where they cannot be read."""
    try:
        return msgspec.json.decode(data, type=Claim)
    except msgspec.MsgspecError:
        return None
