"""From a path on the administrator's disk to a request, or an error that names the file."""

from __future__ import annotations

import hashlib
import tomllib
from typing import TYPE_CHECKING

import pytest

from flashvisor.api.bundle import hash_images, read_site
from flashvisor.api.types import ImageKind
from flashvisor.errors import ImageChangedError, UnknownImageError, UnknownKeyError, UnreadableFileError
from flashvisor.model.site import Appliance

if TYPE_CHECKING:
    from pathlib import Path


def test_key_files_and_images_come_in(site_file: Path) -> None:
    source = read_site(site_file)
    assert source.image_bytes == 3002 + 5004
    seen: list[int] = []
    request = hash_images(source, seen.append).request(who="me", confirm_within=60)
    assert sum(seen) == source.image_bytes
    assert tomllib.loads(request.site_toml)["guest"]["debian"]["cloud_init"]["ssh_keys"][0].startswith("ssh-ed25519 ")
    assert request.images["hello"].kind is ImageKind.APPLIANCE
    assert request.images["debian"].kind is ImageKind.DISK
    assert request.images["debian"].sha256 == hashlib.sha256(b"QFI\xfb" + bytes(5000)).hexdigest()
    assert (request.who, request.confirm_within) == ("me", 60)


def test_files_of_guests_come_in_as_texts(site_file: Path) -> None:
    (site_file.parent / "page.html").write_text("<p>\n")
    site_file.write_text(
        site_file.read_text() + '\n[guest.hello.appliance.files_from]\n"/srv/www/index.html" = "page.html"\n'
    )
    source = read_site(site_file)
    assert source.site.guest["hello"].appliance == Appliance(files={"/srv/www/index.html": "<p>\n"})
    assert "files_from" not in source.text
    (site_file.parent / "page.html").unlink()
    with pytest.raises(UnreadableFileError, match=r"page\.html"):
        read_site(site_file)


def test_uploads_are_what_the_server_lacks_and_each_file_once(site_file: Path) -> None:
    site_file.write_text(site_file.read_text() + '\n[image.again]\nfile = "hello.efi"\n')
    bundle = hash_images(read_site(site_file))
    digest = bundle.refs["hello"].sha256
    assert bundle.refs["again"].sha256 == digest
    assert [path.name for path, _ in bundle.uploads((digest,))] == ["hello.efi"]
    assert bundle.uploads(()) == []


def test_an_image_that_is_not_there(site_file: Path) -> None:
    (site_file.parent / "hello.efi").unlink()
    with pytest.raises(UnknownImageError, match=r"image\.hello\.file: there is no file .*hello\.efi"):
        read_site(site_file)


def test_an_image_that_is_not_the_one_named(site_file: Path) -> None:
    site_file.write_text(site_file.read_text().replace('"hello.efi"', f'"hello.efi"\nsha256 = "{"0" * 64}"'))
    with pytest.raises(ImageChangedError, match="expected SHA-256 0000"):
        hash_images(read_site(site_file))


def test_files_that_cannot_be_read(site_file: Path) -> None:
    (site_file.parent / "admin.pub").unlink()
    with pytest.raises(UnreadableFileError, match=r"admin\.pub"):
        read_site(site_file)
    with pytest.raises(UnreadableFileError, match=r"absent\.toml"):
        read_site(site_file.parent / "absent.toml")
    site_file.write_bytes(b"\xff\xfe")
    with pytest.raises(UnreadableFileError, match="UTF-8"):
        read_site(site_file)


def test_a_wrong_site_never_gets_as_far_as_its_images(site_file: Path) -> None:
    (site_file.parent / "hello.efi").unlink()
    site_file.write_text(site_file.read_text().replace("memory", "memroy", 1))
    with pytest.raises(UnknownKeyError, match="memroy"):
        read_site(site_file)
