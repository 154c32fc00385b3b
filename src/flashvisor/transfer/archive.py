"""The files of an appliance: members of a tar archive (OVA), or files beside a descriptor (OVF). Nothing is unpacked.

Owns which names and members are safe. Does not own what the descriptor says (ovf.py)::

    package = open_ova(Region.of(Path("web.ova")))
    package.descriptor            # "web.ovf"
    package.member("web-disk1.vmdk").read(0, 4)
"""

from __future__ import annotations

import io
import stat
import tarfile
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote

from flashvisor.errors import (
    ArchiveMemberError,
    ArchivePathError,
    DamagedImageError,
    MissingDiskError,
    OvfError,
    TruncatedImageError,
)
from flashvisor.transfer.region import Region

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HEADER_LIMIT = 1 << 20  # bytes of one header that are read; real ones have a few hundred
MEMBER_LIMIT = 1000
# What else tarfile says of headers that make no sense: of numbers that are none, and of one upon the other, endlessly.
NO_TAR = (ValueError, LookupError, OverflowError, RecursionError)
DESCRIPTOR, MANIFEST = ".ovf", ".mf"


@dataclass(frozen=True)
class Package:
    """An appliance's files by name. `place` is where it lies: the archive, or the descriptor."""

    place: Path
    descriptor: str
    members: Mapping[str, Region]
    beside: Path | None = None

    def member(self, name: str) -> Region:
        """Returns a file.

        Raises:
            ArchivePathError: its name leads elsewhere, or it is a link.
            MissingDiskError: it is not there.
        """
        # A descriptor's names are URI references (RFC 3986): some tools escape spaces in them, some do not.
        for spelling in (name, unquote(name)):
            found = self._find(safe_name(spelling, self.place.name))
            if found is not None:
                return found
        raise MissingDiskError(f"{self.place.name} names the file '{name}', and it is not there")

    def _find(self, name: str) -> Region | None:
        if name in self.members:
            return self.members[name]
        path = self.beside / name if self.beside is not None else None
        if path is None or not path.exists():
            return None
        if path.is_symlink() or not stat.S_ISREG(path.stat().st_mode) or not _below(path, self.beside):
            raise ArchivePathError(f"{self.place.name} names '{name}', which is a link and no plain file beside it")
        return Region.of(path)

    @property
    def manifest(self) -> str | None:
        """The manifest's name: the descriptor's, with another ending (DSP0243 2.1, 5.1); None if there is none."""
        name = self.descriptor[: -len(DESCRIPTOR)] + MANIFEST
        if self.beside is not None:
            return name if (self.beside / name).exists() else None
        return name if name in self.members else None


def open_ova(region: Region) -> Package:
    """Reads a tar archive's headers.

    Raises:
        ArchivePathError: a name leads out of the archive.
        ArchiveMemberError: a member is no plain file, or a name stands there twice.
        TruncatedImageError: the archive ends before its members do.
        DamagedImageError: it is no tar archive.
        OvfError: it holds no descriptor.
    """
    name = region.path.name
    members: dict[str, Region] = {}
    try:
        with _Careful(io.FileIO(region.path)) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for count, member in enumerate(tar):
                if count >= MEMBER_LIMIT:
                    raise ArchiveMemberError(f"{name} has more than {MEMBER_LIMIT} members")
                if not member.isdir():
                    _add(members, member, region)
    except (tarfile.TarError, *NO_TAR) as error:
        raise DamagedImageError(f"{name} is a broken tar archive", evidence=str(error)) from error
    descriptor = next((member for member in members if member.lower().endswith(DESCRIPTOR)), None)
    if descriptor is None:
        raise OvfError(f"{name} is a tar archive without an OVF descriptor", evidence="\n".join(list(members)[:10]))
    return Package(region.path, descriptor, members)


def open_ovf(region: Region) -> Package:
    """Returns a descriptor with the files in its directory."""
    return Package(region.path, region.path.name, {region.path.name: region}, beside=region.path.parent)


def safe_name(name: str, source: str) -> str:
    """Returns a name without needless `./`.

    Raises:
        ArchivePathError: it is absolute, leads upwards, or is not a file's name on every system.
    """
    path = PurePosixPath(name)
    bad = not name.isprintable() or "\\" in name or ":" in name or path.is_absolute() or ".." in path.parts
    if bad or not path.name:
        raise ArchivePathError(f"{source} holds the name {name!r}, which leads out of it")
    return str(path)


def _add(members: dict[str, Region], member: tarfile.TarInfo, region: Region) -> None:
    name = safe_name(member.name, region.path.name)
    if not member.isreg() or member.sparse is not None:
        raise ArchiveMemberError(f"{region.path.name}: its member '{name}' is {_what(member)}: expected plain files")
    if name in members:
        raise ArchiveMemberError(f"{region.path.name} holds '{name}' twice")
    if member.offset_data + member.size > region.size:
        raise TruncatedImageError(
            f"{region.path.name} ends too early: its member '{name}' goes to byte {member.offset_data + member.size}, "
            f"and {region.size} are there"
        )
    members[name] = region.part(member.offset_data, member.size)


def _what(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return f"a link to '{member.linkname}'"
    if member.isdev():
        return "a device or pipe"
    return "a sparse file" if member.isreg() else "of an unknown type"


def _below(path: Path, directory: Path | None) -> bool:
    return directory is not None and path.resolve().is_relative_to(directory.resolve())


class _Careful(io.BufferedReader):
    """A file for tarfile that never gives megabytes at once: headers of hostile archives can claim any size."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Returns the next bytes.

        Raises:
            ArchiveMemberError: a header is longer than any honest one.
        """
        if size is None or not 0 <= size <= HEADER_LIMIT:
            raise ArchiveMemberError(f"a header in the archive is {size} bytes long: expected {HEADER_LIMIT} at most")
        return super().read(size)
