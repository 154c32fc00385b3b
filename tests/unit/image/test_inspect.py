"""The rules for a finished image: each one catches what it is there for, and lets ordinary files pass."""

from __future__ import annotations

import stat

import pytest

from flashvisor.image.inspect import RULES, ImageFile, is_shell, plain_name, violations
from flashvisor.image.root import FORBIDDEN_NAMES

ELF = b"\x7fELF\x02\x01\x01" + bytes(9)


def a_file(path: str, mode: int = 0o644, **more: object) -> ImageFile:
    return ImageFile(place="root", path=path, mode=stat.S_IFREG | mode, **more)  # type: ignore[arg-type]


GOOD = [
    ImageFile("root", "/", stat.S_IFDIR | 0o755),
    ImageFile("root", "/bin", stat.S_IFLNK | 0o777, target="usr/bin"),
    a_file("/usr/bin/qemu-img", 0o755),
    a_file("/etc/passwd"),
    a_file("/usr/lib64/ld-linux-x86-64.so.2", 0o755),
    a_file("/usr/lib/python3/dist-packages/flashvisor/host/dpkg.pyc"),
    a_file("/usr/lib/x86_64-linux-gnu/libc.so.6"),
]
BAD = [
    (a_file("/usr/bin/sh", 0o755), "the name of a shell"),
    (a_file("/opt/busybox.static", 0o755), "the name of a shell"),
    (a_file("/usr/bin/bash5.2", 0o755), "the name of a shell"),
    (ImageFile("initramfs", "/bin/sh", stat.S_IFLNK | 0o777, target="init"), "the name of a shell"),
    (a_file("/usr/sbin/agetty", 0o755), "the name of a way to log in"),
    (a_file("/usr/lib/systemd/system/serial-getty@.service"), "the name of a way to log in"),
    (a_file("/usr/bin/passwd", 0o755), "the name of a way to log in"),
    (a_file("/usr/sbin/sshd", 0o755), "the name of SSH"),
    (a_file("/usr/lib/x86_64-linux-gnu/libssh.so.4"), "the name of SSH"),
    (a_file("/usr/bin/apt-get", 0o755), "the name of a package manager"),
    (a_file("/usr/bin/pip3.13", 0o755), "the name of a package manager"),
    (a_file("/usr/bin/x86_64-linux-gnu-gcc-14", 0o755), "the name of a compiler"),
    (a_file("/usr/libexec/cc1plus", 0o755), "the name of a compiler"),
    (a_file("/usr/bin/hello", 0o755, shell_inside=True), "is a shell, whatever its name"),
    (a_file("/usr/bin/hello", 0o755, interpreter="/usr/bin/python3"), "is a script for /usr/bin/python3"),
    (a_file("/usr/bin/mount", 0o4755), "setuid or setgid: mode 4755"),
    (a_file("/usr/bin/wall", 0o2755), "setuid or setgid: mode 2755"),
    (ImageFile("root", "/var", stat.S_IFDIR | 0o2755), "setuid or setgid: mode 2755"),
    (a_file("/etc/hosts", 0o664), "can be written by others than root: mode 0664"),
    (a_file("/etc/hosts", 0o646), "can be written by others than root: mode 0646"),
    (ImageFile("root", "/tmp", stat.S_IFDIR | 0o1777), "can be written by others than root: mode 1777"),  # noqa: S108
    (a_file("/etc/hosts", owner=1000), "belongs to 1000:0, not to root"),
    (a_file("/etc/hosts", group=42), "belongs to 0:42, not to root"),
]


def test_ordinary_files_pass() -> None:
    assert violations(GOOD) == []


@pytest.mark.parametrize(("file", "words"), BAD)
def test_each_rule_catches(file: ImageFile, words: str) -> None:
    (found,) = violations([*GOOD, file])
    assert words in found
    assert found.startswith(f"{file.place}:{file.path} ")


def test_no_rule_is_idle() -> None:
    assert all(any(rule(file) for file, _ in BAD) for rule in RULES)


@pytest.mark.parametrize("name", sorted(FORBIDDEN_NAMES))
def test_what_the_build_refuses_by_name_is_found_in_the_file_too(name: str) -> None:
    assert violations([a_file(f"/usr/bin/{name}", 0o755)])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/usr/bin/x86_64-linux-gnu-gcc-14", "gcc"),
        ("/bin/busybox.static", "busybox"),
        ("/bin/bash-static", "bash"),
        ("/usr/bin/python3.13", "python"),
        ("/usr/lib/libc.so.6", "libc.so"),
        ("/usr/bin/g++", "g++"),
    ],
)
def test_plain_names(path: str, name: str) -> None:
    assert plain_name(path) == name


@pytest.mark.parametrize(
    "content",
    [
        ELF + b"\0PS4=+ \0OPTIND=1\0IFS=\0",
        ELF + b"\0IFS\0PS4\0x\0OPTIND\0",
        ELF + b"\0unalias\0fg\0",
        ELF + b"BusyBox v1.37.0 (Debian)",
        ELF + b"\0toybox 0.8.11\0",
    ],
)
def test_shells_give_themselves_away(content: bytes) -> None:
    assert is_shell(content)


@pytest.mark.parametrize(
    "content",
    [
        ELF + b"\0PS4\0IFS\0",
        ELF + b"\0xPS4\0OPTIND\0IFS\0",
        ELF + b"\0fg\0",
        b"PK" + b"\0PS4\0OPTIND\0IFS\0",
        b"",
    ],
)
def test_other_programs_are_no_shells(content: bytes) -> None:
    assert not is_shell(content)
