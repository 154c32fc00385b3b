"""Signs a flashvisor.efi that somebody else built with the owner's key, after looking at what it is.

Owns what is checked before, and after. It cannot tell whether the image is good: whoever names its SHA-256 vouches
for that::

    done = countersign(image, output, keyring, sha256="9f86d081...")
    done.before, done.sha256

Source: UAPI.5 Unified Kernel Image (sections).
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.errors import NotAnImageError, StrangeExecutableError, UnreadableFileError
from flashvisor.host import sbsign
from flashvisor.host.files import replacing, sha256_file
from flashvisor.host.pe import sections
from flashvisor.image.inspect import OS_RELEASE, os_release
from flashvisor.model.slot import IMAGE_LIMIT

if TYPE_CHECKING:
    from flashvisor.trust.keyring import Keyring

# Without one of them it is no hypervisor of ours: kernel, root, command line, name.
WANTED = (".linux", ".initrd", ".cmdline", OS_RELEASE)
OUR_ID = "flashvisor"


@dataclass(frozen=True)
class Signed:
    """What was signed.

    Args:
        before: Subjects of the signatures that it came with.
        after: Subjects of those that the output has.
        size: Of the output, in bytes.
        sha256: Of the output.
    """

    before: tuple[str, ...]
    after: tuple[str, ...]
    size: int
    sha256: str


def check(image: Path, sha256: str, name: str) -> None:
    """Checks that a file is the flashvisor.efi that is meant.

    Args:
        image: The file.
        sha256: What its SHA-256 must be, 64 hex digits.
        name: What errors call it.

    Raises:
        StrangeExecutableError: it is another one, or none.
    """
    size = image.stat().st_size
    if size >= IMAGE_LIMIT:
        raise StrangeExecutableError(f"{name} does not fit a slot: limit {IMAGE_LIMIT} bytes, got {size}")
    found = sha256_file(image)
    if found != sha256.lower():
        raise StrangeExecutableError(f"{name} is another file: expected SHA-256 {sha256}, got {found}")
    try:
        table = sections(image)
    except NotAnImageError as error:
        raise StrangeExecutableError(f"{name} is no UEFI executable: {error.what}") from error
    if absent := [wanted for wanted in WANTED if wanted not in table]:
        raise StrangeExecutableError(f"{name} is no flashvisor.efi: it lacks the sections {', '.join(absent)}")
    if os_release(image).get("ID") != OUR_ID:
        raise StrangeExecutableError(f"{name} is no flashvisor.efi: its os-release lacks the line ID={OUR_ID}")


def countersign(image: Path, output: Path, keyring: Keyring, *, sha256: str, replace: bool = False) -> Signed:
    """Writes a copy of an image that has the owner's signature; `output` is whole, or as it was.

    Args:
        image: Somebody's flashvisor.efi, signed or not.
        output: Where the copy goes; may be the image itself.
        keyring: Its db key signs.
        sha256: What the image's SHA-256 must be.
        replace: Take off the signatures that it came with; else the owner's stands beside them.

    Raises:
        StrangeExecutableError: it is not what it should be, or too large for a slot when signed.
        UnreadableFileError: it cannot be read.
        BadSignatureError: the tools wrote a signature that does not hold.
    """
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "image.efi"
        try:
            shutil.copyfile(image, copy)  # checked and signed is one file that nobody else can change meanwhile
        except OSError as error:
            raise UnreadableFileError(f"{image} cannot be read: {error.strerror}") from error
        check(copy, sha256, str(image))
        before = tuple(sbsign.signatures(copy))
        if replace:
            sbsign.strip(copy)
        with keyring.unlocked("db") as files, replacing(output) as half:
            sbsign.sign(copy, half, key=files.key, cert=files.cert)
            sbsign.verify(half, files.cert)
            size = half.stat().st_size
            if size >= IMAGE_LIMIT:
                raise StrangeExecutableError(f"{image} does not fit a slot: limit {IMAGE_LIMIT} bytes, signed {size}")
            after = tuple(sbsign.signatures(half))
    return Signed(before=before, after=after, size=size, sha256=sha256_file(output))
