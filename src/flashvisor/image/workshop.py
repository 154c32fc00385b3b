"""A place to compile one thing in: the build root as /, a writable directory as /mnt, a log, no network.

Owns how Debian's source packages are unpacked and how commands run; not what is compiled::

    with workshop(root, place, log) as shop:
        source = shop.unpack("qemu")                # /mnt/qemu
        shop.run("ninja", "-j2", cwd=f"{source}/build")
        shop.keep("qemu/build/qemu-img", place)
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.errors import MissingFileError
from flashvisor.host.bubblewrap import enter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

EPOCH = 1_767_225_600  # seconds since 1970: 2026-01-01, the time that stands in everything built
JOBS = 2
# Nothing here throws exceptions, so tables for unwinding are dead weight; relative relocations have a short form
# (DT_RELR) that glibc has read since 2.36. docs/adr/0012 has what both weigh.
LEAN_CFLAGS = "-Os -fno-asynchronous-unwind-tables -fno-unwind-tables"
LEAN_LDFLAGS = "-Wl,-z,pack-relative-relocs"
# Arguments of make. Debian's patches are newer than the generated files; nothing of the build system itself changed.
AUTOTOOLS = ("ACLOCAL=true", "AUTOCONF=true", "AUTOHEADER=true", "AUTOMAKE=true")


@dataclass(frozen=True)
class Workshop:
    """The build root, the directory seen inside as /mnt, and where output goes."""

    root: Path
    work: Path
    log: Path

    def run(self, *argv: str, cwd: str = "/mnt", env: Mapping[str, str] | None = None) -> None:
        """Runs a command inside.

        Raises:
            CommandFailedError: it failed; the log's last lines are the evidence.
        """
        settings = {"SOURCE_DATE_EPOCH": str(EPOCH), **(env or {})}
        enter(self.root, argv, binds={self.work: "/mnt"}, cwd=cwd, env=settings, log_to=self.log)

    def unpack(self, source: str) -> str:
        """Unpacks a Debian source package from the root's /usr/src, patched; returns where, as seen inside."""
        upstream, debian = (f"/usr/src/{path.name}" for path in source_archives(self.root, source))
        place = f"/mnt/{source}"
        self.run("mkdir", place)
        self.run("tar", "-xf", upstream, "--strip-components=1", "-C", place)
        self.run("tar", "-xf", debian, "-C", place)
        self.run("dpkg-source", "--before-build", place)
        return place

    def keep(self, path: str, place: Path) -> None:
        """Copies a built file, named relative to /mnt, into a directory of the result."""
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.work / path, place / path.rsplit("/", 1)[-1])


def source_archives(root: Path, source: str) -> tuple[Path, Path]:
    """Returns a source package's upstream and Debian archives in the root's /usr/src (dpkg-source(1), 3.0 quilt).

    Raises:
        MissingFileError: one of them is not there.
    """
    upstream = sorted((root / "usr/src").glob(f"{source}_*.orig.tar.*"))
    debian = sorted((root / "usr/src").glob(f"{source}_*.debian.tar.*"))
    if not upstream or not debian:
        raise MissingFileError(f"the build root holds no source package '{source}' under /usr/src")
    return upstream[-1], debian[-1]


def source_version(root: Path, source: str) -> str:
    """Returns NAME_VERSION of a source package in the root's /usr/src."""
    return source_archives(root, source)[1].name.partition(".debian.tar")[0]


@contextmanager
def workshop(root: Path, place: Path, log: Path) -> Iterator[Workshop]:
    """Gives a workshop in a step's directory, and clears it away when the work is done."""
    work = place / "work"
    work.mkdir()
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    yield Workshop(root, work, log)
    shutil.rmtree(work)
