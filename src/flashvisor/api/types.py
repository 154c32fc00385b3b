"""What travels between the CLI and a server, as JSON. Times are seconds, sizes bytes, unless a name says otherwise."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, field

from flashvisor.api.flashtypes import FlashReport
from flashvisor.api.message import Message

# Guests stand below the API: the word list is the model's, and re-exported here under its old name.
from flashvisor.model.guest import GuestState as GuestState
from flashvisor.model.storagestate import StorageState as StorageState

API_VERSION = 1
DEFAULT_PORT = 443


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


class StorageReport(Message, frozen=True, kw_only=True):
    """A storage of the site: how it is, its room, the guests with files on it, and which of them it keeps waiting."""

    name: str
    state: StorageState
    size: int
    free: int
    guests: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


class Protection(Message, frozen=True, kw_only=True):
    """A protection, whether it is on, and what that means for the owner."""

    name: str
    on: bool
    meaning: str


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
    storages: tuple[StorageReport, ...] = ()


class GuestReport(Message, frozen=True, kw_only=True):
    """A guest at a glance. Times are seconds since the server's kernel started.

    `answered` is since when it answers `probe`; None if it does not, or has nothing to answer with. `waits` says what
    it waits for before it starts; `failure` and `failed` what went wrong with it last, and when; `watchdogs` how often
    its watchdog ran out.
    """

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
    probe: str = ""
    waits: str = ""
    failure: str = ""
    failed: float | None = None
    watchdogs: int = 0


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
    images: dict[str, ImageRef] = field(default_factory=dict)
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


class AttestRequest(Message, frozen=True, kw_only=True):
    """A question to the TPM: 1 to 32 bytes that it signs along, and the PCRs it is about, ascending."""

    nonce: Annotated[bytes, Meta(min_length=1, max_length=32)]
    pcrs: Annotated[tuple[Annotated[int, Meta(ge=0, lt=24)], ...], Meta(min_length=1, max_length=24)]


class AttestReport(Message, frozen=True, kw_only=True):
    """The TPM's answer in its own forms (host/tpm.py), base64 in JSON, and the firmware's event log."""

    quoted: bytes
    signature: bytes
    key: bytes
    values: tuple[bytes, ...]
    log: bytes


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


class PowerRequest(Message, frozen=True, kw_only=True):
    """What the server itself shall do."""

    action: str  # "reboot" or "poweroff"


class LogLine(Message, frozen=True, kw_only=True):
    """A line of the journal, which lives in RAM."""

    seconds: float
    unit: str
    priority: int
    text: str
