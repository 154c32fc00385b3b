"""What travels between the CLI and a server, as JSON. Times are seconds, sizes bytes, unless a name says otherwise."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

# Guests stand below the API: the word list is the model's, and re-exported here under its old name.
from flashvisor.model.guest import GuestState as GuestState
from flashvisor.model.record import PROBATION_LIMIT

API_VERSION = 1
DEFAULT_PORT = 443
LATEST = 253_402_300_799  # seconds since 1970 UTC: the end of the year 9999, which is as far as dates go


class Message(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of everything on the wire."""


class ImageKind(StrEnum):
    """How a guest starts from an image."""

    APPLIANCE = "appliance"  # a unified kernel image (UAPI.5): kernel and root in one PE file
    DISK = "disk"  # qcow2 or raw


class Stage(Message, frozen=True, kw_only=True):
    """A boot stage and when it was reached, in seconds since the kernel started."""

    name: str
    seconds: float


class Nic(Message, frozen=True, kw_only=True):
    """A network card of the server."""

    name: str
    mac: str
    up: bool
    driver: str
    addresses: tuple[str, ...] = ()


class Disk(Message, frozen=True, kw_only=True):
    """A block device of the server. `use` is in plain words: "flash", "storage main", "empty", "foreign data"."""

    name: str
    serial: str
    model: str
    size: int
    use: str


class Protection(Message, frozen=True, kw_only=True):
    """A protection, whether it is on, and what that means for the owner."""

    name: str
    on: bool
    meaning: str


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


class NodeReport(Message, frozen=True, kw_only=True):
    """The server at a glance."""

    name: str
    version: str
    image_id: str
    hypervisor: str
    kernel: str
    uptime: float
    cpus: int
    memory: int
    memory_available: int
    site_generation: int
    unconfirmed: bool
    timeline: tuple[Stage, ...]
    nics: tuple[Nic, ...]
    disks: tuple[Disk, ...]
    protections: tuple[Protection, ...]
    problems: tuple[str, ...]
    flash_bytes_written: int
    flash: FlashReport


class GuestReport(Message, frozen=True, kw_only=True):
    """A guest at a glance. `answered` is when its first probe succeeded, in seconds since the kernel started."""

    name: str
    state: GuestState
    image: str
    cpus: int
    memory: int
    addresses: tuple[str, ...] = ()
    forwards: tuple[str, ...] = ()
    started: float | None = None
    answered: float | None = None
    restarts: int = 0
    problem: str = ""


class ImageRef(Message, frozen=True, kw_only=True):
    """The bytes that an image name of the site stands for."""

    sha256: str
    size: int
    kind: ImageKind


class ImageReport(Message, frozen=True, kw_only=True):
    """An image that the server holds."""

    sha256: str
    size: int
    kind: ImageKind
    used_by: tuple[str, ...] = ()


class ApplyRequest(Message, frozen=True, kw_only=True):
    """A site file's text, and the bytes behind its image names."""

    site_toml: str
    images: dict[str, ImageRef] = {}
    confirm_within: float = 120.0
    who: str = ""


class FirmwareWrite(Message, frozen=True, kw_only=True):
    """A signed UEFI variable as the owner made it (UEFI 2.10, 8.2.2). `guid` is its vendor, `data` base64 in JSON."""

    name: str
    guid: str
    attributes: int
    data: bytes


class EnrolRequest(Message, frozen=True, kw_only=True):
    """The owner's Secure Boot variables, in the order in which they are written: PK last."""

    writes: tuple[FirmwareWrite, ...]


class ReleaseRequest(Message, frozen=True, kw_only=True):
    """The signed write that takes PK out of the firmware."""

    write: FirmwareWrite


class EnrolReport(Message, frozen=True, kw_only=True):
    """What the firmware says after it. Secure Boot is in force from the next start on."""

    setup_mode: bool
    secure_boot: bool


class PlannedAction(Message, frozen=True, kw_only=True):
    """One step of a plan, in plain words."""

    verb: str
    subject: str
    detail: str = ""


class PlanReport(Message, frozen=True, kw_only=True):
    """What applying would do; `missing_images` are the SHA-256 the server does not hold yet."""

    actions: tuple[PlannedAction, ...]
    missing_images: tuple[str, ...] = ()


class ApplyReport(Message, frozen=True, kw_only=True):
    """What applying did. Until `confirm`, the server goes back by itself after `confirm_within` seconds."""

    generation: int
    actions: tuple[PlannedAction, ...]
    confirm_within: float


class SiteReport(Message, frozen=True, kw_only=True):
    """The site that the server runs."""

    generation: int
    site_toml: str
    confirmed: bool


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
    health_url: str = ""


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
    """

    want: str = ""
    limit: Annotated[int, Meta(ge=0)] = 0
    progress: str = ""
    done: int = 0
    total: int = 0
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
    health_url: str = ""


class FactoryResetRequest(Message, frozen=True, kw_only=True):
    """Whether the site stays."""

    keep_site: bool


class GenerationReport(Message, frozen=True, kw_only=True):
    """A generation of the site that the server remembers: who applied it, when (seconds since 1970 UTC), how large."""

    generation: int
    when: float
    who: str
    confirmed: bool
    size: int


class BootReport(Message, frozen=True, kw_only=True):
    """A boot that the server remembers: when (seconds since 1970 UTC), which image, ready after how many seconds."""

    when: float
    image_id: str
    version: str
    slot: str
    ready: float | None


class StopRequest(Message, frozen=True, kw_only=True):
    """How to stop a guest: `force` at once, else a clean stop with `grace` seconds before force."""

    force: bool = False
    grace: float = 30.0


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


class PowerRequest(Message, frozen=True, kw_only=True):
    """What the server itself shall do."""

    action: str  # "reboot" or "poweroff"


class LogLine(Message, frozen=True, kw_only=True):
    """A line of the journal, which lives in RAM."""

    seconds: float
    unit: str
    priority: int
    text: str


class ErrorReport(Message, frozen=True, kw_only=True):
    """An error of errors.py on the wire."""

    code: str
    what: str
    evidence: str = ""
    next_step: str = ""


class BurnNews(Message, frozen=True, kw_only=True):
    """One line of a burn's answer: bytes more that were read back and compared, or its end, good or bad."""

    compared: int = 0
    done: BurnReport | None = None
    error: ErrorReport | None = None
