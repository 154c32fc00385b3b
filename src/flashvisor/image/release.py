"""What a release's manifest says of an image: its hash, its chunks, the devices that it drives.

Does not own signing (trust/repository.py). `describe` takes the image apart with the build root's tools::

    manifest = describe(efi, Title("flashvisor", "1.2", Flavour.KVM), work, build_root(cache))
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.errors import StrangeImageError
from flashvisor.flash.chunks import cut
from flashvisor.image.inspect import files_of
from flashvisor.model.drivers import BUILTIN, LOADABLE, modaliases
from flashvisor.model.release import Flavour, Manifest
from flashvisor.model.slot import IMAGE_LIMIT

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Title:
    """What a release is called."""

    name: str
    version: str
    flavour: Flavour


def describe(efi: Path, title: Title, work: Path, tree: Path) -> Manifest:
    """Returns the manifest of an image.

    Args:
        efi: The signed image.
        title: What the release is called.
        work: An empty directory for what is taken out of the image.
        tree: The build root, whose cpio and unsquashfs are used.

    Raises:
        StrangeImageError: it is longer than a slot, or its list of drivers is not in it.
    """
    image = efi.read_bytes()
    if len(image) >= IMAGE_LIMIT:
        raise StrangeImageError(f"{efi.name} has {len(image)} bytes, and a slot holds {IMAGE_LIMIT}")
    files_of(efi, work, tree)
    return Manifest(
        name=title.name,
        version=title.version,
        flavour=title.flavour,
        sha256=hashlib.sha256(image).hexdigest(),
        length=len(image),
        modaliases=modaliases(_read(work, LOADABLE).decode(), _read(work, BUILTIN)),
        chunks=tuple(chunk for chunk, _ in cut(image)),
    )


def _read(work: Path, name: str) -> bytes:
    found = sorted(work.glob(f"root/usr/lib/modules/*/{name}"))
    if len(found) != 1:
        raise StrangeImageError(f"the image's root has {len(found)} files /usr/lib/modules/*/{name}, expected 1")
    return found[0].read_bytes()
