"""The appliance hello: built for real, opened, started the way a server starts it, and asked for its page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.cli.buildtools import open_cache, open_keyring
from flashvisor.host import pe
from flashvisor.host.bubblewrap import enter
from flashvisor.image import appliance, catalogue
from flashvisor.image.trees import build_root
from tools.guestbench import SERIAL, fetch, guest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.tools

ANSWER_LIMIT = 120.0  # seconds; 2.4 on an idle machine


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory) -> appliance.ApplianceFile:
    return appliance.build(open_cache(), open_keyring(), "hello", tmp_path_factory.mktemp("appliances"))


@pytest.fixture
def parts(hello: appliance.ApplianceFile, tmp_path: Path) -> Path:
    """A directory with the sections that a server takes out of an appliance."""
    table = pe.sections(hello.path)
    for name in ("linux", "initrd", "cmdline"):
        pe.copy_section(hello.path, table[f".{name}"], tmp_path / name)
    return tmp_path


def test_hello_is_small(hello: appliance.ApplianceFile) -> None:
    assert hello.path.stat().st_size == hello.size < 8_000_000


def test_hello_answers_with_its_page(parts: Path) -> None:
    cmdline = (parts / "cmdline").read_bytes().rstrip(b"\0\n").decode()
    direct = ["-kernel", str(parts / "linux"), "-initrd", str(parts / "initrd"), "-append", cmdline]
    with guest(parts, ["-m", "64M", "-smp", "1", *direct], forward=80) as port:
        page, server = fetch(f"http://127.0.0.1:{port}/", limit=ANSWER_LIMIT)
    version = catalogue.load("hello").version
    assert "<h1>Hello</h1>" in page
    assert f"<b>hello</b>, version {version}" in page
    assert server == f"hello/{version}"
    assert "panic" not in (parts / SERIAL).read_text()


def test_nobody_can_type_a_command_in_it(parts: Path) -> None:
    root = build_root(open_cache())
    enter(root, ["zstd", "-q", "-d", "initrd", "-o", "initrd.cpio"], binds={parts: "/mnt"}, cwd="/mnt")
    listing = enter(root, ["cpio", "-itv", "--quiet", "--file=initrd.cpio"], binds={parts: "/mnt"}, cwd="/mnt").stdout
    modes = {line.split()[-1]: line.split()[0] for line in listing.splitlines()}
    programs = {path for path, mode in modes.items() if mode[0] == "-" and "x" in mode}
    assert programs == {"init", "usr/sbin/lighttpd", "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"}
    assert not [
        path for path, mode in modes.items() if mode[0] in "-d" and (mode[5] == "w" or mode[8] == "w" or "s" in mode)
    ]


def test_building_it_again_gives_the_same_file(hello: appliance.ApplianceFile, tmp_path: Path) -> None:
    again = appliance.build(open_cache(), open_keyring(), "hello", tmp_path)
    assert again.path.read_bytes() == hello.path.read_bytes()
