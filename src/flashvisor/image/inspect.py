"""Takes a finished flashvisor.efi apart, and judges what is in it.

Owns the rules that the finished file is held to. Knows nothing of how it was built: root.py refuses bad entries
before anything is written, and this module believes only what it finds in the file::

    files = files_of(Path("build/kvm/flashvisor.efi"), work, build_root(cache))
    assert not violations(files)
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from flashvisor.errors import StrangeImageError
from flashvisor.host import cpio, squashfs
from flashvisor.host.pe import copy_section, sections
from flashvisor.image.elf import MAGIC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from flashvisor.host.listing import Listed

INITRD = ".initrd"  # the unified kernel image's sections (UAPI.5)
OS_RELEASE = ".osrel"
ROOT = "root.squashfs"
TOP = "squashfs-root"  # what unsquashfs calls the top directory
SET_ID = stat.S_ISUID | stat.S_ISGID
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
SCRIPT = b"#!"

# Names of what must not be there, in whatever directory; * as in fnmatch. A platform before the name and a version
# behind it do not count (`plain_name`).
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "a shell": (
        "sh", "ash", "bash", "rbash", "dash", "zsh", "ksh", "mksh", "lksh", "csh", "tcsh", "fish", "yash", "posh",
        "sash", "busybox", "toybox",
    ),
    "a way to log in": (
        "*getty*", "login", "sulogin", "su", "sudo", "doas", "pkexec", "passwd", "runuser", "*telnetd", "rlogind",
        "rshd",
    ),
    "SSH": ("ssh", "ssh-*", "sshd*", "scp", "sftp*", "dropbear*", "dbclient", "libssh*"),
    "a package manager": (
        "apt", "apt-*", "dpkg", "dpkg-*", "rpm", "rpm-*", "dnf", "yum", "zypper", "apk", "opkg", "pacman", "snap",
        "flatpak", "pip", "pipx",
    ),
    "a compiler": (
        "gcc", "g++", "cc", "c++", "cpp", "cc1*", "collect2", "lto1", "clang*", "tcc", "as", "ld", "ld.bfd", "ld.gold",
        "ld.lld", "make", "gmake", "ninja", "cmake", "gdb", "rustc", "perl*", "ruby", "lua", "tclsh",
    ),
}  # fmt: skip
ACCOUNTS = "/etc/passwd"  # the list of accounts has the name of a program
PLATFORM = re.compile(r"^\w+-linux-\w+-")
VERSION = re.compile(r"([-.]static)?[-.]?\d+(\.\d+)*([-.]static)?$|[-.]static$")

# A shell under another name gives itself away by names that every one must know: variables that POSIX prescribes
# (XCU 2.5.3), or the built-in commands of an interactive one; programs of many names print their own.
SHELL_WORDS = ((b"PS4", b"OPTIND", b"IFS"), (b"fg", b"unalias"))
MANY_NAMES = (b"BusyBox v", b"toybox ")


@dataclass(frozen=True)
class ImageFile:
    """A path in a finished image.

    Args:
        place: "initramfs", or "root" for the root that lies in it.
        path: Absolute, inside its place.
        mode: Type and permission bits, as in stat(2).
        owner: Number of the user.
        group: Number of the group.
        size: Bytes.
        target: Where a link leads; "" for everything else.
        interpreter: What follows "#!" in a script's first line; "" for everything else.
        shell_inside: Whether it is a program that has a shell's words in it.
    """

    place: str
    path: str
    mode: int
    owner: int = 0
    group: int = 0
    size: int = 0
    target: str = ""
    interpreter: str = ""
    shell_inside: bool = False


def files_of(efi: Path, work: Path, tree: Path) -> list[ImageFile]:
    """Returns every path of a finished image: of its initramfs, and of the root that lies in it.

    Args:
        efi: The image, signed or not.
        work: An empty directory for what is taken out.
        tree: The build root, whose cpio and unsquashfs are used.

    Raises:
        NotAnImageError: it is no PE file.
        StrangeImageError: it has no initramfs, or the initramfs no root, or something stands behind it.
    """
    section = sections(efi).get(INITRD)
    if section is None:
        raise StrangeImageError(f"{efi.name} has no section {INITRD}")
    copy_section(efi, section, work / "initrd.cpio")
    outer = cpio.listing(tree, work, "initrd.cpio")
    if ROOT not in [item.path for item in outer]:
        raise StrangeImageError(f"the initramfs of {efi.name} has no {ROOT}")
    cpio.unpack(tree, work, "initrd.cpio", "initramfs")
    inner = squashfs.listing(tree, work, f"initramfs/{ROOT}")
    squashfs.unpack(tree, work, f"initramfs/{ROOT}", "root")
    found = [_file("initramfs", item, f"/{item.path}", work) for item in outer]
    return found + [_file("root", item, item.path.removeprefix(TOP) or "/", work) for item in inner]


def os_release(efi: Path) -> dict[str, str]:
    """Returns what an image says of itself, by field; nothing where it has no such section. Source: os-release(5).

    Raises:
        NotAnImageError: it is no PE file.
    """
    section = sections(efi).get(OS_RELEASE)
    if section is None:
        return {}
    with efi.open("rb") as file:
        file.seek(section.offset)
        text = file.read(section.size).decode(errors="replace")
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def violations(files: Iterable[ImageFile]) -> list[str]:
    """Returns a sentence for each rule that a file breaks; nothing when all is well. Pure."""
    return [f"{file.place}:{file.path} {what}" for file in files for broken in RULES if (what := broken(file))]


def plain_name(path: str) -> str:
    """Returns a path's last part without platform, version and "static". Pure.

    Example::

        plain_name("/usr/bin/x86_64-linux-gnu-gcc-14") == "gcc"
    """
    return VERSION.sub("", PLATFORM.sub("", path.rsplit("/", 1)[-1]))


def is_shell(content: bytes) -> bool:
    """Tells whether a program has in it what only shells have. Pure; needs the whole file."""
    if not content.startswith(MAGIC):
        return False
    if any(name in content for name in MANY_NAMES):
        return True
    return any(all(re.search(rb"\0%s(=[^\0]*)?\0" % word, content) for word in words) for words in SHELL_WORDS)


def _file(place: str, item: Listed, path: str, work: Path) -> ImageFile:
    content = (work / place / path.lstrip("/")).read_bytes() if stat.S_ISREG(item.mode) else b""
    first, _, _ = content.partition(b"\n")
    script = first.removeprefix(SCRIPT).strip().decode(errors="replace") if first.startswith(SCRIPT) else ""
    return ImageFile(
        place=place,
        path=path,
        mode=item.mode,
        owner=item.owner,
        group=item.group,
        size=item.size,
        target=item.target,
        interpreter=script,
        shell_inside=is_shell(content),
    )


def _name(file: ImageFile) -> str:
    if stat.S_ISDIR(file.mode) or file.path == ACCOUNTS:
        return ""
    names = {plain_name(file.path), file.path.rsplit("/", 1)[-1]}
    kinds = [kind for kind, bad in FORBIDDEN.items() if any(fnmatchcase(name, word) for name in names for word in bad)]
    return f"has the name of {kinds[0]}" if kinds else ""


def _program(file: ImageFile) -> str:
    return "is a shell, whatever its name" if file.shell_inside else ""


def _script(file: ImageFile) -> str:
    return f"is a script for {file.interpreter}" if file.interpreter else ""


def _set_id(file: ImageFile) -> str:
    return f"is setuid or setgid: mode {stat.S_IMODE(file.mode):04o}" if file.mode & SET_ID else ""


def _writable(file: ImageFile) -> str:
    bad = file.mode & OTHERS_WRITE and not stat.S_ISLNK(file.mode)
    return f"can be written by others than root: mode {stat.S_IMODE(file.mode):04o}" if bad else ""


def _owner(file: ImageFile) -> str:
    return f"belongs to {file.owner}:{file.group}, not to root" if file.owner or file.group else ""


RULES: tuple[Callable[[ImageFile], str], ...] = (_name, _program, _script, _set_id, _writable, _owner)
