"""Publishes an image as a release into the owner's repository, after looking at what it is.

Owns what is checked before, and in which order things are done. What a manifest says is release.py's business, what a
repository holds trust/repository.py's::

    done = publish(Path("build/kvm/flashvisor.efi"), Path("releases"), keyring, cache, Order(version="1.4"))
    done.manifest.version, done.until["timestamp"]
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flashvisor.errors import (
    BadSignatureError,
    CommandLineError,
    NotAnImageError,
    StrangeImageError,
    UnreadableFileError,
)
from flashvisor.flash.chunks import cut
from flashvisor.host import clock, sbsign
from flashvisor.host.files import MIB, need_space
from flashvisor.host.memory import memory_file
from flashvisor.image.countersign import OUR_ID
from flashvisor.image.inspect import os_release
from flashvisor.image.release import Title, describe
from flashvisor.image.trees import build_root
from flashvisor.model.release import Flavour, Name, Version
from flashvisor.trust.repository import Repository, expiries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from datetime import datetime

    from flashvisor.image.cache import Cache
    from flashvisor.model.release import Chunk, Manifest
    from flashvisor.trust.keyring import Keyring

    # Shows work that takes a while: what is done, and how many bytes it is in all; told of bytes as they are done.
    Show = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]

SCRATCH = 512 * MIB  # bytes; an image, its initramfs, and the root unpacked, with room


@dataclass(frozen=True)
class Order:
    """What the release is to be called; `version` is the image's own if it is ""."""

    name: str = "flashvisor"
    version: str = ""


@dataclass(frozen=True)
class Published:
    """A release that was published, and until when servers take the repository's metadata, by TUF role."""

    manifest: Manifest
    until: dict[str, datetime]


@contextmanager
def silent(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Shows nothing."""
    del title, total
    yield lambda count: None


def publish(
    image: Path, directory: Path, keyring: Keyring, cache: Cache, order: Order = Order(), *, show: Show = silent
) -> Published:
    """Adds an image to a repository, which is made if it is not there, and signs the repository anew.

    The keyring gets its first root if it has none yet.

    Args:
        image: A flashvisor.efi that has the owner's signature.
        directory: The repository.
        keyring: The owner's.
        cache: Holds, or gets, the build root, whose tools take the image apart.
        order: What the release is to be called.
        show: Shows what is under way.

    Raises:
        UnreadableFileError: the image cannot be read.
        StrangeImageError: it is no flashvisor.efi, too long for a slot, or does not say for which hypervisor it is.
        CommandLineError: such names or versions servers do not take.
        BadSignatureError: the owner's db key has not signed it.
        OldKeyringError: the keyring has no keys for releases.
        RollbackError, RootChainError, ExpiredError: as Repository.publish raises them.
    """
    need_space(Path(tempfile.gettempdir()), SCRATCH, "taking the image apart")
    with tempfile.TemporaryDirectory() as scratch:
        copy, work = Path(scratch) / "copy" / image.name, Path(scratch) / "work"
        for place in (copy.parent, work):
            place.mkdir()
        try:
            shutil.copyfile(image, copy)  # checked and published is one file that nobody can change meanwhile
        except OSError as error:
            advice = "`flashvisor build` makes build/kvm/flashvisor.efi."
            raise UnreadableFileError(f"{image} cannot be read: {error.strerror}", next_step=advice) from error
        title = title_of(copy, order)
        require_signature(copy, keyring, image)
        keyring = keyring.founded()
        repository = Repository(directory, keyring.tuf_keys(), keyring.roots)
        tree = build_root(cache)
        with show(f"Describing {title.name} {title.version}", None):
            manifest = describe(copy, title, work, tree)
        with show(f"Publishing {title.name} {title.version}", manifest.length) as advance:
            repository.publish(manifest, _told(cut(copy.read_bytes()), advance), clock.now())
    return Published(manifest, expiries(directory))


def title_of(efi: Path, order: Order) -> Title:
    """Returns what an image's release is called: by order, and by what the image says of itself (IMAGE_ID, -VERSION).

    Source: os-release(5).

    Raises:
        StrangeImageError: it is no flashvisor.efi, or does not say for which hypervisor it is.
        CommandLineError: such names or versions servers do not take.
    """
    try:
        fields = os_release(efi)
    except NotAnImageError as error:
        raise StrangeImageError(f"{efi.name} is no flashvisor.efi: {error.what}") from error
    if fields.get("ID") != OUR_ID:
        raise StrangeImageError(f"{efi.name} is no flashvisor.efi: its os-release lacks the line ID={OUR_ID}")
    said = fields.get("IMAGE_ID", "")
    flavours = {f"{OUR_ID}-{flavour.value}": flavour for flavour in Flavour}
    if said not in flavours:
        expected = " or ".join(flavours)
        raise StrangeImageError(f"{efi.name} is for no known hypervisor: expected IMAGE_ID={expected}, got '{said}'")
    version = order.version or fields.get("IMAGE_VERSION", "")
    _require(Name, order.name, "--name is up to 32 of a-z, 0-9 and -")
    _require(Version, version, "--version is up to four numbers with dots, like 1.4.2")
    return Title(order.name, version, flavours[said])


def require_signature(efi: Path, keyring: Keyring, label: Path) -> None:
    """Refuses an image that firmware with the owner's keys would refuse.

    Args:
        efi: The image.
        keyring: Its db certificate counts; no private key is needed.
        label: What errors call the image.

    Raises:
        BadSignatureError: the db key in use has not signed it.
    """
    with memory_file(keyring.certificate("db")) as cert:
        try:
            sbsign.verify(efi, cert)
        except BadSignatureError as error:
            raise BadSignatureError(
                f"{label} is not signed with the db key of {keyring.owner}: servers with Secure Boot would refuse it",
                evidence="signed by: " + (", ".join(sbsign.signatures(efi)) or "nobody"),
                next_step=f"`flashvisor sign {label} --sha256 SHA256` adds your signature to somebody else's image.",
            ) from error


def _told(pieces: Iterable[tuple[Chunk, bytes]], advance: Callable[[int], None]) -> Iterator[tuple[Chunk, bytes]]:
    for chunk, data in pieces:
        yield chunk, data
        advance(len(data))


def _require(form: object, value: str, rule: str) -> None:
    try:
        msgspec.convert(value, form)
    except msgspec.ValidationError as error:
        raise CommandLineError(f"{rule}; got {value!r}") from error
