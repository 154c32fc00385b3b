"""What travels between the CLI and a server about its flash: slots, updates, new devices, wear. Sizes are bytes."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from flashvisor.api.message import ErrorReport, Message
from flashvisor.model.record import PROBATION_LIMIT

LATEST = 253_402_300_799  # seconds since 1970 UTC: the end of the year 9999, which is as far as dates go
HEALTH_URL = r"^(https?://[^\s/]\S*)?$"

HealthUrl = Annotated[str, Meta(pattern=HEALTH_URL, max_length=2000)]


class FlashReport(Message, frozen=True, kw_only=True):
    """The wear of a server's flash device, in bytes.

    Args:
        written: What flashvisor wrote over the device's life; the same by cause, and by day and cause.
        by_cause: See `written`.
        by_day: Of the last days only.
        worn: An estimate of what the device erased for it.
        amplification: An estimate: bytes erased for each byte written; None while nothing was written.
        booked_since_boot: What flashvisor wrote since boot.
        counted_since_boot: What the kernel counted for the whole device; None while a slot is being written.
        today: What was written today (UTC).
        daily_budget: More than that in a day is told as a problem.
        forecast: When the device wears out, and what that is based on, in plain words.
        lasts_until: The same as a date (ISO 8601), "" if it is too far away to name.
        device: What kind of device it is.
        health: What it says of itself, in plain words.
        used: The share of its life that it says is used up, 0 to 1; None if it does not say.
    """

    written: int
    by_cause: dict[str, int]
    by_day: dict[str, dict[str, int]]
    worn: int
    amplification: float | None
    booked_since_boot: int
    counted_since_boot: int | None
    today: int
    daily_budget: int
    forecast: str
    lasts_until: str
    device: str
    health: str
    used: float | None = None


class UpdateRequest(Message, frozen=True, kw_only=True):
    """Which release a server shall take, and from where. The first message of an update.

    Args:
        name: Of the release.
        version: "" for the newest.
        flavour: Of the hypervisor; "" for the one that runs.
        force: Also a release that failed on this server before.
        told: The owner's clock, in seconds since 1970 UTC.
        url: Where the server fetches it; "" for a push over this connection.
        probation: Seconds that the release has to show that it is healthy.
        health_url: Whose answer counts as the owner's reaching the server; "" for none.
    """

    name: str = "flashvisor"
    version: str = ""
    flavour: str = ""
    force: bool = False
    told: Annotated[float, Meta(ge=0, le=LATEST)]
    url: str = ""
    probation: Annotated[float, Meta(gt=0, le=PROBATION_LIMIT)] = 600.0
    health_url: HealthUrl = ""


class Installed(Message, frozen=True, kw_only=True):
    """A release in its slot, just before the server restarts into it.

    `image` is the SHA-256 of flashvisor.efi; `downloaded` are bytes that came over the network, `reused` bytes of the
    image that the server had already. `already`: it is what runs, and nothing was done.
    """

    version: str
    image: str
    downloaded: int = 0
    reused: int = 0
    already: bool = False


class UpdateStep(Message, frozen=True, kw_only=True, omit_defaults=True):
    """What a server says during an update: one of these at a time.

    `want` is a path in the repository: it is answered by one binary message with at most `limit` + 1 bytes, or by an
    empty text message if there is no such file. `progress` says what is going on, `done` of `total` bytes; 0: unknown.
    `writes` is what the slot is written with from now on: it is tried even if the connection ends.
    """

    want: str = ""
    limit: Annotated[int, Meta(ge=0)] = 0
    progress: str = ""
    done: int = 0
    total: int = 0
    writes: Installed | None = None
    error: ErrorReport | None = None
    installed: Installed | None = None


class SlotReport(Message, frozen=True, kw_only=True):
    """Slot a or b. `intact` says whether it holds the bytes that were verified; None where nobody has read it."""

    slot: str
    state: str
    version: str
    image: str
    running: bool
    first: bool
    intact: bool | None = None
    reason: str = ""


class FailedReport(Message, frozen=True, kw_only=True):
    """A release that failed its trial: SHA-256 of its image, version, why, and when (seconds since 1970 UTC)."""

    image: str
    version: str
    reason: str
    when: float


class SlotsReport(Message, frozen=True, kw_only=True):
    """The slots of flash. `trial` is the slot on trial, "" if none, and `waits_for` what it still has to show."""

    running: str
    committed: str
    recovery: bool
    trial: str = ""
    waits_for: tuple[str, ...] = ()
    slots: tuple[SlotReport, ...]
    failed: tuple[FailedReport, ...]


class RollbackRequest(Message, frozen=True, kw_only=True):
    """How the other slot's image is tried: seconds that it has, and a URL that is to answer ("": the owner is)."""

    probation: Annotated[float, Meta(gt=0, le=PROBATION_LIMIT)] = 600.0
    health_url: HealthUrl = ""


class FactoryResetRequest(Message, frozen=True, kw_only=True):
    """Whether the site stays."""

    keep_site: bool


class Medium(Message, frozen=True, kw_only=True):
    """A disk of the server as a flash device to be: size in bytes. `refusal` says why it is not taken, "" if it is."""

    name: str
    serial: str
    model: str
    size: int
    removable: bool
    refusal: str = ""


class BurnReport(Message, frozen=True, kw_only=True):
    """What was burned and read back. `in_use`: it is the server's flash now; `notes` in plain words what is to know."""

    device: str
    size: int
    sha256: str
    in_use: bool
    notes: tuple[str, ...] = ()


class BurnNews(Message, frozen=True, kw_only=True):
    """One line of a burn's answer: bytes more that were read back and compared, or its end, good or bad."""

    compared: int = 0
    done: BurnReport | None = None
    error: ErrorReport | None = None
