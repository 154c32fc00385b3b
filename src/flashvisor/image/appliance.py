"""Appliances: guests that are one file. Our kernel, one service from Debian's packages, no shell.

Owns how a recipe of the catalogue becomes NAME.efi, a unified kernel image. A flashvisor server starts it by taking
its sections out; any UEFI machine starts it as it is::

    result = build(Cache(default_root()), keyring, "hello", Path("build/appliances"))
    result.path, result.size

The programs' root is planned and checked as the image's own root is (root.py). What starts in it is
recipe/appliances/init.c, and then the service.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from flashvisor.errors import MissingFileError
from flashvisor.host import cpio, dpkg, ukify
from flashvisor.host.files import GIB, need_space, sha256_file, write_atomic
from flashvisor.image import root
from flashvisor.image.cache import Step, digest
from flashvisor.image.catalogue import APPLIANCES, INIT, Appliance, Compression, Tree, check_size, cmdline, filled, load
from flashvisor.image.kernel import kernel
from flashvisor.image.nolibc import FLAGS, compile_program
from flashvisor.image.recipes import Component, Python, Recipe
from flashvisor.image.trees import appliance_packages, build_root, installed, root_packages
from flashvisor.image.workshop import EPOCH, workshop

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flashvisor.image.cache import Cache
    from flashvisor.trust.keyring import Keyring

SOURCE = APPLIANCES / "init.c"
TOOLS = ("cpio", "gcc-14", "systemd-boot-efi", "systemd-ukify", "xz-utils", "zstd")
TREES = {Tree.IMAGE: root_packages, Tree.APPLIANCES: appliance_packages}
# Programs name the dynamic linker /lib64/ld-linux-x86-64.so.2; the closure puts it beside the other libraries.
# The kernel, which asked for the address, notes there which name servers it was told.
LINKS = {"/lib": "usr/lib", "/lib64": "usr/lib/x86_64-linux-gnu", "/etc/resolv.conf": "/proc/net/pnp"}
NO_MODULES = "modules"  # an empty directory: what an appliance needs of them, it gets by name
# What a disk needs: init loads the modules, and makes the file system.
DISK_MODULES = ("crc32c_generic.ko", "crc16.ko", "mbcache.ko", "jbd2.ko", "ext4.ko")
DISK_MODULES_AT = "/usr/lib/modules"
DISK_PROGRAMS = ("/usr/sbin/mke2fs",)
PACKED = "initrd.packed"
# Measured on hello under emulation, 64 MiB of RAM: from start to its first answer 2.4 s, with xz 3.1 s, 0.1 MB less.
# The kernel unpacks xz with the whole dictionary in memory, and knows CRC32 only (Documentation/staging/xz.rst).
COMPRESSIONS = {
    Compression.ZSTD: ("zstd", "-19", "-q", "initrd", "-o", PACKED),
    Compression.XZ: ("xz", "--check=crc32", "--x86", "--lzma2=preset=9e,dict=8MiB", "--suffix=.packed", "initrd"),
}


@dataclass(frozen=True)
class ApplianceFile:
    """A finished appliance. `size` in bytes."""

    recipe: Appliance
    path: Path
    size: int


def build(cache: Cache, keyring: Keyring, name: str, output: Path) -> ApplianceFile:
    """Builds an appliance into `output/NAME.efi`; a build that fails puts nothing there.

    Args:
        cache: The build cache.
        keyring: The kernel is the image's own, so its modules' key has a part in it.
        name: Of the appliance.
        output: A directory, made if missing.

    Raises:
        UnknownNameError: there is no such appliance.
        ComponentTooLargeError: it outgrew its limit.
        FlashvisorError: a step failed.
    """
    recipe = load(name)
    need_space(output, recipe.limit, f"the appliance '{name}'")
    linux = kernel(cache, keyring.module_key)
    made = _unified(cache, recipe, linux) / f"{name}.efi"
    size = check_size(recipe, made.stat().st_size)
    write_atomic(output / made.name, made.read_bytes())
    return ApplianceFile(recipe=recipe, path=output / made.name, size=size)


def plan(cache: Cache, recipe: Appliance, linux: Path) -> list[root.Entry]:
    """Returns what stands in the appliance's root, but for init.

    Raises:
        MissingFileError: the recipe names a file that no package has.
        ForbiddenFileError: something is in the plan that must never ship.
    """
    tree = TREES[recipe.tree](cache)
    own = _own_files(cache, recipe)
    files = {path: own / name for path, name in _file_names(recipe).items()}
    component = Component(
        name=recipe.name, limit=recipe.limit, from_="packages", programs=recipe.programs, files=recipe.files
    )
    if recipe.keeps:
        component = msgspec.structs.replace(component, programs=component.programs + DISK_PROGRAMS)
        files |= {f"{DISK_MODULES_AT}/{name}": _module(linux, name) for name in DISK_MODULES}
    sources = root.Sources(
        trees={"packages": tree},
        owners=dpkg.owner_of_files(tree),
        modules=own / NO_MODULES,
        python={},
        own=files,
    )
    return root.plan(Recipe(component=(component,), links=LINKS, python=Python()), sources)


def _module(linux: Path, name: str) -> Path:
    found = sorted((linux / "modules").rglob(name))
    if not found:
        raise MissingFileError(
            f"the kernel has no module {name}, which an appliance with a disk needs",
            next_step="See what became of it in image/recipe/kernel.config.",
        )
    return found[0]


def _file_names(recipe: Appliance) -> dict[str, str]:
    return {path: f"{index}.txt" for index, path in enumerate(sorted(recipe.text))}


def _own_files(cache: Cache, recipe: Appliance) -> Path:
    """Returns the directory of a step that holds the files of the recipe's `text`."""
    texts = filled(recipe)

    def write(place: Path) -> None:
        (place / NO_MODULES).mkdir()
        for path, name in _file_names(recipe).items():
            (place / name).write_text(texts[path])

    inputs = {"texts": digest(msgspec.json.encode(texts))}
    return cache.get(Step(f"appliance-{recipe.name}-text", inputs=inputs, build=write, expected=0.1))


def _unified(cache: Cache, recipe: Appliance, linux: Path) -> Path:
    """Returns the directory of the step that makes NAME.efi."""
    tree = build_root(cache)
    entries = plan(cache, recipe, linux)
    source = SOURCE.read_text()
    words, packing = cmdline(recipe), COMPRESSIONS[recipe.compression]
    os_release = f'ID={recipe.name}\nNAME="{recipe.name}"\nVERSION_ID={recipe.version}\n'
    release = (linux / "release").read_text()

    def make(place: Path) -> None:
        with workshop(tree, place, cache.root / f"logs/appliance-{recipe.name}.log") as shop:
            root.write(entries, shop.work / "root")
            compile_program(shop, linux / "nolibc", source, f"root{INIT}")
            (shop.work / f"root{INIT}").chmod(0o755)
            cpio.pack(tree, shop.work, "root", "initrd", epoch=EPOCH)
            shop.run(*packing)
            shutil.copyfile(linux / "bzImage", shop.work / "linux")
            ukify.build(tree, shop.work, ukify.Parts("linux", PACKED, words, os_release, release), f"{recipe.name}.efi")
            shop.keep(f"{recipe.name}.efi", place)

    versions = installed(tree)
    inputs = {name: versions[name] for name in TOOLS}
    inputs |= {"kernel": sha256_file(linux / "bzImage"), "cmdline": words, "os-release": os_release}
    inputs |= {"root": digest(_fingerprint(entries)), "compression": " ".join(packing)}
    inputs |= {"init": digest(source), "flags": " ".join(FLAGS)}
    title = f"Appliance {recipe.name}"
    return cache.get(
        Step(f"appliance-{recipe.name}", inputs=inputs, build=make, title=title, expected=4, space=GIB // 8)
    )


def _fingerprint(entries: Sequence[root.Entry]) -> str:
    """Returns a text that differs when anything in the root does."""
    return "\n".join(
        f"{entry.path} {entry.mode:o} {entry.target} {sha256_file(entry.source) if entry.source else ''}"
        for entry in entries
    )
