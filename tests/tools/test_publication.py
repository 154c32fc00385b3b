"""`flashvisor release publish` with real tools, on an image as small as they take; then a server takes it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from flashvisor.cli.buildtools import open_cache
from flashvisor.cli.main import run as run_cli
from flashvisor.host import cpio, files, squashfs
from flashvisor.host.run import run
from flashvisor.image.trees import build_root
from flashvisor.image.workshop import EPOCH
from flashvisor.model.release import Memory
from flashvisor.trust import keystore
from flashvisor.trust.keyring import Keyring
from sim.releasekit import take
from tools.test_sbsign import sign, smallest_efi

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.tools

RELEASE = "ID=flashvisor\nIMAGE_ID=flashvisor-kvm\nIMAGE_VERSION=1.4\n"
LOADABLE = "alias pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e\n"
BUILTIN = b"virtio_net.alias=virtio:d00000001v*\0"


def make_image(place: Path, extra: bytes = b"") -> Path:
    """Writes an unsigned image that has drivers and nothing else."""
    tree, modules = build_root(open_cache()), place / "root/usr/lib/modules/6.12"
    modules.mkdir(parents=True)
    (modules / "modules.alias").write_text(LOADABLE)
    (modules / "modules.builtin.modinfo").write_bytes(BUILTIN)
    (place / "root/extra").write_bytes(extra)
    (place / "initrd").mkdir()
    squashfs.pack(tree, place, "root", "initrd/root.squashfs", epoch=EPOCH, ranks={})
    cpio.pack(tree, place, "initrd", "initrd.cpio", epoch=EPOCH)
    (place / "osrel").write_text(RELEASE)
    (place / "bare.efi").write_bytes(smallest_efi())
    words = ["--add-section", f".osrel={place / 'osrel'}", "--change-section-vma", ".osrel=0x10000"]
    words += ["--add-section", f".initrd={place / 'initrd.cpio'}", "--change-section-vma", ".initrd=0x20000"]
    run(["objcopy", *words, place / "bare.efi", place / "plain.efi"])
    return place / "plain.efi"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_image(tmp_path_factory.mktemp("plain"))


@pytest.fixture
def owner(keyring: Keyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keyring:
    """A keyring made before there were roots, which commands use."""
    data = json.loads(keystore.encode(keyring.store))
    del data["roots"]
    files.write_directory_once(tmp_path / "keys", {keystore.STORE: json.dumps(data).encode()}, mode=0o600)
    monkeypatch.setenv("FLASHVISOR_KEYS", str(tmp_path / "keys"))
    return Keyring.open(tmp_path / "keys")


def test_publish_rotate_publish_and_a_server_burnt_before_all_of_it(
    plain: Path, owner: Keyring, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory, efi = tmp_path / "releases", tmp_path / "flashvisor.efi"
    burnt = Memory(root=owner.founded().roots[-1])
    sign(plain, efi, owner)
    assert run_cli(["release", "publish", str(directory), "--image", str(efi), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["name"], said["version"], said["flavour"]) == ("flashvisor", "1.4", "kvm")
    verdict = take(directory, burnt)
    assert verdict.manifest.sha256 == said["sha256"] == files.sha256_file(efi)
    assert verdict.manifest.modaliases == ("pci:v00008086d000010D3sv*sd*bc*sc*i*", "virtio:d00000001v*")
    assert run_cli(["keys", "rotate", "tuf-root"]) == 0
    assert run_cli(["keys", "rotate", "tuf-targets"]) == 0
    assert run_cli(["release", "publish", str(directory), "--image", str(efi), "--version", "1.5"]) == 0
    printed = capsys.readouterr()
    assert "published  flashvisor 1.5 for kvm" in printed.out
    assert "Servers take it until" in printed.out
    for memory in (burnt, verdict.memory):
        assert take(directory, memory).manifest.version == "1.5"


def test_another_image_under_a_published_version(
    plain: Path, owner: Keyring, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory, efi, other = tmp_path / "releases", tmp_path / "flashvisor.efi", tmp_path / "other.efi"
    sign(plain, efi, owner)
    (tmp_path / "work").mkdir()
    sign(make_image(tmp_path / "work", b"other"), other, owner)
    assert run_cli(["release", "publish", str(directory), "--image", str(efi)]) == 0
    timestamp = (directory / "timestamp.json").read_bytes()
    capsys.readouterr()
    assert run_cli(["release", "publish", str(directory), "--image", str(other)]) == 6
    said = capsys.readouterr().err
    assert "FV-TRUST-102" in said
    assert "--version" in said
    assert (directory / "timestamp.json").read_bytes() == timestamp


def test_an_image_without_the_owners_signature(
    plain: Path, owner: Keyring, stranger: Keyring, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    efi = tmp_path / "flashvisor.efi"
    for signer, words in ((None, "signed by: nobody"), (stranger, "signed by: /O=Stranger Ltd/CN=flashvisor db")):
        if signer:
            sign(plain, efi, signer)
        else:
            shutil.copyfile(plain, efi)
        assert run_cli(["release", "publish", str(tmp_path / "releases"), "--image", str(efi)]) == 6
        said = capsys.readouterr().err
        assert "FV-TRUST-004" in said
        assert words in said
        assert "flashvisor sign" in said
    assert not (tmp_path / "releases").exists()
    assert not owner.roots
