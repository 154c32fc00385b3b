"""Bad input through the installed program: code, cause, next step, exit status, and nothing half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flashvisor.flash.burn import make_flash_image
from flashvisor.host.run import run
from flashvisor.node.settings import parse_arguments
from sim.agentkit import agent, authority, make_ring
from sim.nodekit import SITE, uki

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flashvisor.trust.keyring import Keyring

pytestmark = pytest.mark.tools
PROGRAM = Path(sys.executable).with_name("flashvisor")
LIMIT = 120.0  # seconds
MIB = 1 << 20  # bytes


@dataclass(frozen=True)
class World:
    """A user's machine: where keys, cache and settings lie, and where commands run."""

    home: Path
    keys: Path
    cache: Path

    def call(self, *words: str | Path, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Runs the program."""
        env = os.environ | {"HOME": str(self.home), "FLASHVISOR_KEYS": str(self.keys)}
        env |= {"FLASHVISOR_CACHE": str(self.cache)}
        env.pop("FLASHVISOR_NODE", None)
        argv = [*prefix, PROGRAM, *words]
        return subprocess.run(argv, env=env, cwd=self.home, capture_output=True, text=True, timeout=LIMIT, check=False)

    def refused(self, code: str, cause: str, *words: str | Path, prefix: tuple[str, ...] = ()) -> str:
        """Runs the program in both forms, checks the error and that no file changed; returns the error's text."""
        before = listing(self.home)
        plain = self.call(*words, prefix=prefix)
        assert plain.returncode > 0, plain.stdout
        assert f"{code}: " in plain.stderr, plain.stderr
        assert cause in plain.stderr
        assert "\n  next: " in plain.stderr
        assert "Traceback" not in plain.stderr
        report = self.call(*words, "--json", prefix=prefix)
        assert report.returncode == plain.returncode
        said = json.loads(report.stdout)
        assert said["code"] == code
        assert cause in said["what"] + said["evidence"]
        assert said["next_step"]
        assert listing(self.home) == before
        return plain.stderr


def listing(top: Path) -> dict[str, tuple[int, int]]:
    """Every path below a directory, with size and time of change."""
    found = {}
    for path in sorted(top.rglob("*")):
        facts = path.lstat()
        found[str(path.relative_to(top))] = (0, 0) if path.is_dir() else (facts.st_size, facts.st_mtime_ns)
    return found


@pytest.fixture
def world(tmp_path: Path, keyring: Keyring) -> World:
    home = tmp_path / "home"
    home.mkdir()
    (home / "hello.efi").write_bytes(uki())
    return World(home, keyring.directory, tmp_path / "cache")


@pytest.fixture
def server(tmp_path: Path, keyring: Keyring) -> Iterator[str]:
    """An agent behind real HTTPS on fakes; its address."""
    top = tmp_path / "server"
    top.mkdir()
    make_ring(top / "ring.img", keyring)
    words = ["--fake-driver", "--fake-disk", "data0", "--state", str(top / "ring.img"), "--root", str(top)]
    with agent(parse_arguments([*words, "--address", "127.0.0.1", "--port", "0"]), top / "console") as running:
        yield authority(running)


@pytest.fixture
def flash(tmp_path: Path) -> Path:
    efi, path = tmp_path / "flashvisor.efi", tmp_path / "flash.img"
    efi.write_bytes(uki())
    make_flash_image(efi, path, [])
    return path


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Path]:
    """A file system in RAM with `size` bytes."""
    place.mkdir()
    run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place])
    try:
        yield place
    finally:
        run(["umount", place])


WRONG_SITES = [
    ("FV-SITE-002", "colour", SITE.replace('name = "alpha"', 'name = "alpha"\ncolour = "red"')),
    ("FV-SITE-003", "cpus", SITE.replace('memory = "64MiB"', 'memory = "64MiB"\ncpus = "two"')),
    ("FV-SITE-004", "nothere", SITE.replace('image = "hello"', 'image = "nothere"')),
    (
        "FV-SITE-005",
        "52:54:00:00:00:01",
        SITE.replace(
            'nics = [{ network = "inside", address = "10.77.0.10" }]',
            'nics = [{ network = "inside", mac = "52:54:00:00:00:01" }, '
            '{ network = "inside", mac = "52:54:00:00:00:01" }]',
        ),
    ),
]


@pytest.mark.parametrize("words", [("check",), ("apply", "--node", "127.0.0.1:9")], ids=["check", "apply"])
@pytest.mark.parametrize(("code", "cause", "text"), WRONG_SITES, ids=[row[0] for row in WRONG_SITES])
def test_a_wrong_site_file(world: World, words: tuple[str, ...], code: str, cause: str, text: str) -> None:
    (world.home / "site.toml").write_text(text)
    world.refused(code, cause, words[0], "site.toml", *words[1:])


@pytest.mark.parametrize(
    ("code", "cause", "old", "new"),
    [("FV-NODE-004", "memory", "64MiB", "900GiB"), ("FV-NODE-002", "data9", "data0", "data9")],
    ids=["memory", "disk"],
)
def test_what_the_server_does_not_have(world: World, server: str, code: str, cause: str, old: str, new: str) -> None:
    (world.home / "site.toml").write_text(SITE.replace(old, new))
    world.refused(code, cause, "apply", "site.toml", "--node", server)
    shown = json.loads(world.call("guest", "list", "--node", server, "--json").stdout)
    assert not shown, "the server is as it was"


@pytest.mark.parametrize("device", ["/dev/null", "directory", "missing"])
def test_burning_onto_what_is_no_block_device(world: World, flash: Path, device: str) -> None:
    (world.home / "directory").mkdir()
    world.refused("FV-HOST-005", device, "burn", flash, device)


def test_burning_onto_a_mounted_device(world: World, flash: Path, tmp_path: Path) -> None:
    disk, place = tmp_path / "disk", tmp_path / "mounted"
    place.mkdir()
    with disk.open("wb") as file:
        file.truncate(160 * MIB)
    run(["mkfs.ext4", "-q", disk])
    made = run(["losetup", "--find", "--show", disk])
    device = made.stdout.strip()
    try:
        run(["mount", device, place])
        try:
            said = world.refused("FV-HOST-005", "in use", "burn", flash, device)
            assert str(place) in said
        finally:
            run(["umount", place])
    finally:
        run(["losetup", "--detach", device])


def test_building_onto_a_full_disk(world: World) -> None:
    with small_disk(world.home / "small", 8 * MIB):
        world.refused("FV-HOST-003", "small", "build", "--output", "small/kvm")


def test_a_disk_that_fills_up_in_the_middle(world: World) -> None:
    """The address book is the smallest thing that the program writes: no check up front guards it."""
    with small_disk(world.home / ".config", MIB) as place:
        (place / "filler").write_bytes(bytes(MIB - 8192))
        with (place / "rest").open("wb", buffering=0) as rest, pytest.raises(OSError, match="No space"):
            while True:
                rest.write(bytes(4096))
        before = listing(place)
        ran = world.call("node", "use", "alpha", "127.0.0.1:9")
        assert ran.returncode == 3
        assert "FV-HOST-003: " in ran.stderr
        assert "Traceback" not in ran.stderr
        assert set(listing(place)) - set(before) <= {"flashvisor"}


def test_building_without_network_says_what_was_missing_and_keeps_nothing(world: World) -> None:
    said = world.refused("FV-HOST-004", "Debian", "build", "--output", "kvm", prefix=("unshare", "--net"))
    assert "network" in said
    assert not list(world.cache.rglob("*.half"))
    assert not list(world.cache.rglob(".done.json")), "nothing passes for built"
