"""What the peer consists of, as far as no package is needed to tell."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from flashvisor.api.bundle import read_site
from flashvisor.bench.course import BARE, IDLE, NODE_NAME, OURS, PEER, PORT, SITE, gather
from flashvisor.bench.peer import GUEST, RECIPE, guest_xml, installed_bytes
from flashvisor.bench.runs import Sample
from flashvisor.model.sitefile import check_site, parse_site

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.model.site import Site


def site() -> Site:
    parsed = parse_site(SITE.read_text(), str(SITE))
    check_site(parsed, str(SITE))
    return parsed


def test_the_site_names_the_guest_and_the_port_that_are_measured(tmp_path: Path) -> None:
    (tmp_path / "hello.efi").write_bytes(b"MZ")
    (tmp_path / SITE.name).write_text(SITE.read_text())
    read = read_site(tmp_path / SITE.name).site
    assert read.node.name == NODE_NAME
    assert [forward.port for forward in read.guest[GUEST].forwards] == [PORT]
    assert list(read.guest) == [GUEST]


def test_the_peer_starts_the_same_guest() -> None:
    domain = ET.fromstring(guest_xml(site(), "console=ttyS0 quiet"))  # noqa: S314 - our own text
    assert domain.findtext("memory") == str(64 * 1024)
    assert domain.findtext("os/cmdline") == "console=ttyS0 quiet"
    source = domain.find("devices/interface/source")
    assert source is not None
    assert source.get("bridge") == "br-inside"


def test_the_peer_starts_what_its_files_say() -> None:
    script = (RECIPE / "usr/local/sbin/bench-peer").read_text()
    assert f"create /usr/local/share/bench/{GUEST}.xml" in script
    done = subprocess.run(["sh", "-n"], input=script, text=True, check=False, capture_output=True)  # noqa: S607
    assert done.returncode == 0, done.stderr


def test_installed_bytes_count_each_file_once(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/a").write_bytes(bytes(1000))
    os.link(tmp_path / "usr/bin/a", tmp_path / "usr/bin/b")
    (tmp_path / "usr/bin/c").symlink_to("a")
    (tmp_path / "own").mkdir()
    (tmp_path / "own/guest").write_bytes(bytes(70))
    (tmp_path / "usr/x").write_bytes(bytes(5))
    assert installed_bytes(tmp_path) == 1075
    assert installed_bytes(tmp_path, ["own", "usr/x"]) == 1000


def test_samples_come_from_whom_they_belong_to() -> None:
    taken = {
        OURS: [Sample(ready=1.0, answer=2.0, ram=None)],
        IDLE: [Sample(ready=3.0, answer=None, ram=4)],
        PEER: [Sample(ready=5.0, answer=6.0, ram=7)],
        BARE: [Sample(ready=8.0, answer=None, ram=None)],
    }
    samples = gather(taken, slot=9, installed=10)
    assert (samples.ready, samples.answer, samples.ram) == ([1.0], [2.0], [4])
    assert (samples.peer_ready, samples.peer_answer, samples.peer_ram) == ([5.0], [6.0], [7])
    assert (samples.bare_init, samples.slot, samples.peer_installed) == ([8.0], 9, 10)
