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
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from flashvisor.image.cache import Cache
    from flashvisor.image.workshop import Workshop

SOURCE_PACKAGE = "qemu"
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
            compile_qemu(shop, shop.unpack(SOURCE_PACKAGE), OPTIONS, PROGRAMS, {"flash": devices})
            for program in PROGRAMS:
                shop.keep(f"qemu/build/{program}", place / "root/usr/bin")

    inputs = {"source": source_version(root, SOURCE_PACKAGE), "devices": digest(devices)}
    inputs |= {"options": " ".join(OPTIONS), "gcc": installed(root)["gcc-14"]}
    step = Step("qemu", inputs=inputs, build=build, title="QEMU", expected=240, space=2 * GIB)
    return cache.get(step) / "root"


def compile_qemu(
    shop: Workshop, source: str, options: Sequence[str], programs: Sequence[str], devices: Mapping[str, str]
) -> None:
    """Compiles programs of an unpacked source into its build directory, stripped.

    Args:
        shop: The workshop.
        source: Where the source is, as seen inside (`Workshop.unpack`).
        options: Of configure.
        programs: Their names.
        devices: Device lists for `--with-devices-x86_64`, by name.
    """
    for name, text in devices.items():
        (shop.work / SOURCE_PACKAGE / f"configs/devices/x86_64-softmmu/{name}.mak").write_text(text)
    shop.run("mkdir", f"{source}/build")
    shop.run("../configure", *options, cwd=f"{source}/build")
    shop.run("ninja", f"-j{JOBS}", *programs, cwd=f"{source}/build")
    for program in programs:
        shop.run("strip", "--strip-all", f"{source}/build/{program}")
