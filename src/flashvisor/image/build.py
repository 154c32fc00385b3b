"""The build from end to end: packages, kernel, QEMU, libvirt, root, one signed file, and the flash that holds it.

Owns the order of steps and what stands in the output directory. Each step has its own module::

    result = build(Cache(default_root()), keyring, Path("build/kvm"))
    result.efi, result.ledger.slot_bytes
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

import flashvisor
from flashvisor.guests.qemuconf import qemu_conf
from flashvisor.host import cpio, dpkg, squashfs, ukify
from flashvisor.host.files import GIB, need_space, sha256_file, write_atomic
from flashvisor.host.sbsign import sign
from flashvisor.image import ledger as ledgers
from flashvisor.image import root
from flashvisor.image.cache import Step, digest
from flashvisor.image.kernel import kernel
from flashvisor.image.libraries import LIBRARIES, compiled
from flashvisor.image.libvirt import libvirt
from flashvisor.image.nolibc import FLAGS, compile_program
from flashvisor.image.pythonfiles import python_files
from flashvisor.image.qemu import qemu
from flashvisor.image.recipes import RECIPE, load
from flashvisor.image.trees import build_root, installed, root_packages
from flashvisor.image.workshop import EPOCH, workshop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flashvisor.image.cache import Cache
    from flashvisor.image.recipes import Recipe
    from flashvisor.trust.keyring import Keyring

SOURCE = Path(flashvisor.__file__).parent.parent
UNITS = SOURCE / "flashvisor/node/units"
UNIT_PLACES = {
    "*.service": "/usr/lib/systemd/system",
    "*.timer": "/usr/lib/systemd/system",
    "*.network": "/usr/lib/systemd/network",
    "*.tmpfiles.conf": "/usr/lib/tmpfiles.d",
}
CMDLINE = "console=tty0 console=ttyS0,115200 rootfstype=ramfs panic=10 oops=panic loglevel=4 lockdown=integrity"
STUB_PACKAGE = "systemd-boot-efi"


@dataclass(frozen=True)
class BuildResult:
    """What a build left in its output directory."""

    efi: Path
    unsigned: Path
    ledger: ledgers.Ledger
    entries: Sequence[root.Entry]


def build(cache: Cache, keyring: Keyring, output: Path, *, recipe: Recipe | None = None) -> BuildResult:
    """Builds the image, signs it with the owner's key and checks it against the ledger.

    Args:
        cache: The build cache.
        keyring: Signs the modules and the image.
        output: Directory for `flashvisor.efi` and `ledger.json`; nothing is put there by a build that fails.
        recipe: Another recipe than the shipped one, for tests.

    Raises:
        ComponentTooLargeError: a component, or the file, outgrew its limit.
        FlashvisorError: a step failed.
    """
    need_space(output, 1 * GIB // 4, "the build's output")
    recipe = recipe or load()
    modules = keyring.module_key
    linux = kernel(cache, modules)
    entries = plan(cache, recipe, linux)
    filesystem = _filesystem(cache, entries)
    unsigned = _unified(cache, linux, filesystem) / "flashvisor.unsigned.efi"
    signed = _signed(cache, unsigned, keyring) / "flashvisor.efi"
    ledger = ledgers.account(
        slot_bytes=signed.stat().st_size,
        kernel=((linux / "bzImage").stat().st_size, (linux / "bzImage").stat().st_size),
        root_bytes=(filesystem / "root.squashfs").stat().st_size,
        weights=json.loads((filesystem / "weights.json").read_text()),
        limits=recipe.limits(),
    )
    ledger.check()
    write_atomic(output / "flashvisor.efi", signed.read_bytes())
    write_atomic(output / "ledger.json", msgspec.json.format(msgspec.json.encode(ledger), indent=1))
    return BuildResult(efi=output / "flashvisor.efi", unsigned=unsigned, ledger=ledger, entries=entries)


def plan(cache: Cache, recipe: Recipe, linux: Path) -> list[root.Entry]:
    """Returns what stands in the root, after whatever it is made of has been built."""
    packages = root_packages(cache)
    sources = root.Sources(
        trees={
            "packages": packages,
            "qemu": qemu(cache),
            "libvirt": libvirt(cache),
            **{name: compiled(cache, name) for name in LIBRARIES},
        },
        owners=dpkg.owner_of_files(packages),
        modules=linux / "modules",
        python=python_files(cache, packages, recipe, SOURCE),
        own=_own_files(cache),
    )
    return root.plan(recipe, sources)


def _own_files(cache: Cache) -> dict[str, Path]:
    """Files laid over the root: the recipe's, the agent's units, and what our code generates."""
    top = RECIPE / "root"
    files = {f"/{path.relative_to(top)}": path for path in sorted(top.rglob("*")) if path.is_file()}
    for pattern, place in UNIT_PLACES.items():
        files |= {f"{place}/{path.name}": path for path in sorted(UNITS.glob(pattern))}

    def generate(place: Path) -> None:
        (place / "qemu.conf").write_text(qemu_conf())

    generated = cache.get(Step("generated", inputs={"qemu.conf": qemu_conf()}, build=generate, expected=0))
    return files | {"/etc/libvirt/qemu.conf": generated / "qemu.conf"}


def _filesystem(cache: Cache, entries: Sequence[root.Entry]) -> Path:
    """Returns the step's directory with `root.squashfs` and `weights.json`."""
    tree = build_root(cache)
    lines = [
        f"{one.path} {one.mode:o} {one.target} {sha256_file(one.source) if one.source else ''} {one.component}"
        f" {one.rank}"
        for one in entries
    ]

    def make(place: Path) -> None:
        root.write(entries, place / "root")
        ranks = {one.path: one.rank for one in entries if one.rank}
        squashfs.pack(tree, place, "root", "root.squashfs", epoch=EPOCH, ranks=ranks)
        shutil.rmtree(place / "root")
        (place / "weights.json").write_text(json.dumps(ledgers.weigh(entries)))

    inputs = {"files": digest("\n".join(lines)), "squashfs-tools": installed(tree)["squashfs-tools"]}
    inputs |= {"options": " ".join(squashfs.OPTIONS), "epoch": str(EPOCH), "weights": digest(str(ledgers.FILTERS))}
    return cache.get(Step("root", inputs=inputs, build=make, title="Compressed root", expected=70, space=GIB))


def _unified(cache: Cache, linux: Path, filesystem: Path) -> Path:
    """Returns the step's directory with the unsigned image."""
    tree = build_root(cache)
    source = (RECIPE / "init.c").read_text()

    def make(place: Path) -> None:
        with workshop(tree, place, cache.root / "logs/unified.log") as shop:
            (shop.work / "initrd").mkdir()
            compile_program(shop, linux / "nolibc", source, "initrd/init")
            shutil.copyfile(filesystem / "root.squashfs", shop.work / "initrd/root.squashfs")
            shutil.copyfile(linux / "bzImage", shop.work / "linux")
            for path in (shop.work / "initrd").iterdir():
                path.chmod(0o755 if path.name == "init" else 0o644)
            cpio.pack(tree, shop.work, "initrd", "initrd.cpio", epoch=EPOCH)
            parts = ukify.Parts("linux", "initrd.cpio", CMDLINE, _os_release(), (linux / "release").read_text())
            ukify.build(tree, shop.work, parts, "flashvisor.unsigned.efi")
            shop.keep("flashvisor.unsigned.efi", place)

    versions = installed(tree)
    inputs = {name: versions[name] for name in (STUB_PACKAGE, "systemd-ukify", "gcc-14", "cpio")}
    inputs |= {"kernel": sha256_file(linux / "bzImage"), "root": sha256_file(filesystem / "root.squashfs")}
    inputs |= {"nolibc": " ".join(FLAGS), "epoch": str(EPOCH)}
    inputs |= {"init": digest(source), "cmdline": CMDLINE, "os-release": digest(_os_release())}
    return cache.get(Step("unified", inputs=inputs, build=make, title="One UEFI file", expected=10, space=GIB // 4))


def _signed(cache: Cache, unsigned: Path, keyring: Keyring) -> Path:
    """Returns the step's directory with the image under the owner's signature."""
    certificate = keyring.certificate("db")

    def make(place: Path) -> None:
        with keyring.unlocked("db") as files:
            sign(unsigned, place / "flashvisor.efi", key=files.key, cert=files.cert)

    inputs = {"unsigned": sha256_file(unsigned), "certificate": digest(certificate)}
    return cache.get(Step("signed", inputs=inputs, build=make, title="Signature", expected=1, space=GIB // 4))


def _os_release() -> str:
    return (RECIPE / "root/etc/os-release").read_text()
