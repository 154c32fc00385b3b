"""The one error tree. Libraries raise these; only the CLI and the API turn them into exit or HTTP statuses.

Every leaf has a stable code, and its docstring is what ``flashvisor explain CODE`` prints::

    FlashvisorError
    |- InputError       exit 2, HTTP 422   what the user gave is wrong
    |  |- SiteError     FV-SITE-nnn        the site file
    |  `- UsageError    FV-USE-nnn         arguments, names, files given to a command
    |- MachineError     exit 3, HTTP 503   this machine cannot do it (tool, network, disk space, device)
    |- BuildError       exit 4, HTTP 500   the image cannot be built as asked
    |- FlashError       exit 5, HTTP 500   flash layout, slots, state ring
    |- TrustError       exit 6, HTTP 403   keys, certificates, signatures
    |- NodeError        exit 7, HTTP 409   a server answered, and said no; or did not answer
    |- GuestError       exit 8, HTTP 409   a guest cannot do what was asked
    `- LabError         exit 9, HTTP 500   the virtual rack

Example::

    raise UnknownKeyError("site.toml: guest.web.memroy is not a key", next_step="Did you mean 'memory'?")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator


class FlashvisorError(Exception):
    """Root of all errors that are the world's fault, never a bug's.

    Args:
        what: One sentence: what failed on what, with expected and got.
        next_step: What the reader should do now; the class's own advice if not given.
        evidence: Raw material (a tool's last lines, a value), shown under the sentence.
    """

    code: ClassVar[str] = ""
    exit_status: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    advice: ClassVar[str] = ""

    def __init__(self, what: str, *, next_step: str = "", evidence: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step or self.advice
        self.evidence = evidence

    def __str__(self) -> str:
        """One block: code and sentence, evidence, next step."""
        lines = [f"{self.code}: {self.what}"]
        lines += [f"  | {line}" for line in self.evidence.splitlines()]
        if self.next_step:
            lines.append(f"  next: {self.next_step}")
        return "\n".join(lines)


class InputError(FlashvisorError):
    """What the user gave is wrong."""

    exit_status = 2
    http_status = 422


class SiteError(InputError):
    """The site file is wrong."""


class UsageError(InputError):
    """Arguments, names or files given to a command are wrong."""


class MachineError(FlashvisorError):
    """This machine cannot do what was asked."""

    exit_status = 3
    http_status = 503


class BuildError(FlashvisorError):
    """The image cannot be built as asked."""

    exit_status = 4


class FlashError(FlashvisorError):
    """Flash layout, slots or state ring."""

    exit_status = 5


class TrustError(FlashvisorError):
    """Keys, certificates or signatures."""

    exit_status = 6
    http_status = 403


class NodeError(FlashvisorError):
    """A server answered and said no, or did not answer."""

    exit_status = 7
    http_status = 409


class GuestError(FlashvisorError):
    """A guest cannot do what was asked."""

    exit_status = 8
    http_status = 409


class LabError(FlashvisorError):
    """The virtual rack."""

    exit_status = 9


# --- SITE: the site file ------------------------------------------------------------------------------------


class SiteSyntaxError(SiteError):
    """The site file is not TOML. The message holds the line and column where reading stopped."""

    code = "FV-SITE-001"
    advice = "Correct the line named above; `flashvisor check FILE` tries again without touching a server."


class UnknownKeyError(SiteError):
    """A key in the site file is unknown: an error, so that a typing mistake never silently means a default."""

    code = "FV-SITE-002"
    advice = "Remove or correct the key; `flashvisor site schema` lists all keys."


class WrongTypeError(SiteError):
    """A value in the site file has the wrong type or does not fit its bounds."""

    code = "FV-SITE-003"
    advice = "Correct the value; `flashvisor site schema` gives type and bounds of each key."


class UnknownImageError(SiteError):
    """A guest names an image that the site file does not declare, or whose file is not there."""

    code = "FV-SITE-004"
    advice = 'Declare the image under [image.NAME] with file = "PATH", or correct the guest\'s `image`.'


class DuplicateMacError(SiteError):
    """Two network cards have the same MAC address. They would take each other's packets."""

    code = "FV-SITE-005"
    advice = "Give each card its own address, or leave `mac` out: flashvisor derives one from the guest's name."


class UnknownReferenceError(SiteError):
    """The site file refers to a network or storage that it does not declare."""

    code = "FV-SITE-006"
    advice = "Declare it, or correct the name."


class ConflictError(SiteError):
    """Two parts of the site file want the same thing: an address, a port, a device."""

    code = "FV-SITE-007"
    advice = "Give each its own."


# --- USE: commands ------------------------------------------------------------------------------------------


class UnknownNameError(UsageError):
    """A command names something that does not exist (a guest, a server, an error code)."""

    code = "FV-USE-001"
    http_status = 404


class UnreadableFileError(UsageError):
    """A file given to a command cannot be read, or is not what its name says."""

    code = "FV-USE-002"


# --- HOST: this machine -------------------------------------------------------------------------------------


class ToolMissingError(MachineError):
    """A program that flashvisor calls is not installed on this machine."""

    code = "FV-HOST-001"
    advice = "Run `make setup`: it installs what the README lists."


class CommandFailedError(MachineError):
    """A program that flashvisor called ended with an error. The command can be pasted to try it by hand."""

    code = "FV-HOST-002"


class NoSpaceError(MachineError):
    """A disk has not enough free space for what was asked. Nothing was written."""

    code = "FV-HOST-003"
    advice = "Free the space named above, or point FLASHVISOR_CACHE to another disk."


class NoNetworkError(MachineError):
    """The package mirrors cannot be reached, and what is needed is not in the cache."""

    code = "FV-HOST-004"
    advice = "Check the network and the machine's apt and pip settings, then run the same command again."


class DeviceError(MachineError):
    """A device is mounted, is not a block device, or is too small. Nothing was written."""

    code = "FV-HOST-005"


class CommandTimeoutError(MachineError):
    """A program that flashvisor called did not end within its limit and was stopped."""

    code = "FV-HOST-006"


class NotRootError(MachineError):
    """This step needs root (it makes a Debian tree with its owners and devices)."""

    code = "FV-HOST-007"
    advice = "Run the same command with sudo."


# --- BUILD: the image ---------------------------------------------------------------------------------------


class ComponentTooLargeError(BuildError):
    """A component of the image outgrew its row in the ledger, or the whole file its limit."""

    code = "FV-BUILD-001"
    advice = "See `flashvisor ledger` for what grew; slim it, or move its limit in image/recipe/limits.toml by an ADR."


class KernelConfigError(BuildError):
    """A kernel option that the recipe asks for is not in the finished configuration."""

    code = "FV-BUILD-002"
    advice = "Switch on what the option depends on (its Kconfig entry says what), or take it out of the recipe."


class ForbiddenFileError(BuildError):
    """The root holds something that must never ship: a shell, a setuid file, a file others can write."""

    code = "FV-BUILD-003"


class MissingFileError(BuildError):
    """A file that the recipe names, or a library that a program needs, is in no package of the tree."""

    code = "FV-BUILD-004"


# --- FLASH --------------------------------------------------------------------------------------------------


class RingCorruptError(FlashError):
    """The state ring holds damaged records. The newest intact ones are used; the message says what was lost."""

    code = "FV-FLASH-001"


class RingFullError(FlashError):
    """A record does not fit into the state ring."""

    code = "FV-FLASH-002"


class LayoutError(FlashError):
    """A flash device does not hold flashvisor's partitions."""

    code = "FV-FLASH-003"
    advice = "Burn it again: `flashvisor build` makes build/kvm/flash.img."


# --- TRUST --------------------------------------------------------------------------------------------------


class KeyringMissingError(TrustError):
    """There is no keyring of the owner where this command looks for it."""

    code = "FV-TRUST-001"
    advice = "Make one with `flashvisor keys init`."


class KeyringExistsError(TrustError):
    """A keyring is there already. It is never overwritten."""

    code = "FV-TRUST-002"


# --- NODE ---------------------------------------------------------------------------------------------------


class NodeUnreachableError(NodeError):
    """No answer from the server's API."""

    code = "FV-NODE-001"
    http_status = 503


class NoDataDiskError(NodeError):
    """The site's storage names a disk that this server does not have."""

    code = "FV-NODE-002"
    advice = "`flashvisor node show` lists the server's disks with their serial numbers."


class ForeignDataError(NodeError):
    """The disk holds data that is not flashvisor's. It was not touched."""

    code = "FV-NODE-003"
    advice = "If the data may be lost, wipe the disk elsewhere first; flashvisor takes only empty disks."


class NotEnoughMemoryError(NodeError):
    """The guests together want more memory than the server has for them."""

    code = "FV-NODE-004"
    advice = "Make guests smaller, or leave some out of the site file."


class ImageNotUploadedError(NodeError):
    """The server does not hold an image that the site needs."""

    code = "FV-NODE-005"
    advice = "`flashvisor apply` uploads what is missing."


class NothingToConfirmError(NodeError):
    """There is no applied site waiting for confirmation; it may have been reverted already."""

    code = "FV-NODE-006"


class BusyError(NodeError):
    """The server is carrying out another change."""

    code = "FV-NODE-007"
    advice = "Try again when it has ended; `flashvisor node show` says what is under way."


class DigestMismatchError(NodeError):
    """What arrived is not what was announced: its SHA-256 differs. Nothing was kept."""

    code = "FV-NODE-008"
    http_status = 422
    advice = "Send it again."


# --- GUEST --------------------------------------------------------------------------------------------------


class UnknownGuestError(GuestError):
    """No guest of that name is in the server's site."""

    code = "FV-GUEST-001"
    http_status = 404
    advice = "`flashvisor guest list` lists them."


class GuestStateError(GuestError):
    """The guest is not in a state in which this can be done."""

    code = "FV-GUEST-002"


class HypervisorError(GuestError):
    """libvirt or QEMU refused. Their own words are given as evidence."""

    code = "FV-GUEST-003"
    http_status = 500


# --- LAB ----------------------------------------------------------------------------------------------------


class UnknownServerError(LabError):
    """No virtual server of that name is in the rack."""

    code = "FV-LAB-001"
    http_status = 404
    advice = "`flashvisor lab list` lists them."


class ServerDiedError(LabError):
    """A virtual server's QEMU ended by itself, or could not be started."""

    code = "FV-LAB-002"


class WaitTimeoutError(LabError):
    """Something awaited did not happen within its limit. The serial log's last lines are given as evidence."""

    code = "FV-LAB-003"


def catalogue() -> dict[str, type[FlashvisorError]]:
    """All error classes that have a code, by code."""

    def walk(cls: type[FlashvisorError]) -> Iterator[type[FlashvisorError]]:
        yield cls
        for sub in cls.__subclasses__():
            yield from walk(sub)

    return {cls.code: cls for cls in walk(FlashvisorError) if cls.code}
