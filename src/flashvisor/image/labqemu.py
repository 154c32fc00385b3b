"""The QEMU that virtual servers run in, compiled from Debian's source: emulation with SVM that UEFI guests survive.

Owns what is built, and the two places where the source gets the lock that it lacks (docs/adr/0011). One lab on Debian
12 and 13: the program is started through the build root's own dynamic linker, so that nothing is installed::

    spec = ServerSpec(name="alpha", flash=flash, qemu=lab_qemu(cache))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor.errors import SourceChangedError
from flashvisor.host.files import GIB
from flashvisor.image.cache import Step, digest
from flashvisor.image.qemu import SOURCE_PACKAGE, compile_qemu
from flashvisor.image.recipes import RECIPE
from flashvisor.image.trees import build_root, installed, root_packages
from flashvisor.image.workshop import source_version, workshop

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.image.cache import Cache

NAME = "qemu-system-x86_64"
OPTIONS = (
    "--target-list=x86_64-softmmu", "--without-default-features", "--without-default-devices",
    "--with-devices-x86_64=lab", "--enable-system", "--enable-tcg", "--enable-kvm", "--enable-slirp", "--enable-tpm",
    "--enable-pixman", "--enable-png", "--enable-vnc", "--enable-linux-aio", "--enable-fdt=system", "--disable-docs",
    "--disable-install-blobs", "--audio-drv-list=", "--disable-debug-info", "-Doptimization=2", "--prefix=/usr",
)  # fmt: skip
# Virtual interrupts (SVM's V_IRQ) are raised while other threads raise real ones: both write one word, under one lock.
LOCKED = (
    ("target/i386/tcg/system/misc_helper.c", "cpu_interrupt(cs, CPU_INTERRUPT_VIRQ);"),
    ("target/i386/tcg/system/svm_helper.c", "cs->interrupt_request |= CPU_INTERRUPT_VIRQ;"),
)
LOCK_HEADER = '#include "qemu/main-loop.h"\n'
FIRST_HEADER = '#include "qemu/osdep.h"\n'
SCRIPT = """\
#!/bin/sh
exec {tree}/usr/lib64/ld-linux-x86-64.so.2 --library-path {tree}/usr/lib/x86_64-linux-gnu \\
  {program} -L {roms}/usr/share/qemu -L {roms}/usr/share/seabios "$@"
"""


def lab_qemu(cache: Cache) -> Path:
    """Returns a program that is called as qemu-system-x86_64 is."""
    root, roms = build_root(cache), root_packages(cache)
    program = _program(cache, root) / NAME
    text = SCRIPT.format(tree=root, roms=roms, program=program)

    def build(place: Path) -> None:
        (place / NAME).write_text(text)
        (place / NAME).chmod(0o755)

    return cache.get(Step("labqemu", inputs={"script": text}, build=build, expected=0)) / NAME


def locked(source: str, statement: str) -> str:
    """Returns C source in which a statement runs under QEMU's big lock. Pure.

    Raises:
        SourceChangedError: the source does not hold the statement once, or lacks the header that all sources include.
    """
    if source.count(statement) != 1 or FIRST_HEADER not in source:
        raise SourceChangedError(f"QEMU's source does not hold '{statement}' exactly once")
    text = source.replace(statement, f"bql_lock(); {statement} bql_unlock();")
    return text if LOCK_HEADER in text else text.replace(FIRST_HEADER, FIRST_HEADER + LOCK_HEADER)


def _program(cache: Cache, root: Path) -> Path:
    devices = (RECIPE / "labqemu-devices.mak").read_text()

    def build(place: Path) -> None:
        with workshop(root, place, cache.root / "logs/labqemu.log") as shop:
            source = shop.unpack(SOURCE_PACKAGE)
            for path, statement in LOCKED:
                file = shop.work / SOURCE_PACKAGE / path
                file.write_text(locked(file.read_text(), statement))
            compile_qemu(shop, source, OPTIONS, (NAME,), {"lab": devices})
            shop.keep(f"qemu/build/{NAME}", place)

    inputs = {"source": source_version(root, SOURCE_PACKAGE), "devices": digest(devices)}
    inputs |= {"options": " ".join(OPTIONS), "locked": digest(str(LOCKED)), "gcc": installed(root)["gcc-14"]}
    step = Step("labqemu-program", inputs=inputs, build=build, title="The lab's QEMU", expected=240, space=2 * GIB)
    return cache.get(step)
