"""QEMU, compiled from Debian's source package: KVM only, and only the devices that our guests get.

Owns QEMU's build; its result is a tree with `qemu-system-x86_64` and `qemu-img`, stripped. The device list is
recipe/qemu-devices.mak; what is switched on stands below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor.host.files import GIB
from flashvisor.image.cache import Step, digest
from flashvisor.image.recipes import RECIPE
from flashvisor.image.trees import build_root, installed
from flashvisor.image.workshop import JOBS, LEAN_CFLAGS, LEAN_LDFLAGS, source_version, workshop

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.image.cache import Cache

PROGRAMS = ("qemu-system-x86_64", "qemu-img")
OPTIONS = (
    "--target-list=x86_64-softmmu", "--without-default-features", "--without-default-devices",
    "--with-devices-x86_64=flash", "--enable-kvm", "--disable-tcg", "--enable-system", "--enable-vnc",
    "--enable-gnutls", "--enable-pixman", "--enable-seccomp", "--enable-linux-aio", "--enable-linux-io-uring",
    "--enable-cap-ng", "--enable-fdt=system", "--enable-vhost-kernel", "--enable-vhost-net", "--enable-tools",
    "--enable-tpm", "--enable-vmdk", "--enable-vhdx", "--enable-vpc", "--enable-zstd", "--enable-hv-balloon",
    "--disable-docs", "--disable-install-blobs", "--audio-drv-list=", "--disable-debug-info", "-Doptimization=s",
    f"--extra-cflags={LEAN_CFLAGS}", f"--extra-ldflags={LEAN_LDFLAGS}",
    "--prefix=/usr", "--firmwarepath=/usr/share/qemu:/usr/share/seabios",
)  # fmt: skip


def qemu(cache: Cache) -> Path:
    """Returns the directory of a tree with QEMU's programs under /usr/bin."""
    root = build_root(cache)
    devices = (RECIPE / "qemu-devices.mak").read_text()

    def build(place: Path) -> None:
        with workshop(root, place, cache.root / "logs/qemu.log") as shop:
            source = shop.unpack("qemu")
            (shop.work / "qemu/configs/devices/x86_64-softmmu/flash.mak").write_text(devices)
            shop.run("mkdir", f"{source}/build")
            shop.run("../configure", *OPTIONS, cwd=f"{source}/build")
            shop.run("ninja", f"-j{JOBS}", *PROGRAMS, cwd=f"{source}/build")
            for program in PROGRAMS:
                shop.run("strip", "--strip-all", f"{source}/build/{program}")
                shop.keep(f"qemu/build/{program}", place / "root/usr/bin")

    inputs = {"source": source_version(root, "qemu"), "devices": digest(devices)}
    inputs |= {"options": " ".join(OPTIONS), "gcc": installed(root)["gcc-14"]}
    step = Step("qemu", inputs=inputs, build=build, title="QEMU", expected=240, space=2 * GIB)
    return cache.get(step) / "root"
