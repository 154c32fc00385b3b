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


class ImageChangedError(SiteError):
    """An image's file is not the one whose SHA-256 the site file names."""

    code = "FV-SITE-008"
    advice = "Fetch the right file, or correct image.NAME.sha256 if the new file is wanted."


class StartRingError(SiteError):
    """Guests wait for each other in a ring, by `after` or by `order`: none of them could ever start."""

    code = "FV-SITE-030"
    advice = "Take one guest of the ring out of another's `after`, or change an `order`."


# --- USE: commands ------------------------------------------------------------------------------------------


class UnknownNameError(UsageError):
    """A command names something that does not exist (a guest, a server, an error code)."""

    code = "FV-USE-001"
    http_status = 404
    advice = "Check the spelling; the command without a name, or its --help, lists what there is."


class UnreadableFileError(UsageError):
    """A file given to a command cannot be read, or is not what its name says."""

    code = "FV-USE-002"
    advice = "Check the path and its permissions."


class CommandLineError(UsageError):
    """A command was called with options or arguments that it does not have, or without those that it needs."""

    code = "FV-USE-003"
    advice = "Add --help to the command to see what it takes."


class NoNodeNamedError(UsageError):
    """A command needs a server, and none was named."""

    code = "FV-USE-004"
    advice = "Give --node HOST[:PORT], set FLASHVISOR_NODE, or name one: `flashvisor node use NAME HOST[:PORT]`."


class AddressError(UsageError):
    """A server's address is not of the form HOST[:PORT]."""

    code = "FV-USE-005"
    advice = "Write a host name or IP address, with a port if it is not 443: alpha.example:8443, [2001:db8::1]:8443."


class OwnerNameError(UsageError):
    """The owner's name cannot stand in a certificate."""

    code = "FV-USE-006"
    advice = 'Give a short name: flashvisor keys init --owner "Example GmbH".'


class SettingsFileError(UsageError):
    """The file in which `flashvisor node use` keeps names of servers is not what flashvisor writes."""

    code = "FV-USE-007"
    advice = "Correct or remove the file; `flashvisor node use NAME HOST[:PORT]` writes a new one."


class TokenUriError(UsageError):
    """What should name a PKCS#11 token (RFC 7512) does not."""

    code = "FV-USE-040"
    advice = "`p11tool --list-tokens` (Debian package gnutls-bin) prints the URIs of all tokens; put it in quotes."


# --- IMPORT: images and appliances from elsewhere ------------------------------------------------------------


class UnknownFormatError(UsageError):
    """A file is no disk image and no appliance that can be imported. Its first bytes decide, never its name."""

    code = "FV-USE-101"
    advice = (
        "Give qcow2, raw with a partition table (also .gz, .xz, .zst), VMDK, VHD, VHDX, VDI, OVA or OVF; "
        "unpack other archives first."
    )


class SplitImageError(UsageError):
    """A VMDK's data lie in several files, or in a file that its descriptor names. Only those in one file are taken."""

    code = "FV-USE-102"
    advice = (
        "Make one file of it where it lies (`qemu-img convert -O qcow2 FILE.vmdk FILE.qcow2`), or export it as OVA."
    )


class LeaningImageError(UsageError):
    """An image reads a part of its data from another file: a backing file, a parent, an external data file.

    Such an image could make a file of this machine a part of the guest's disk.
    """

    code = "FV-USE-103"
    advice = (
        "Merge it with what it leans on where it lies (delete its snapshots, or convert it there), and import that."
    )


class TruncatedImageError(UsageError):
    """An image or archive ends before the data that it speaks of: a copy or download that broke off."""

    code = "FV-USE-104"
    advice = "Copy it again, and compare its checksum with the original's."


class DamagedImageError(UsageError):
    """An image is not in the form that its first bytes promise, is encrypted, or was not closed cleanly."""

    code = "FV-USE-105"
    advice = "Copy it again; if it stays so, start and shut down its guest where it came from, and export it again."


class ArchivePathError(UsageError):
    """A name in an archive or appliance leads out of it: an absolute path, `..`, or a link. Nothing was unpacked."""

    code = "FV-USE-106"
    advice = "Do not trust where it comes from: no tool that makes appliances writes such names."


class ArchiveMemberError(UsageError):
    """An archive holds what an appliance never has: links, devices, pipes, sparse files, or a name twice."""

    code = "FV-USE-107"
    advice = "Do not trust where it comes from; if you made it yourself, put plain files into it (tar --format=ustar)."


class ExplodingImageError(UsageError):
    """An image or archive becomes far larger than it says or than it could honestly be. It was stopped on the way."""

    code = "FV-USE-108"
    advice = "Do not trust where it comes from; if the disk really is that large, say so with --capacity SIZE."


class XmlEntityError(UsageError):
    """An OVF descriptor declares entities, a document type, or refers to other documents. It was not read."""

    code = "FV-USE-109"
    advice = "Do not trust where it comes from: no tool that makes appliances writes such descriptors."


class OvfError(UsageError):
    """An OVF descriptor is not what DSP0243 describes, or describes something that cannot be imported."""

    code = "FV-USE-110"
    advice = "Export it again with another tool or version, or import its disks one by one."


class ManifestError(UsageError):
    """A file of an appliance is not the one whose checksum stands in its manifest."""

    code = "FV-USE-111"
    advice = "Copy the appliance again; somebody may also have changed it."


class MissingDiskError(UsageError):
    """An appliance's descriptor names a file that is not there."""

    code = "FV-USE-112"
    advice = "Put all its files beside the descriptor, under the names that it uses, or fetch the whole archive again."


class WrongChecksumError(UsageError):
    """A file or download does not have the SHA-256 that was given. It was not imported."""

    code = "FV-USE-113"
    advice = "Check the SHA-256 at its source; a download is fetched anew at the next try."


class ImageInUseError(UsageError):
    """An image cannot be removed: a site file still names it."""

    code = "FV-USE-114"
    http_status = 409
    advice = "Take the image and its guests out of the site file first."


class NameTakenError(UsageError):
    """A site file has an image or guest of that name already, and it is another one. The file was not changed."""

    code = "FV-USE-115"
    http_status = 409
    advice = "Import it under another name: --name NAME."


class SandboxError(MachineError):
    """The sandbox in which strangers' images are read cannot be set up on this machine."""

    code = "FV-HOST-102"
    advice = "bubblewrap needs user namespaces: `sysctl kernel.unprivileged_userns_clone=1`, or run it as root."


class DownloadError(MachineError):
    """What was to be downloaded does not answer, or stopped. What came is kept."""

    code = "FV-HOST-101"
    http_status = 502
    advice = "Check the address and the network, then run the same command: it goes on where this one stopped."


# --- HOST: this machine -------------------------------------------------------------------------------------


class ToolMissingError(MachineError):
    """A program that flashvisor calls is not installed on this machine."""

    code = "FV-HOST-001"
    advice = "Run `make setup`: it installs what the README lists."


class CommandFailedError(MachineError):
    """A program that flashvisor called ended with an error. The command can be pasted to try it by hand."""

    code = "FV-HOST-002"
    advice = "The command above can be pasted to see it fail by hand."


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
    advice = "Check the device's name with `lsblk`, unmount it, and make sure that nothing uses it."


class CommandTimeoutError(MachineError):
    """A program that flashvisor called did not end within its limit and was stopped."""

    code = "FV-HOST-006"
    advice = "Paste the command above to see where it hangs; a machine under load may only need another try."


class NotRootError(MachineError):
    """This step needs root (it makes a Debian tree with its owners and devices)."""

    code = "FV-HOST-007"
    advice = "Run the same command with sudo."


class DeviceFaultyError(MachineError):
    """A device failed to read or write, or took what was written and gave back something else."""

    code = "FV-HOST-008"
    advice = "Do not boot from it. Try another port once; if it fails again, throw the device away."


class FirmwareVariableError(MachineError):
    """The firmware did not take or give a UEFI variable. Nothing that it starts by has changed."""

    code = "FV-HOST-009"
    advice = "If its memory is full, clear it in the firmware's setup; this server must be started by UEFI."


# --- BUILD: the image ---------------------------------------------------------------------------------------


class ComponentTooLargeError(BuildError):
    """A component of the image outgrew its row in the ledger, or the whole file its limit."""

    code = "FV-BUILD-001"
    advice = "See `flashvisor ledger` for what grew; slim it, or move its limit in image/recipe/root.toml by an ADR."


class KernelConfigError(BuildError):
    """A kernel option that the recipe asks for is not in the finished configuration."""

    code = "FV-BUILD-002"
    advice = "Switch on what the option depends on (its Kconfig entry says what), or take it out of the recipe."


class ForbiddenFileError(BuildError):
    """The root holds something that must never ship: a shell, a setuid file, a file others can write."""

    code = "FV-BUILD-003"
    advice = "Take the file out of image/recipe/root.toml, or the program out that brings it along."


class MissingFileError(BuildError):
    """A file that the recipe names, or a library that a program needs, is in no package of the tree."""

    code = "FV-BUILD-004"
    advice = "Add the package that holds it to the recipe (`apt-file search NAME` finds it), or correct the name."


class UnknownOriginError(BuildError):
    """Something in the image comes from no package that the bills of materials could name with version and license."""

    code = "FV-BUILD-005"
    advice = "Take it from one of the recipe's packages, whose version and license file are known."


class StrangeImageError(BuildError):
    """A finished image cannot be taken apart: it does not hold what a build puts in, or holds something behind it."""

    code = "FV-BUILD-006"
    advice = "Build it again: `flashvisor build`."


class SourceChangedError(BuildError):
    """A source package no longer holds what our change to it replaces: Debian has a newer version."""

    code = "FV-BUILD-007"
    advice = "Read the new source: the change may not be needed any more (docs/adr says why it was made)."


# --- FLASH --------------------------------------------------------------------------------------------------


class RingCorruptError(FlashError):
    """The state ring holds damaged records. The newest intact ones are used; the message says what was lost."""

    code = "FV-FLASH-001"
    advice = "Compare `flashvisor node show` with your site file, and apply it again; replace a flash that loses more."


class RingFullError(FlashError):
    """A record does not fit into the state ring."""

    code = "FV-FLASH-002"
    advice = "Make the site file smaller: key files and comments count."


class LayoutError(FlashError):
    """A flash device does not hold flashvisor's partitions."""

    code = "FV-FLASH-003"
    advice = "Burn it again: `flashvisor build` makes build/kvm/flash.img."


class RecordFormatError(FlashError):
    """A record of the state ring is intact, but not in the form that this version reads: another version wrote it."""

    code = "FV-FLASH-004"
    advice = "Start the version that wrote it, or apply the site file again."


class ImageTooLargeError(FlashError):
    """An image does not fit into a slot of the flash device."""

    code = "FV-FLASH-005"
    advice = "See `flashvisor ledger` for what takes the room."


class SlotReadBackError(FlashError):
    """A slot of flash, read back after it was written, does not hold what was written. It is not started."""

    code = "FV-FLASH-006"
    advice = "Write it once more; if that fails too, the flash device is worn out or broken: replace it."


class ReleaseFailedBeforeError(FlashError):
    """This release was tried on this server before and did not become healthy. It is not tried again by itself."""

    code = "FV-FLASH-007"
    http_status = 409
    advice = "Publish a release that mends the reason named above, or force this one."


class SlotBusyError(FlashError):
    """No slot of flash is free to be written: the other one is committed, or on trial."""

    code = "FV-FLASH-008"
    http_status = 409
    advice = "Wait until the trial has ended; restart the server if it runs from another slot than the committed one."


class NoRollbackError(FlashError):
    """There is no known good image in the other slot to go back to."""

    code = "FV-FLASH-009"
    http_status = 409
    advice = "Update to the release that you want, by its version; or `flashvisor factory-reset`."


class NoSlotsError(FlashError):
    """The server was not started from a slot of flash by UEFI, so there is nothing to update or to go back to."""

    code = "FV-FLASH-010"
    http_status = 409
    advice = "Start the server from its flash, in UEFI mode; legacy BIOS cannot start it."


class RecoveryError(FlashError):
    """Neither slot holds an image that can be started. The image in factory runs; slots can be written from it."""

    code = "FV-FLASH-011"
    advice = "Write a good release: `flashvisor update DIR`. `flashvisor slots --verify` shows both slots."


class FlashCountError(FlashError):
    """The kernel counted other bytes written to the flash device than flashvisor wrote: something else writes there."""

    code = "FV-FLASH-030"
    advice = "`flashvisor node wear` shows both sums. Guests and data disks never lie in flash; nothing else may."


class FlashBudgetError(FlashError):
    """More was written to flash on one day than its daily budget. Nothing is stopped by it."""

    code = "FV-FLASH-031"
    advice = "See what wrote so much: `flashvisor node wear`, by cause and day."


class FlashLostError(FlashError):
    """The server's flash was pulled or died while it ran. Guests go on; nothing new can be remembered."""

    code = "FV-FLASH-020"
    http_status = 503
    advice = (
        "Put the same device in again, which is then taken up, or a new one, and run "
        "`flashvisor burn --via NODE build/kvm/flash.img`."
    )


class FlashWorksError(FlashError):
    """The server's flash works: no other device is made its flash. Two of them would remember different things."""

    code = "FV-FLASH-021"
    http_status = 409
    advice = "To replace it, pull it while the server runs, put the new device in, and call again."


# --- TRUST --------------------------------------------------------------------------------------------------


class KeyringMissingError(TrustError):
    """There is no keyring of the owner where this command looks for it."""

    code = "FV-TRUST-001"
    advice = "Make one with `flashvisor keys init`."


class KeyringExistsError(TrustError):
    """A keyring is there already. It is never overwritten."""

    code = "FV-TRUST-002"
    advice = "Use it, name another directory in FLASHVISOR_KEYS, or move this one away yourself."


class KeyringDamagedError(TrustError):
    """Files are missing from the owner's keyring."""

    code = "FV-TRUST-003"
    advice = "Restore the directory from a backup; new keys would not be those that your servers trust."


class BadSignatureError(TrustError):
    """A file is not signed by the key that it should be signed by, or was changed after signing."""

    code = "FV-TRUST-004"
    advice = "Build it again with the owner's keyring: `flashvisor build`."


class ForeignNodeError(TrustError):
    """What answered at the server's address does not hold a certificate of the owner's CA."""

    code = "FV-TRUST-005"
    advice = "Check the address. If it is right, FLASHVISOR_KEYS must name the keyring that the server was burned with."


class NotAdmittedError(TrustError):
    """The server refused this client's certificate: it trusts another owner's CA."""

    code = "FV-TRUST-006"
    advice = "FLASHVISOR_KEYS must name the keyring that the server was burned with."


class PassphraseNeededError(TrustError):
    """A private key is encrypted, and nobody could be asked for the passphrase."""

    code = "FV-TRUST-020"
    advice = "Run it at a terminal, or put the passphrase into a file that FLASHVISOR_PASSPHRASE_FILE names."


class WrongPassphraseError(TrustError):
    """The passphrase does not open the keyring or the backup. If it is right, the file is damaged."""

    code = "FV-TRUST-021"
    advice = "Try again; nobody can help who does not know the passphrase."


class WeakPassphraseError(TrustError):
    """A new passphrase is shorter than flashvisor takes. Whoever guesses it owns the servers."""

    code = "FV-TRUST-022"
    advice = "Take five or more random words."


class OldKeyringError(TrustError):
    """The keyring is of the first version's form, which holds no keys for releases and cannot be encrypted."""

    code = "FV-TRUST-023"
    advice = "Bring it to today's form: `flashvisor keys upgrade`. Servers and images notice nothing."


class LockoutError(TrustError):
    """With these keys the firmware would refuse what is in the server's own flash. Nothing was written."""

    code = "FV-TRUST-027"
    http_status = 409
    advice = "Sign the image with your keys (`flashvisor build` or `flashvisor sign`), burn it, and enrol then."


class BackupFormatError(TrustError):
    """A file is not a backup that `flashvisor keys backup` wrote."""

    code = "FV-TRUST-024"
    advice = "Name the right file. A backup begins with the words `flashvisor keyring backup`."


class BackupExistsError(TrustError):
    """A file that would take secrets, or what is given away, is there already. It is never overwritten."""

    code = "FV-TRUST-025"
    advice = "Name another file or directory."


class StrangeExecutableError(TrustError):
    """What is to be signed is not a flashvisor.efi, or not the one whose SHA-256 was given. Nothing was signed."""

    code = "FV-TRUST-026"
    advice = "Fetch it again from where you trust it, and take its SHA-256 from there too."


class PinNeededError(TrustError):
    """A private key lies on a PKCS#11 token, and nobody could be asked for the token's PIN."""

    code = "FV-TRUST-040"
    advice = "Run it at a terminal, or put the PIN into a file that FLASHVISOR_PIN_FILE names."


class WrongPinError(TrustError):
    """The token refused the PIN. It was tried once: tokens lock themselves after a few wrong ones."""

    code = "FV-TRUST-041"
    advice = "Find the right PIN before you try again. A locked token is unlocked with its maker's tool."


class TokenLibraryError(TrustError):
    """The PKCS#11 library through which a token is reached cannot be used."""

    code = "FV-TRUST-042"
    advice = "Install the token's PKCS#11 library, or name its file in the URI: ?module-path=/usr/lib/....so."


class TokenMissingError(TrustError):
    """The PKCS#11 token that is named is not there, or more than one fits the name."""

    code = "FV-TRUST-043"
    advice = "Put the token in; `p11tool --list-tokens` (Debian package gnutls-bin) shows those that are seen."


class TokenKeyMissingError(TrustError):
    """The token does not hold the private key that the keyring says it holds."""

    code = "FV-TRUST-044"
    advice = "Put in the token that the keys were made on. If it is lost or was erased, so are the keys: rotate them."


class NotOnTokenError(TrustError):
    """A private key cannot lie on a token, because what uses it takes it only as a file."""

    code = "FV-TRUST-045"
    advice = "Leave the role in the keyring's file; `flashvisor keys init --help` names those that can lie on a token."


class TokenRefusedError(TrustError):
    """The token, or its PKCS#11 library, did not do what it was asked."""

    code = "FV-TRUST-046"
    advice = "Check what the token can do with `p11tool --list-mechanisms`; --roles leaves keys off the token."


# --- UPDATE: releases and their signed metadata -------------------------------------------------------------


class UpdateFormatError(TrustError):
    """A file of an update is not what its name says: no TUF metadata, or no release manifest."""

    code = "FV-TRUST-101"
    advice = "Publish the release again with `flashvisor release publish DIR`; check what serves the directory."


class RollbackError(TrustError):
    """An update is older than one that this server verified before. Old files may hold known weaknesses."""

    code = "FV-TRUST-102"
    advice = "Offer the newest state of the repository; an older release must be asked for by name."


class FreezeError(TrustError):
    """The timestamp of an update has expired: somebody may be holding newer releases back, or a clock is wrong."""

    code = "FV-TRUST-103"
    advice = "Publish again to renew the timestamp; if this server's clock is wrong, push the update from the CLI."


class MixAndMatchError(TrustError):
    """Metadata files of an update do not belong together: one is not the version or content that another names."""

    code = "FV-TRUST-104"
    advice = "Copy the repository again as a whole, timestamp.json last."


class ExpiredError(TrustError):
    """Root, snapshot or targets metadata of an update has expired."""

    code = "FV-TRUST-105"
    advice = "Publish again to renew it; if this server's clock is wrong, push the update from the CLI."


class EndlessDataError(TrustError):
    """A file of an update is longer than it may be. Reading it was stopped."""

    code = "FV-TRUST-106"
    advice = "Check what serves the repository: it sends other files than were published."


class WrongHashError(TrustError):
    """A release's manifest or chunk does not have the SHA-256 or length that was signed."""

    code = "FV-TRUST-107"
    advice = "Copy the repository again: the file is damaged or was replaced."


class TooFewSignaturesError(TrustError):
    """Fewer of the owner's keys than the threshold signed this metadata."""

    code = "FV-TRUST-108"
    advice = "Sign with the owner's keys; a repository of another owner is never accepted."


class RootChainError(TrustError):
    """The chain of root metadata has a gap: each root must follow the one before, signed by both."""

    code = "FV-TRUST-109"
    advice = "Put all N.root.json files back into the repository, from the one that this server trusts."


class UpdateFileMissingError(TrustError):
    """The repository lacks a file that its metadata names."""

    code = "FV-TRUST-110"
    http_status = 404
    advice = "Copy the repository again as a whole."


class NoSuchReleaseError(TrustError):
    """The repository holds no release of this name, version and flavour."""

    code = "FV-TRUST-111"
    http_status = 404
    advice = "`flashvisor release list DIR` shows what there is."


class NoTrustRootError(TrustError):
    """The server's flash holds no root of trust of its owner, so that it can verify no update."""

    code = "FV-TRUST-112"
    advice = "Burn its flash anew: `flashvisor build` puts the owner's root of trust into flash.img."


# --- ATTEST: what a server's TPM says that it started --------------------------------------------------------


class NoTpmError(TrustError):
    """The server has no TPM 2.0 that works, so nobody can tell from outside what it started."""

    code = "FV-TRUST-201"
    http_status = 503
    advice = "Switch the TPM on in the firmware's setup, or build one in; the server works without it."


class TpmRefusedError(TrustError):
    """The server's TPM refused a command. Its number is explained in TPM 2.0 Library, part 2, 6.6 (TPM_RC)."""

    code = "FV-TRUST-202"
    http_status = 503
    advice = "Look into the firmware's setup: the endorsement hierarchy and the SHA-256 bank of the TPM must be on."


class NoEventLogError(TrustError):
    """The firmware left no event log: what the TPM's values were made of cannot be told."""

    code = "FV-TRUST-203"
    http_status = 503
    advice = "Start the server by UEFI with its TPM switched on; update a firmware that still leaves no log."


class BadQuoteError(TrustError):
    """What should be a TPM's signed statement is not: wrong form, wrong signature, or an answer to another question."""

    code = "FV-TRUST-204"
    advice = "Ask once more. If it happens again, something stands between you and the server's TPM: do not trust it."


class EventLogFormatError(TrustError):
    """A firmware's event log is not in the form of the TCG's PC Client profile with SHA-256 digests."""

    code = "FV-TRUST-205"
    advice = "Switch on the TPM's SHA-256 bank in the firmware's setup; TPM 1.2 and SHA-1 alone are not enough."


class FalseEventLogError(TrustError):
    """The event log does not lead to the values that the TPM signed: it is incomplete, or somebody changed it."""

    code = "FV-TRUST-206"
    advice = "Restart the server and ask again. If it stays so, the system that answers is not to be trusted."


class OtherTpmError(TrustError):
    """The server's TPM is not the one that it had when it was attested first."""

    code = "FV-TRUST-207"
    advice = (
        "If another server has this address now, or the TPM was changed, say so: `flashvisor attest --renew`. "
        "Otherwise another machine answers for yours."
    )


class OtherMeasurementsError(TrustError):
    """The server did not start what was expected, or not as expected. The lines above say what differs."""

    code = "FV-TRUST-208"
    advice = "Name the measurements of the image that should run (`--image FILE`), or find out who changed the server."


# --- NODE ---------------------------------------------------------------------------------------------------


class NodeUnreachableError(NodeError):
    """No answer from the server's API."""

    code = "FV-NODE-001"
    http_status = 503
    advice = (
        "Check the address, that the server is on, and that no firewall stands between; its screen shows its stage."
    )


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
    advice = "`flashvisor site show` prints the site that the server runs; apply yours again if it is another."


class BusyError(NodeError):
    """The server is carrying out another change."""

    code = "FV-NODE-007"
    advice = "Try again when it has ended; `flashvisor node show` says what is under way."


class DigestMismatchError(NodeError):
    """What arrived is not what was announced: its SHA-256 differs. Nothing was kept."""

    code = "FV-NODE-008"
    http_status = 422
    advice = "Send it again."


class NotAnImageError(NodeError):
    """A file is neither an appliance (unified kernel image) nor a disk image (qcow2, or raw with a partition table)."""

    code = "FV-NODE-009"
    http_status = 422
    advice = "`flashvisor appliance build` makes appliances; qemu-img makes disk images."


class BadRequestError(NodeError):
    """A request is not what its route takes. A command line of another version may have sent it."""

    code = "FV-NODE-010"
    http_status = 400
    advice = "Use the command line of the server's own version; `flashvisor node show` names it."


class NoUplinkError(NodeError):
    """No network card of the server got an address in time. The server goes on, and still waits for one."""

    code = "FV-NODE-011"
    http_status = 503
    advice = "Check the cable and the DHCP server, or give the uplink a fixed address in the site file."


class UnclaimedError(NodeError):
    """The server has no identity in its flash, so it knows no owner, and serves nobody."""

    code = "FV-NODE-012"
    http_status = 503
    advice = (
        "Burn its flash with an identity: `flashvisor build` puts the owner's CA and the server's key into flash.img."
    )


class UnknownGenerationError(NodeError):
    """The server does not remember such a generation of its site: there never was one, or it is too long ago."""

    code = "FV-NODE-021"
    http_status = 404
    advice = "`flashvisor site history` lists what it remembers."


class StrangeAnswerError(NodeError):
    """A server answered in a way that this version of flashvisor does not know."""

    code = "FV-NODE-013"
    http_status = 502
    advice = "Check that the address is a flashvisor server's, and use the command line of its version."


class BadIdentityError(NodeError):
    """The key or the certificates in the server's flash cannot be used. The API cannot come up."""

    code = "FV-NODE-015"
    http_status = 503
    advice = "Burn its flash again with an identity of the owner's keyring."


class DamagedDiskError(NodeError):
    """A data disk's file system is damaged beyond what can be repaired unasked. It is not mounted: its guests wait."""

    code = "FV-NODE-016"
    http_status = 503
    advice = (
        "Look for a failing disk in `flashvisor node logs`, and copy the disk if its data matter; then repair it on "
        "another machine with `e2fsck -f DEVICE`, which asks before it gives something up, and restart the server."
    )


class DiskTooSmallError(NodeError):
    """A guest's disk is to be smaller than the image it starts from, or than it is already. It was not touched."""

    code = "FV-NODE-014"
    http_status = 422
    advice = "Give the guest a larger `disk`, or leave it out to take the image's own size."


class OtherFlavourError(NodeError):
    """A release is for another hypervisor flavour than the one that runs. Nothing was written."""

    code = "FV-NODE-031"
    advice = "Name the flavour if you want to change it: `flashvisor update DIR --flavour FLAVOUR`."


class MissingDriverError(NodeError):
    """A release lacks the driver of a device that this server uses. Nothing was written."""

    code = "FV-NODE-032"
    advice = "Publish a release whose kernel drives the devices named above, or take them out of the server."


class ReleaseSourceError(NodeError):
    """What a server fetches a release from does not answer, or stopped. What was fetched is kept."""

    code = "FV-NODE-033"
    http_status = 502
    advice = "Check the address and the network, then run the same command: it goes on where this one stopped."


class TrialFailedError(NodeError):
    """A release was tried and did not become healthy. The server went back to what ran before."""

    code = "FV-NODE-034"
    advice = "The reason stands above; `flashvisor node logs` may say more. Publish a release that mends it."


class TrialUnfinishedError(NodeError):
    """The server answers, but the trial of its new release has not ended in time."""

    code = "FV-NODE-035"
    advice = "`flashvisor slots` shows what it waits for."


class NoApplianceError(NodeError):
    """A guest has an `appliance` table, and its image is a disk image, to which the site cannot give files so."""

    code = "FV-NODE-091"
    http_status = 422
    advice = "Take the `appliance` table out of the guest's; a disk image is set up with `cloud_init`."


class NoSuchCardError(NodeError):
    """The site names a network card, by its MAC address, that this server does not have."""

    code = "FV-NODE-046"
    http_status = 422
    advice = "`flashvisor node show` lists the server's cards; correct the MAC address in the site file."


# --- NODE: its storages -------------------------------------------------------------------------------------


class StorageNearlyFullError(NodeError):
    """A storage has little room left. When it is full, the guests that write to it wait."""

    code = "FV-NODE-061"
    http_status = 503
    advice = "Make room: files deleted in guests that trim their disks count, and guests that are no longer needed."


class StorageFullError(NodeError):
    """A storage has no room left. Guests that want to write wait, and go on by themselves when there is room."""

    code = "FV-NODE-062"
    http_status = 503
    advice = "Make room: files deleted in guests that trim their disks count, and guests that are no longer needed."


class StorageReadOnlyError(NodeError):
    """A storage's file system met an error and takes no more writes. The guests on it wait.

    When none of them runs any more, it is checked, repaired if that loses nothing, and mounted again by itself;
    the guests that waited are started anew.
    """

    code = "FV-NODE-063"
    http_status = 503
    advice = "Look for a failing disk in `flashvisor node logs`; stop guests on this storage that still run."


class StorageGoneError(NodeError):
    """A storage's disk is not in the server any more, or answers no more. The guests on it wait.

    When the disk is back, it is checked and mounted by itself, and the guests that waited are started anew.
    """

    code = "FV-NODE-064"
    http_status = 503
    advice = "Put the disk back, or check its cables; another disk takes its place only by a site that names it."


class StorageSlowError(NodeError):
    """A storage answers very slowly, or not at all for now. The guests on it wait for it, and go on when it answers."""

    code = "FV-NODE-065"
    http_status = 503
    advice = "Look for a failing disk in `flashvisor node logs`; see which guest writes the most."


class DiskFaultError(NodeError):
    """A read or write of a guest's disk failed though its storage looks sound. The guest waits; it is tried again."""

    code = "FV-NODE-066"
    http_status = 503
    advice = "Look for a failing disk in `flashvisor node logs`, and save what the guest holds."


class GuestFilesError(NodeError):
    """A guest's files on the server cannot be read or made, so that it cannot be started. It will be tried again."""

    code = "FV-NODE-067"
    http_status = 503
    advice = "`flashvisor node show` tells how the guest's storage is."


class StorageDegradedError(NodeError):
    """A mirror runs on one of its two disks. Guests run on; if that one fails as well, what they hold is lost.

    A half that comes back is taken in by itself. A new disk is taken in once the site names it, and if it is blank.
    """

    code = "FV-NODE-069"
    http_status = 503
    advice = (
        "Put a disk in, and name it in the site's `raid1` in place of the one that is missing (`node show` lists them)."
    )


class NfsError(NodeError):
    """An NFS server's export cannot be mounted. It is tried again by itself; the guests on it wait."""

    code = "FV-NODE-068"
    http_status = 503
    advice = (
        "Check the name and the network; the server must export the directory to this one by NFS 4.1 or newer, "
        "read-write, and with no_root_squash."
    )


# --- GUEST --------------------------------------------------------------------------------------------------


class UnknownGuestError(GuestError):
    """No guest of that name is in the server's site."""

    code = "FV-GUEST-001"
    http_status = 404
    advice = "`flashvisor guest list` lists them."


class GuestStateError(GuestError):
    """The guest is not in a state in which this can be done."""

    code = "FV-GUEST-002"
    advice = "`flashvisor guest show NAME` tells its state."


class HypervisorError(GuestError):
    """libvirt or QEMU refused. Their own words are given as evidence."""

    code = "FV-GUEST-003"
    http_status = 500
    advice = "`flashvisor node logs` holds what libvirt said before; if it tells nothing, report this as a bug."


class GuestSilentError(GuestError):
    """A guest did not answer its probe in time. It goes on running."""

    code = "FV-GUEST-004"
    http_status = 504
    advice = "Look at `flashvisor guest show NAME`, and at its console: `flashvisor guest console NAME`."


class RestartsSpentError(GuestError):
    """A guest failed more often than its `restarts` allows. It is left as it is: down, or running without answering."""

    code = "FV-GUEST-030"
    advice = "Look at its console: `flashvisor guest console NAME`; `flashvisor guest start NAME` begins to count anew."


# --- LAB ----------------------------------------------------------------------------------------------------


class UnknownServerError(LabError):
    """No virtual server of that name is in the rack."""

    code = "FV-LAB-001"
    http_status = 404
    advice = "`flashvisor lab list` lists them."


class ServerDiedError(LabError):
    """A virtual server's QEMU ended by itself, or could not be started."""

    code = "FV-LAB-002"
    advice = "Look at the lines above; `flashvisor lab down` and `flashvisor lab up` start it afresh."


class WaitTimeoutError(LabError):
    """Something awaited did not happen within its limit. The serial log's last lines are given as evidence."""

    code = "FV-LAB-003"
    advice = "Look at it: `flashvisor lab console NAME`, `flashvisor lab screen NAME FILE`, or its whole serial log."


class ServerExistsError(LabError):
    """The rack has a virtual server of that name already. It was not touched."""

    code = "FV-LAB-004"
    http_status = 409
    advice = (
        "Choose another name, or put this one on (`flashvisor lab power NAME on`) or away (`flashvisor lab down NAME`)."
    )


class ServerOffError(LabError):
    """The virtual server is off, and what was asked needs it to be on."""

    code = "FV-LAB-005"
    http_status = 409
    advice = "Power it on: `flashvisor lab power NAME on`."


class ServerOnError(LabError):
    """The virtual server runs, and what was asked needs it to be off."""

    code = "FV-LAB-010"
    http_status = 409
    advice = "Pull its plug: `flashvisor lab power NAME off`."


class MonitorError(LabError):
    """QEMU's monitor refused a command, or did not answer. Its own words are given."""

    code = "FV-LAB-006"
    advice = "Look into the server's qemu.log; `flashvisor lab power NAME off` always works."


class RackStateError(LabError):
    """A file in which the lab remembers its servers is not what this version of flashvisor writes."""

    code = "FV-LAB-007"
    advice = "`flashvisor lab down --all` stops what it can name and clears the rack."


class ConsoleBusyError(LabError):
    """Somebody else is on the virtual server's serial console, and it has one line only."""

    code = "FV-LAB-009"
    http_status = 409
    advice = "Leave the other `flashvisor lab console` with Ctrl-]; the serial log shows the same output."


class NoFreePortError(LabError):
    """No port is free on the loopback interface for a virtual server, or the port asked for is taken."""

    code = "FV-LAB-008"
    advice = "Name another port, or take down servers that are no longer needed: `flashvisor lab list`."


class WriteLogError(LabError):
    """A log of what was written to a virtual server's flash is not one, or ends in the middle of an entry."""

    code = "FV-LAB-011"
    advice = "Give QEMU time to end before the log is read: `flashvisor lab power NAME off`."


def catalogue() -> dict[str, type[FlashvisorError]]:
    """All error classes that have a code, by code."""

    def walk(cls: type[FlashvisorError]) -> Iterator[type[FlashvisorError]]:
        yield cls
        for sub in cls.__subclasses__():
            yield from walk(sub)

    return {cls.code: cls for cls in walk(FlashvisorError) if cls.code}
