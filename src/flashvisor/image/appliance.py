"""Appliances: guests that are one file. Our kernel, a few programs from Debian's packages, no shell, no disk.

Owns how recipe/appliances/NAME.toml becomes NAME.efi, a unified kernel image. A flashvisor server starts it by taking
its sections out; any UEFI machine starts it as it is::

    result = build(Cache(default_root()), keyring, "hello", Path("build/appliances"))
    result.path, result.size

The programs' root is planned and checked as the image's own root is (root.py).
"""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from flashvisor.errors import ComponentTooLargeError, UnknownNameError
from flashvisor.host import cpio, dpkg, ukify
from flashvisor.host.files import GIB, need_space, sha256_file, write_atomic
from flashvisor.image import root
from flashvisor.image.cache import Step, digest
from flashvisor.image.kernel import kernel
from flashvisor.image.recipes import RECIPE, Component, Python, Recipe
from flashvisor.image.trees import build_root, installed, root_packages
from flashvisor.image.workshop import EPOCH, workshop

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flashvisor.image.cache import Cache
    from flashvisor.trust.keyring import Keyring

APPLIANCES = RECIPE / "appliances"
APPLIANCE_LIMIT = 8_000_000  # bytes
TOOLS = ("cpio", "systemd-boot-efi", "systemd-ukify", "zstd")
# Programs name the dynamic linker /lib64/ld-linux-x86-64.so.2; the closure puts it beside the other libraries.
LINKS = {"/lib": "usr/lib", "/lib64": "usr/lib/x86_64-linux-gnu"}
NO_MODULES = "modules"  # an empty directory: what an appliance needs is built into the kernel
# The initramfs gets no devtmpfs by itself (CONFIG_DEVTMPFS_MOUNT is for disks), and daemons open /dev/null.
NODES = {"null": (1, 3), "console": (5, 1)}
# Measured on hello under emulation, 64 MiB of RAM: from start to its first answer 2.4 s, with xz 3.1 s, 0.1 MB less.
COMPRESSION = ("zstd", "-19", "--rm", "-q")


class Appliance(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An appliance's recipe.

    `programs` and `files` are paths in Debian's packages; `text` is files by path, with @NAME@ and @VERSION@ in them;
    `serves` tells people what it answers to.
    """

    name: str
    summary: str
    version: str
    serves: str
    cmdline: str
    programs: tuple[str, ...]
    files: tuple[str, ...] = ()
    text: dict[str, str] = {}


@dataclass(frozen=True)
class ApplianceFile:
    """A finished appliance. `size` in bytes."""

    recipe: Appliance
    path: Path
    size: int


def names() -> list[str]:
    """Returns the names of all appliances, sorted."""
    return sorted(path.stem for path in APPLIANCES.glob("*.toml"))


def load(name: str) -> Appliance:
    """Returns an appliance's recipe. A mistake in it is a bug of ours, so msgspec's own error is left to pass.

    Raises:
        UnknownNameError: there is no such appliance.
    """
    if name not in names():
        raise UnknownNameError(
            f"there is no appliance '{name}'; there is {', '.join(names())}",
            next_step="`flashvisor appliance list` shows them all.",
        )
    return parse(name, (APPLIANCES / f"{name}.toml").read_text())


def parse(name: str, text: str) -> Appliance:
    """Returns the recipe that a TOML text holds. Pure."""
    return msgspec.convert({"name": name, **tomllib.loads(text)}, Appliance)


def filled(recipe: Appliance) -> dict[str, str]:
    """Returns the appliance's own files by path, with its name and version put in. Pure."""
    marks = {"@NAME@": recipe.name, "@VERSION@": recipe.version}
    texts = {}
    for path, text in recipe.text.items():
        for mark, value in marks.items():
            text = text.replace(mark, value)
        texts[path] = text
    return texts


def build(cache: Cache, keyring: Keyring, name: str, output: Path) -> ApplianceFile:
    """Builds an appliance into `output/NAME.efi`; a build that fails puts nothing there.

    Args:
        cache: The build cache.
        keyring: The kernel is the image's own, so its modules' key has a part in it.
        name: Of the appliance.
        output: A directory, made if missing.

    Raises:
        UnknownNameError: there is no such appliance.
        ComponentTooLargeError: it outgrew APPLIANCE_LIMIT.
        FlashvisorError: a step failed.
    """
    recipe = load(name)
    need_space(output, APPLIANCE_LIMIT, f"the appliance '{name}'")
    linux = kernel(cache, keyring.module_key)
    made = _unified(cache, recipe, linux) / f"{name}.efi"
    size = check_size(name, made.stat().st_size)
    write_atomic(output / made.name, made.read_bytes())
    return ApplianceFile(recipe=recipe, path=output / made.name, size=size)


def check_size(name: str, size: int) -> int:
    """Returns the size in bytes of an appliance that is small enough.

    Raises:
        ComponentTooLargeError: it is larger than APPLIANCE_LIMIT.
    """
    if size > APPLIANCE_LIMIT:
        raise ComponentTooLargeError(
            f"appliance '{name}': expected at most {APPLIANCE_LIMIT:,} bytes, got {size:,}",
            next_step=f"Take programs or files out of image/recipe/appliances/{name}.toml.",
        )
    return size


def plan(cache: Cache, recipe: Appliance) -> list[root.Entry]:
    """Returns what stands in the appliance's root.

    Raises:
        MissingFileError: the recipe names a file that no package has.
        ForbiddenFileError: something is in the plan that must never ship.
    """
    packages = root_packages(cache)
    own = _own_files(cache, recipe)
    component = Component(
        name=recipe.name, limit=APPLIANCE_LIMIT, from_="packages", programs=recipe.programs, files=recipe.files
    )
    sources = root.Sources(
        trees={"packages": packages},
        owners=dpkg.owner_of_files(packages),
        modules=own / NO_MODULES,
        python={},
        own={path: own / name for path, name in _file_names(recipe).items()},
    )
    return root.plan(Recipe(component=(component,), links=LINKS, python=Python()), sources)


def _file_names(recipe: Appliance) -> dict[str, str]:
    return {path: f"{index}.txt" for index, path in enumerate(sorted(recipe.text))}


def _own_files(cache: Cache, recipe: Appliance) -> Path:
    """Returns the directory of a step that holds the files of the recipe's `text`."""
    texts = filled(recipe)

    def write(place: Path) -> None:
        (place / NO_MODULES).mkdir()
        for path, name in _file_names(recipe).items():
            (place / name).write_text(texts[path].removeprefix("\n"))

    inputs = {"texts": digest(msgspec.json.encode(texts))}
    return cache.get(Step(f"appliance-{recipe.name}-text", inputs=inputs, build=write, expected=0.1))


def _unified(cache: Cache, recipe: Appliance, linux: Path) -> Path:
    """Returns the directory of the step that makes NAME.efi."""
    tree = build_root(cache)
    entries = plan(cache, recipe)
    os_release = f'ID={recipe.name}\nNAME="{recipe.name}"\nVERSION_ID={recipe.version}\n'
    release = (linux / "release").read_text()

    def make(place: Path) -> None:
        with workshop(tree, place, cache.root / f"logs/appliance-{recipe.name}.log") as shop:
            write_root(entries, shop.work / "root")
            cpio.pack(tree, shop.work, "root", "initrd", epoch=EPOCH)
            shop.run(*COMPRESSION, "initrd", "-o", "initrd.zst")
            shutil.copyfile(linux / "bzImage", shop.work / "linux")
            parts = ukify.Parts("linux", "initrd.zst", recipe.cmdline, os_release, release)
            ukify.build(tree, shop.work, parts, f"{recipe.name}.efi")
            shop.keep(f"{recipe.name}.efi", place)

    versions = installed(tree)
    inputs = {name: versions[name] for name in TOOLS}
    inputs |= {"kernel": sha256_file(linux / "bzImage"), "cmdline": recipe.cmdline, "os-release": os_release}
    inputs |= {"root": digest(_fingerprint(entries)), "compression": " ".join(COMPRESSION)}
    title = f"Appliance {recipe.name}"
    return cache.get(
        Step(f"appliance-{recipe.name}", inputs=inputs, build=make, title=title, expected=2, space=GIB // 8)
    )


def _fingerprint(entries: Sequence[root.Entry]) -> str:
    """Returns a text that differs when anything in the root does."""
    lines = [
        f"{entry.path} {entry.mode:o} {entry.target} {sha256_file(entry.source) if entry.source else ''}"
        for entry in entries
    ]
    return "\n".join([*lines, str(NODES)])


def write_root(entries: Sequence[root.Entry], directory: Path) -> None:
    """Makes the initramfs's directory of a plan, with the device nodes that a kernel alone does not give."""
    root.write(entries, directory)
    for name, (major, minor) in NODES.items():
        cpio.make_node(directory / "dev" / name, major, minor)
