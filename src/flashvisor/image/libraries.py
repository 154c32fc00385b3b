"""Shared libraries that we compile leaner than Debian does; they replace Debian's in the image, name for name.

Owns which, with what left out, and the check that every program still finds its symbols in them. The names and the
symbols' versions are Debian's, so what Debian compiled against them runs as it is (docs/adr/0012)::

    trees = {name: compiled(cache, name) for name in LIBRARIES}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.host.files import GIB
from flashvisor.image.cache import Step
from flashvisor.image.trees import build_root, installed
from flashvisor.image.workshop import AUTOTOOLS, JOBS, LEAN_CFLAGS, LEAN_LDFLAGS, source_version, workshop

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.image.cache import Cache

PLACE = "usr/lib/x86_64-linux-gnu"  # where Debian has libraries


@dataclass(frozen=True)
class Library:
    """How a source package is compiled.

    Args:
        configure: The command, in the source's directory.
        make: Arguments of make.
        files: What is kept: path below the source's directory to name in the image.
        expected: Seconds on 2 cores.
    """

    configure: tuple[str, ...]
    make: tuple[str, ...]
    files: dict[str, str]
    expected: float


LIBRARIES = {  # by the name of Debian's source package
    # TLS for QEMU and libvirt: certificates are files, so no smart cards; hosts have ASCII names, so no IDN.
    "gnutls28": Library(
        configure=(
            "./configure", "--prefix=/usr", "--disable-static", "--without-p11-kit", "--without-idn",
            "--with-included-unistring", "--disable-doc", "--disable-tools", "--disable-tests", "--disable-nls",
            "--disable-cxx", "--disable-libdane", "--without-tpm", "--without-tpm2", "--without-brotli",
            "--without-zstd", "--without-zlib", "--disable-srp-authentication", "--disable-gost",
            f"CFLAGS={LEAN_CFLAGS}", f"LDFLAGS={LEAN_LDFLAGS}",
        ),
        make=(*AUTOTOOLS, "MAKEINFO=true"),
        files={"lib/.libs/libgnutls.so.30": "libgnutls.so.30"},
        expected=120,
    ),
}  # fmt: skip


def compiled(cache: Cache, name: str) -> Path:
    """Returns the directory of a tree with one of LIBRARIES, stripped.

    Args:
        cache: The build cache.
        name: Of Debian's source package.
    """
    root = build_root(cache)
    library = LIBRARIES[name]

    def build(place: Path) -> None:
        with workshop(root, place, cache.root / f"logs/{name}.log") as shop:
            source = shop.unpack(name)
            shop.run(*library.configure, cwd=source)
            shop.run("make", "-s", f"-j{JOBS}", *library.make, cwd=source)
            for path, wanted in library.files.items():
                shop.run("strip", "--strip-unneeded", "-o", f"/mnt/{wanted}", f"{source}/{path}")
                shop.keep(wanted, place / "root" / PLACE)

    inputs = {"source": source_version(root, name), "gcc": installed(root)["gcc-14"]}
    inputs |= {"how": " ".join((*library.configure, *library.make, *library.files))}
    step = Step(name, inputs=inputs, build=build, title=name, expected=library.expected, space=GIB)
    return cache.get(step) / "root"
