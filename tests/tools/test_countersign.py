"""Somebody else's image under the owner's signature: only the very file that is meant, whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import StrangeExecutableError, UnreadableFileError
from flashvisor.host import sbsign
from flashvisor.host.files import sha256_file
from flashvisor.host.run import run
from flashvisor.image.countersign import countersign
from flashvisor.model.slot import IMAGE_LIMIT
from tools.test_sbsign import sign, smallest_efi, verify

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.trust.keyring import Keyring

pytestmark = pytest.mark.tools

RELEASE = 'NAME="flashvisor"\nID=flashvisor\n'


def unified(path: Path, *, release: str = RELEASE, leave_out: str = "") -> Path:
    """Writes a smallest executable with the sections of a unified kernel image."""
    bare = path.with_suffix(".bare")
    bare.write_bytes(smallest_efi())
    words: list[str | Path] = []
    texts = {".osrel": release, ".cmdline": "quiet", ".linux": "kernel", ".initrd": "root"}
    for number, (name, text) in enumerate(texts.items()):
        if name != leave_out:
            part = path.with_suffix(name)
            part.write_text(text)
            words += ["--add-section", f"{name}={part}", "--change-section-vma", f"{name}={0x10000 * (number + 1):#x}"]
    run(["objcopy", *words, bare, path])
    return path


@pytest.fixture
def foreign(tmp_path: Path, stranger: Keyring) -> Path:
    """A stranger's image with the stranger's signature."""
    sign(unified(tmp_path / "plain.efi"), tmp_path / "foreign.efi", stranger)
    return tmp_path / "foreign.efi"


def test_the_owners_signature_beside_the_strangers(foreign: Path, keyring: Keyring, stranger: Keyring) -> None:
    output = foreign.with_name("ours.efi")
    before = foreign.read_bytes()
    done = countersign(foreign, output, keyring, sha256=sha256_file(foreign))
    assert done.before == ("/O=Stranger Ltd/CN=flashvisor db",)
    assert done.after == ("/O=Stranger Ltd/CN=flashvisor db", "/O=Owner Ltd/CN=flashvisor db")
    assert (done.size, done.sha256) == (output.stat().st_size, sha256_file(output))
    verify(output, keyring)
    verify(output, stranger)
    assert foreign.read_bytes() == before


def test_the_owners_signature_in_place_of_the_strangers(foreign: Path, keyring: Keyring) -> None:
    done = countersign(foreign, foreign, keyring, sha256=sha256_file(foreign).upper(), replace=True)
    assert done.after == ("/O=Owner Ltd/CN=flashvisor db",)
    assert sbsign.signatures(foreign) == ["/O=Owner Ltd/CN=flashvisor db"]
    verify(foreign, keyring)


def test_what_is_not_meant_is_not_signed(foreign: Path, keyring: Keyring, tmp_path: Path) -> None:
    output = tmp_path / "out" / "ours.efi"
    text = tmp_path / "text"
    text.write_text("no executable")
    bare = tmp_path / "bare"
    bare.write_bytes(smallest_efi())
    other = unified(tmp_path / "other.efi", release="ID=debian\n")
    headless = unified(tmp_path / "headless.efi", leave_out=".linux")
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(IMAGE_LIMIT)
    for path, words in (
        (text, "is no UEFI executable"),
        (bare, r"lacks the sections \.linux"),
        (headless, r"lacks the sections \.linux"),
        (other, "lacks the line ID=flashvisor"),
        (large, "does not fit a slot"),
    ):
        with pytest.raises(StrangeExecutableError, match=words):
            countersign(path, output, keyring, sha256=sha256_file(path))
    with pytest.raises(StrangeExecutableError, match="is another file"):
        countersign(foreign, output, keyring, sha256="0" * 64)
    with pytest.raises(UnreadableFileError):
        countersign(tmp_path / "absent", output, keyring, sha256="0" * 64)
    assert not output.parent.exists() or not any(output.parent.iterdir())
