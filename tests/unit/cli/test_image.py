"""`flashvisor image`: what is printed, what a site file gets, and what is refused."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import NoSpaceError
from flashvisor.host import jailed_qemu_img
from flashvisor.transfer import expand
from sim.appliances import virtualbox, write_tar
from sim.importkit import Copier, raw_disk

if TYPE_CHECKING:
    from collections.abc import Callable

    from unit.cli.conftest import Ran

ONE, TWO = raw_disk(b"one"), raw_disk(b"two")
SIZE = 1 << 20  # bytes


@pytest.fixture(autouse=True)
def copier(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Copier:
    copier = Copier()
    for name in ("info", "check", "convert"):
        monkeypatch.setattr(jailed_qemu_img, name, getattr(copier, name))
    monkeypatch.setattr(expand, "RESERVE", 0)
    monkeypatch.chdir(tmp_path)
    return copier


@pytest.fixture
def disk(tmp_path: Path) -> str:
    (tmp_path / "disk.img").write_bytes(ONE)
    return "disk.img"


@pytest.fixture
def ova(tmp_path: Path) -> str:
    write_tar(tmp_path / "mail.ova", {"m.ovf": virtualbox(["1", "2"], SIZE), "1": ONE, "2": TWO})
    return "mail.ova"


def test_the_tables_alone_go_to_standard_output(flashvisor: Callable[..., Ran], ova: str) -> None:
    ran = flashvisor("image", "import", ova)
    assert ran.status == 0
    found = tomllib.loads(ran.stdout)
    assert list(found["image"]) == ["mail", "mail-disk2"]
    assert list(found["guest"]) == ["mail"]
    assert found["image"]["mail"]["file"].startswith("images/mail-")
    assert "# - sound card (ensoniq1371): left out" in ran.stdout
    assert "Networks that the site must have: bridged, nat" in ran.stderr
    again = flashvisor("image", "import", ova)
    assert again.stdout == ran.stdout
    assert "had it already" in again.stderr


def test_names_networks_and_storage_of_the_site(flashvisor: Callable[..., Ran], ova: str) -> None:
    ran = flashvisor("image", "import", ova, "--name", "post", "--network", "lan", "--storage", "main")
    guest = tomllib.loads(ran.stdout)["guest"]["post"]
    assert {nic["network"] for nic in guest["nics"]} == {"lan"}
    assert guest["storage"] == "main"
    assert guest["disks"][1]["image"] == "post-disk2"


def test_the_library_lies_beside_the_site_file(
    flashvisor: Callable[..., Ran], disk: str, site_file: Path, tmp_path: Path
) -> None:
    place = tmp_path / "sites"
    place.mkdir()
    for path in list(tmp_path.iterdir()):
        if path.is_file() and path.name != disk:
            path.rename(place / path.name)
    site = place / site_file.name
    ran = flashvisor("image", "import", disk, "--name", "data", "--site", str(site))
    assert ran.status == 0, ran.stderr
    assert f"data added to {site}" in ran.stdout
    found = tomllib.loads(site.read_text())["image"]["data"]
    assert (place / found["file"]).read_bytes() == ONE
    before = site.read_text()
    again = flashvisor("image", "import", disk, "--name", "data", "--site", str(site))
    assert "stands already in" in again.stdout
    assert site.read_text() == before
    refused = flashvisor("image", "remove", "disk", "--site", str(site))
    assert refused.status == 2
    assert "no import" in refused.stderr


def test_an_image_that_a_site_names_stays(flashvisor: Callable[..., Ran], disk: str, site_file: Path) -> None:
    assert flashvisor("image", "import", disk, "--site", str(site_file)).status == 0
    ran = flashvisor("image", "remove", "disk", "--site", str(site_file))
    assert ran.status == 2
    assert "FV-USE-114" in ran.stderr
    assert "image.disk" in ran.stderr
    site_file.write_text(site_file.read_text().partition("# Imported")[0])
    ran = flashvisor("image", "remove", "disk", "--site", str(site_file))
    assert ran.status == 0
    assert "32 KiB are free again" in ran.stdout
    assert not list((site_file.parent / "images").iterdir())


def test_the_list(flashvisor: Callable[..., Ran], disk: str, ova: str) -> None:
    flashvisor("image", "import", disk)
    flashvisor("image", "import", ova)
    listed = json.loads(flashvisor("image", "list", "--json").stdout)
    assert [(each["name"], each["format"], each["source"], each["whole"]) for each in listed] == [
        ("disk", "raw", "disk.img", True),
        ("mail", "raw", "mail.ova", True),
        ("mail-disk2", "raw", "mail.ova", True),
    ]
    shown = flashvisor("image", "list").stdout
    assert listed[0]["sha256"][:12] in shown
    assert "missing" not in shown
    Path(listed[0]["file"]).unlink()
    assert "(missing)" in flashvisor("image", "list").stdout


def test_the_list_tells_of_what_was_begun(flashvisor: Callable[..., Ran], ova: str, copier: Copier) -> None:
    copier.fail = [NoSpaceError("full")]
    assert flashvisor("image", "import", ova).status == NoSpaceError.exit_status
    assert "imports that run or were cut" in flashvisor("image", "list").stderr
    assert flashvisor("image", "import", ova).status == 0
    assert flashvisor("image", "list").stderr == ""


def test_json_of_import_and_remove(flashvisor: Callable[..., Ran], disk: str) -> None:
    report = json.loads(flashvisor("image", "import", disk, "--library", "lib", "--json").stdout)
    assert report["made"]
    assert report["record"]["images"][0]["file"].startswith("disk-")
    assert tomllib.loads(report["fragment"])["image"]["disk"]["file"].startswith("lib/disk-")
    removed = json.loads(flashvisor("image", "remove", "disk", "--library", "lib", "--json").stdout)
    assert removed["freed"] == len(ONE)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("none.img",), "FV-USE-002"),
        (("https://example.com/x.img",), "FV-USE-003"),
        (("disk.img", "--sha256", "12"), "FV-USE-003"),
        (("disk.img", "--sha256", "0" * 64), "FV-USE-113"),
        (("disk.img", "--capacity", "much"), "FV-USE-003"),
        (("disk.img", "--name", "My Disk"), "FV-USE-003"),
        (("disk.img", "--site", "none.toml"), "FV-USE-002"),
    ],
)
def test_what_is_refused(
    flashvisor: Callable[..., Ran], disk: str, copier: Copier, words: tuple[str, ...], code: str
) -> None:
    del disk
    ran = flashvisor("image", "import", *words)
    assert ran.status == 2
    assert f"{code}: " in ran.stderr
    assert "  next: " in ran.stderr
    assert not copier.converted, "before any long work"
