"""`flashvisor check` and `flashvisor site schema`."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from flashvisor.cli import check, site
from flashvisor.errors import UnknownImageError, UnreadableFileError

if TYPE_CHECKING:
    from pathlib import Path


def test_says_in_one_line_what_each_thing_is(site_file: Path) -> None:
    result = CliRunner().invoke(check.command, [str(site_file)], catch_exceptions=False)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert [line.split()[:2] for line in lines[:-1]] == [
        ["node", "alpha"],
        ["storage", "main"],
        ["network", "inside"],
        ["image", "hello"],
        ["image", "debian"],
        ["guest", "hello"],
        ["guest", "debian"],
    ]
    assert "64 MiB, 1 CPU, 10.77.0.10 in inside, tcp 8080 leads to 80" in lines[5]
    assert "disk 2 GiB" in lines[6]
    assert lines[-1] == f"{site_file} is right."


def test_says_what_a_network_hangs_on(site_file: Path) -> None:
    networks = (
        '[network.lan]\nkind = "bridge"\nuplink = "52:54:00:00:00:01"\nvlan = 20\n'
        '[network.shut]\nkind = "isolated"\nsubnet = "10.79.0.0/24"\nsubnet6 = "fd00:79::/64"\n'
    )
    site_file.write_text(site_file.read_text() + networks)
    lines = CliRunner().invoke(check.command, [str(site_file)], catch_exceptions=False).output.splitlines()
    found = [line.split(maxsplit=2)[2] for line in lines if line.startswith("network ")]
    assert found == [
        "10.77.0.0/24, server 10.77.0.1, NAT",
        "bridge on 52:54:00:00:00:01, VLAN 20",
        "10.79.0.0/24 and fd00:79::/64, server 10.79.0.1, no way out",
    ]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('serial = "S1"', "the disk with serial S1"),
        ('device = "/dev/sdb"', "/dev/sdb"),
        ('raid1 = ["S1", "S2"]', "a mirror of the disks with serials S1 and S2"),
        ('nfs = "nas.example:/vm"', "NFS: nas.example:/vm"),
    ],
)
def test_says_what_a_storage_is(site_file: Path, table: str, words: str) -> None:
    site_file.write_text(re.sub(r'(?<=\[storage.main\]\n)serial = ".*"', table, site_file.read_text()))
    result = CliRunner().invoke(check.command, [str(site_file)], catch_exceptions=False)
    assert result.output.splitlines()[1].split(maxsplit=2)[2] == words


def test_says_it_as_json_too(site_file: Path) -> None:
    site_file.write_text(site_file.read_text().replace('memory = "64MiB"', 'memory = "64MiB"\nautostart = false'))
    result = CliRunner().invoke(check.command, [str(site_file), "--json"], catch_exceptions=False)
    report = json.loads(result.output)
    assert report["file"] == str(site_file)
    hello = next(thing for thing in report["things"] if (thing["kind"], thing["name"]) == ("guest", "hello"))
    assert hello["summary"].endswith("not started by alpha itself")


def test_says_when_a_guest_starts(site_file: Path) -> None:
    turn = 'autostart = { after = ["debian"], delay = "5s" }'
    site_file.write_text(site_file.read_text().replace('memory = "64MiB"', f'memory = "64MiB"\n{turn}'))
    result = CliRunner().invoke(check.command, [str(site_file)], catch_exceptions=False)
    assert "started once debian answers, 5s later" in result.output


def test_image_files_must_exist(site_file: Path) -> None:
    (site_file.parent / "hello.efi").unlink()
    with pytest.raises(UnknownImageError, match=r"image\.hello\.file"):
        CliRunner().invoke(check.command, [str(site_file)], catch_exceptions=False)


def test_the_site_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"none\.toml"):
        CliRunner().invoke(check.command, [str(tmp_path / "none.toml")], catch_exceptions=False)


def test_prints_the_schema() -> None:
    result = CliRunner().invoke(site.command, ["schema"], catch_exceptions=False)
    assert json.loads(result.output)["$ref"] == "#/$defs/Site"
