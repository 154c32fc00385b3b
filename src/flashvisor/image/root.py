"""The image's root as a plan: every path with where it comes from, its mode, its component and its package.

Owns what stands in the root and what must never stand there. `plan` reads trees and writes nothing; `write`
makes a directory of a plan. The plan is also what the ledger and the SBOM are made from::

    entries = plan(recipe, sources)
    write(entries, directory)
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.errors import ForbiddenFileError, MissingFileError
from flashvisor.image.elf import closure, is_elf

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from flashvisor.image.recipes import Component, Recipe

MOUNT_POINTS = ("/dev", "/proc", "/sys", "/run", "/tmp", "/var", "/root")  # noqa: S108
# No way to type a command, to become someone else, to log in from outside, to install or to compile.
FORBIDDEN_NAMES = frozenset((
    "sh", "bash", "dash", "ash", "zsh", "ksh", "csh", "tcsh", "fish", "busybox", "toybox", "sulogin", "login",
    "agetty", "getty", "su", "sudo", "doas", "pkexec", "passwd", "ssh", "sshd", "dropbear", "telnetd", "rlogind",
    "apt", "apt-get", "dpkg", "rpm", "pip", "pip3", "gcc", "cc", "c++", "g++", "clang", "ld", "as", "make", "perl",
    "gdb",
))  # fmt: skip
# What modprobe(8) and udev read beside the modules, and the two texts that say which devices an image drives: a release
# is described by them (image/release.py). depmod writes more: the same once more as text, and symbols.
INDEXES = frozenset((
    "modules.alias", "modules.alias.bin", "modules.builtin.alias.bin", "modules.builtin.bin", "modules.builtin.modinfo",
    "modules.dep.bin", "modules.devname", "modules.softdep", "modules.weakdep",
))  # fmt: skip
GROUP_OR_WORLD_WRITABLE = 0o022
SET_ID = 0o6000


@dataclass(frozen=True)
class Entry:
    """A path of the root.

    Args:
        path: Absolute, inside the root.
        component: The ledger's row.
        source: The file whose bytes it has; None for links and directories.
        target: Where a link leads.
        mode: Permission bits; everything belongs to root.
        package: Debian package or wheel that the bytes come from; "" for our own.
        rank: What has more of it stands nearer to the file's beginning, and to what has about as much.
    """

    path: str
    component: str
    source: Path | None = None
    target: str = ""
    mode: int = 0o644
    package: str = ""
    rank: int = 0


@dataclass(frozen=True)
class Sources:
    """Where the root's files come from.

    Args:
        trees: By the name that the recipe uses: "packages" (Debian's); what we compile by its source package.
        owners: Path in the packages' tree to package name.
        modules: Directory with the kernel's `lib/modules`.
        python: Absolute path in the root to a compiled Python file, and its package ("" for Debian's own); in the
            order in which a server needs them.
        own: Directory whose files are laid over the root as they are.
    """

    trees: Mapping[str, Path]
    owners: Mapping[str, str]
    modules: Path
    python: Mapping[str, tuple[Path, str]]
    own: Mapping[str, Path]


def plan(recipe: Recipe, sources: Sources) -> list[Entry]:
    """Returns the whole root, sorted by path.

    Raises:
        MissingFileError: the recipe names a file that is not there, or a library is missing.
        ForbiddenFileError: something is in the plan that must never ship.
    """
    entries: dict[str, Entry] = {}
    for component in recipe.component:
        for entry in _component(component, sources):
            entries[entry.path] = entry
    for rank, (path, (source, package)) in zip(range(len(sources.python), 0, -1), sources.python.items(), strict=True):
        component_name = "flashvisor" if "/flashvisor/" in path or package.startswith("pypi:") else "python"
        mode = 0o755 if path.endswith(".so") else 0o644
        entries[path] = Entry(path, component_name, source=source, mode=mode, package=package, rank=rank)
    for path, source in sources.own.items():
        entries[path] = Entry(path, "flashvisor", source=source)
    for source in sorted(path for path in sources.modules.rglob("*") if path.suffix == ".ko" or path.name in INDEXES):
        path = f"/usr/{source.relative_to(sources.modules)}"
        entries[path] = Entry(path, "drivers", source=source, package="linux")
    for entry in _libraries(entries.values(), sources):
        entries.setdefault(entry.path, entry)
    for path, target in recipe.links.items():
        entries[path] = Entry(path, "systemd", target=target)
    for path in MOUNT_POINTS:
        entries[path] = Entry(path, "systemd", mode=0o755)
    found = [entries[path] for path in sorted(entries) if not path.startswith("/var/")]
    check(found)
    return found


def check(entries: Iterable[Entry]) -> None:
    """Refuses what must never ship: shells, ways to log in, setuid files, files that others can write.

    Raises:
        ForbiddenFileError: names the first such path.
    """
    for entry in entries:
        name = entry.path.rsplit("/", 1)[-1]
        if name in FORBIDDEN_NAMES and "/bin/" in entry.path.replace("sbin", "bin"):
            raise ForbiddenFileError(f"{entry.path} must not be in the root: it is a shell, a login or an installer")
        if entry.mode & SET_ID or (not entry.target and entry.mode & GROUP_OR_WORLD_WRITABLE):
            raise ForbiddenFileError(f"{entry.path} has mode {entry.mode:04o}: setuid or writable by others")


def write(entries: Sequence[Entry], directory: Path) -> None:
    """Makes the root in an empty directory."""
    for entry in entries:
        place = directory / entry.path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if entry.target:
            place.symlink_to(entry.target)
        elif entry.source:
            shutil.copyfile(entry.source, place)
            place.chmod(entry.mode)
        else:
            place.mkdir(exist_ok=True)
            place.chmod(entry.mode)
    for parent, _, _ in os.walk(directory):
        os.chmod(parent, 0o755)  # noqa: PTH101, S103 (the umask of whoever builds must not get into the image)


def _component(component: Component, sources: Sources) -> list[Entry]:
    return [
        _entry(match, sources.trees[component.from_], component, sources, mode=mode)
        for patterns, mode in ((component.programs, 0o755), (component.files, 0o644))
        for pattern in patterns
        for match in _matches(pattern, sources.trees[component.from_])
    ]


def _matches(pattern: str, tree: Path) -> list[Path]:
    found = sorted(tree.glob(pattern.lstrip("/")))
    if not found:
        raise MissingFileError(f"recipe/root.toml names {pattern}, and nothing in the tree matches it")
    return found


def _entry(file: Path, tree: Path, component: Component, sources: Sources, *, mode: int) -> Entry:
    path = f"/{file.relative_to(tree)}"
    real = _follow(file, tree)
    return Entry(path, component.name, source=real, mode=mode, package=_package(path, real, tree, sources))


def _package(path: str, real: Path, tree: Path, sources: Sources) -> str:
    """Names the package: of the file itself, or of the link that led to it; our own builds by their tree."""
    name = next(name for name, place in sources.trees.items() if place == tree)
    if name != "packages":
        return name
    return sources.owners.get(f"/{real.relative_to(tree)}", sources.owners.get(path, ""))


def _follow(path: Path, tree: Path) -> Path:
    """Follows links as if the tree were the root."""
    while path.is_symlink():
        target = path.readlink()
        path = tree / str(target).lstrip("/") if target.is_absolute() else path.parent / target
    return Path(os.path.normpath(path))  # links bring "..", and resolve() would leave a tree that is a link itself


def _libraries(entries: Iterable[Entry], sources: Sources) -> list[Entry]:
    programs = [entry.source for entry in entries if entry.source and entry.component != "drivers"]
    trees = [tree for name, tree in sources.trees.items() if name != "packages"] + [sources.trees["packages"]]
    libraries = []
    for name, file in sorted(closure([path for path in programs if is_elf(path)], trees).items()):
        tree = next(tree for tree in trees if file.is_relative_to(tree))
        mode = 0o755 if name.startswith("ld-") else 0o644
        row = "libvirt" if name.startswith("libvirt") else "systemd" if name.startswith("libsystemd-") else "libraries"
        path = f"/{file.relative_to(tree)}"
        real = _follow(file, tree)
        package = _package(path, real, tree, sources)
        libraries.append(Entry(path, row, source=real, mode=mode, package=package))
    return libraries
