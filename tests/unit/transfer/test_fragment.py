"""The part of a site file that an import becomes; and into which sites it is put."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from flashvisor.errors import CommandLineError, NameTakenError, SiteError, UnknownNameError, WrongTypeError
from flashvisor.model.sitefile import parse_site
from flashvisor.transfer.fragment import Wish, renamed, render, show_exact
from flashvisor.transfer.library import Library
from flashvisor.transfer.sitetext import append_to_site, choose_networks
from sim.importkit import record

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.transfer.draft import ImportRecord

EXPECTED: dict[str, Any] = {
    "image": {
        "web": {"file": "images/web-000000000000.qcow2", "sha256": "ab" * 32},
        "web-disk2": {"file": "images/web-000000000000-2.qcow2", "sha256": "ab" * 32},
    },
    "guest": {
        "web": {
            "cpus": 2,
            "memory": "1536MiB",
            "firmware": "uefi",
            "profile": "linux",
            "disks": [
                {"image": "web", "bus": "scsi"},
                {"image": "web-disk2", "bus": "sata", "size": "20GiB"},
                {"bus": "virtio", "size": "1GiB"},
            ],
            "nics": [
                {"network": "vm-network", "mac": "00:50:56:ab:cd:ef", "model": "vmxnet3"},
                {"network": "inside", "model": "virtio"},
            ],
        }
    },
}


def text(wish: Wish | None = None, what: ImportRecord | None = None) -> str:
    return render(what or record(), wish or Wish(), lambda image: f"images/{image.file}")


def test_images_and_guests_as_toml() -> None:
    assert tomllib.loads(text()) == EXPECTED


def test_words_are_comments() -> None:
    shown = text()
    assert "# - sound card: left out\n" in shown
    assert "# - a license that its vendor wants accepted: left out\n" in shown
    assert shown.startswith("# Imported from web.ova (ova) on 2026-11-24.\n")


def test_a_strangers_words_stay_comments() -> None:
    hostile = msgspec.structs.replace(record(), notes=("a\n[guest.evil]\x1b[2J" + "x" * 999,), source='"\n[node]')
    shown = text(what=hostile)
    assert tomllib.loads(shown) == EXPECTED
    assert "\x1b" not in shown
    assert all(len(line) < 310 for line in shown.splitlines())


def test_the_sites_networks_and_storage() -> None:
    found = tomllib.loads(text(Wish({"VM Network": "lan"}, "main")))["guest"]["web"]
    assert [nic["network"] for nic in found["nics"]] == ["lan", "inside"]
    assert found["storage"] == "main"


def test_another_name() -> None:
    found = tomllib.loads(text(what=renamed(record(), "shop")))
    assert list(found["image"]) == ["shop", "shop-disk2"]
    assert [disk.get("image") for disk in found["guest"]["shop"]["disks"]] == ["shop", "shop-disk2", None]
    assert found["image"]["shop"]["file"] == EXPECTED["image"]["web"]["file"]
    two = msgspec.structs.replace(record(), guests=record().guests * 2)
    with pytest.raises(CommandLineError, match="several"):
        renamed(two, "shop")


@pytest.mark.parametrize(
    ("size", "shown"), [(8 << 30, "8GiB"), (1536 << 20, "1536MiB"), (1 << 40, "1TiB"), (1025, "1025B"), (3072, "3KiB")]
)
def test_sizes_are_exact(size: int, shown: str) -> None:
    assert show_exact(size) == shown


def images_only() -> ImportRecord:
    return msgspec.structs.replace(record(), guests=())


def library_of(site_file: Path, what: ImportRecord) -> Library:
    library = Library(site_file.parent / "images")
    library.place.mkdir()
    for image in what.images:
        library.file(image).write_bytes(b"QFI\xfb")
    return library


def test_images_are_added_to_a_site_file_once(site_file: Path) -> None:
    site_file.chmod(0o600)
    before = site_file.read_text()
    library = library_of(site_file, images_only())
    assert append_to_site(site_file, images_only(), library, network="", storage="")
    after = site_file.read_text()
    assert after.startswith(before.rstrip())
    site = parse_site(after.replace("ssh_key_files", "ssh_keys"))
    assert site.image["web-disk2"].file == "images/web-000000000000-2.qcow2"
    assert site_file.stat().st_mode & 0o777 == 0o600
    assert not append_to_site(site_file, images_only(), library, network="", storage="")
    assert site_file.read_text() == after


def test_a_site_whose_guests_take_files_is_added_to_as_well(site_file: Path) -> None:
    (site_file.parent / "site.conf").write_text("listen 81;\n")
    before = f'{site_file.read_text()}\n[guest.hello.appliance]\nfiles_from = {{ "/etc/site.conf" = "site.conf" }}\n'
    site_file.write_text(before)
    assert append_to_site(site_file, images_only(), library_of(site_file, images_only()), network="", storage="")
    assert site_file.read_text().startswith(before.rstrip())


def test_a_site_file_that_is_a_link(site_file: Path) -> None:
    real = site_file.with_name("real.toml")
    site_file.rename(real)
    site_file.symlink_to(real)
    assert append_to_site(site_file, images_only(), library_of(site_file, images_only()), network="", storage="")
    assert site_file.is_symlink()
    assert "[image.web]" in real.read_text()


def test_a_name_that_is_taken(site_file: Path) -> None:
    site_file.write_text(site_file.read_text().replace("[image.hello]", "[image.web]").replace('"hello"', '"web"'))
    before = site_file.read_text()
    with pytest.raises(NameTakenError, match=r"image\.web already"):
        append_to_site(site_file, images_only(), library_of(site_file, images_only()), network="", storage="")
    assert site_file.read_text() == before


def test_a_site_that_would_be_wrong_stays_as_it_is(site_file: Path) -> None:
    wrong = msgspec.structs.replace(
        record(), guests=(msgspec.structs.replace(record().guests[0], memory=1 << 61, cpus=999),)
    )
    before = site_file.read_text()
    with pytest.raises(SiteError):
        append_to_site(site_file, wrong, library_of(site_file, wrong), network="", storage="")
    assert site_file.read_text() == before


def test_a_site_that_is_wrong_already(site_file: Path) -> None:
    site_file.write_text(site_file.read_text().replace("schema = 1", "schema = 7"))
    with pytest.raises(WrongTypeError, match="schema"):
        append_to_site(site_file, images_only(), library_of(site_file, images_only()), network="", storage="")


SITE = 'schema = 1\n[node]\nname = "a"\n'
NETWORK = '[network.{}]\nsubnet = "10.{}.0.0/24"\n'


def test_which_network_a_card_gets() -> None:
    none, one = parse_site(SITE), parse_site(SITE + NETWORK.format("lan", 1))
    two = parse_site(SITE + NETWORK.format("lan", 1) + NETWORK.format("inside", 2))
    assert choose_networks(one, record(), "") == {"VM Network": "lan", "inside": "lan"}
    assert choose_networks(two, record(), "lan") == {"VM Network": "lan", "inside": "lan"}
    fitting = parse_site(SITE + NETWORK.format("vm-network", 1) + NETWORK.format("inside", 2))
    assert choose_networks(fitting, record(), "") == {"VM Network": "vm-network", "inside": "inside"}
    for site in (none, two):
        with pytest.raises(CommandLineError, match="VM Network"):
            choose_networks(site, record(), "")
    with pytest.raises(UnknownNameError, match="wan"):
        choose_networks(two, record(), "wan")
