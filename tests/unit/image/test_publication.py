"""A release is called what its image says, and only names that servers take are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import CommandLineError, StrangeImageError
from flashvisor.image.build import _os_release
from flashvisor.image.publication import Order, title_of
from flashvisor.image.release import Title
from flashvisor.model.release import Flavour
from sim.nodekit import uki

if TYPE_CHECKING:
    from pathlib import Path

OURS = 'ID=flashvisor\nIMAGE_ID="flashvisor-xen"\nIMAGE_VERSION=1.4\n'


def image(tmp_path: Path, release: str) -> Path:
    path = tmp_path / "flashvisor.efi"
    path.write_bytes(uki(osrel=release.encode()))
    return path


def test_an_image_names_its_hypervisor_and_its_version(tmp_path: Path) -> None:
    efi = image(tmp_path, OURS)
    assert title_of(efi, Order()) == Title("flashvisor", "1.4", Flavour.XEN)
    assert title_of(efi, Order("mine", "2")) == Title("mine", "2", Flavour.XEN)


def test_what_the_build_writes_is_understood(tmp_path: Path) -> None:
    assert title_of(image(tmp_path, _os_release()), Order(version="9")) == Title("flashvisor", "9", Flavour.KVM)


@pytest.mark.parametrize(
    ("release", "words"),
    [
        ("ID=debian\n", "lacks the line ID=flashvisor"),
        ("ID=flashvisor\nIMAGE_VERSION=1\n", "IMAGE_ID=flashvisor-kvm or flashvisor-xen, got ''"),
        (OURS.replace("xen", "bhyve"), "got 'flashvisor-bhyve'"),
    ],
)
def test_other_images_are_refused(tmp_path: Path, release: str, words: str) -> None:
    with pytest.raises(StrangeImageError, match=words):
        title_of(image(tmp_path, release), Order())


def test_what_is_no_image_at_all(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no executable")
    with pytest.raises(StrangeImageError, match=r"text is no flashvisor\.efi"):
        title_of(tmp_path / "text", Order())


@pytest.mark.parametrize(
    ("order", "option"),
    [(Order(version="1.4-rc1"), "--version"), (Order(version="01"), "--version"), (Order("../x"), "--name")],
)
def test_names_that_servers_do_not_take(tmp_path: Path, order: Order, option: str) -> None:
    with pytest.raises(CommandLineError, match=option):
        title_of(image(tmp_path, OURS), order)
