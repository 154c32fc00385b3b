"""Archives and directories that are not to be trusted: names, members, lengths, manifests."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import (
    ArchiveMemberError,
    ArchivePathError,
    DamagedImageError,
    ManifestError,
    MissingDiskError,
    OvfError,
    TruncatedImageError,
)
from flashvisor.transfer.archive import open_ova, open_ovf, safe_name
from flashvisor.transfer.manifest import parse_manifest, read_manifest, verify_files
from flashvisor.transfer.region import Region
from sim.appliances import manifest, write_tar

if TYPE_CHECKING:
    from pathlib import Path

FILES = {"web.ovf": b"<Envelope/>", "disk.vmdk": b"KDMV" + bytes(700)}


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, target
    return header


def test_members_are_read_where_they_lie(tmp_path: Path) -> None:
    package = open_ova(Region.of(write_tar(tmp_path / "web.ova", FILES, special("sub", tarfile.DIRTYPE))))
    assert package.descriptor == "web.ovf"
    assert package.member("./disk.vmdk").read(0, 9999) == FILES["disk.vmdk"]
    with pytest.raises(MissingDiskError, match="other"):
        package.member("other.vmdk")


def test_names_are_uri_references(tmp_path: Path) -> None:
    package = open_ova(Region.of(write_tar(tmp_path / "web.ova", {"a.ovf": b"", "my disk.vmdk": b"x", "a%20b": b"y"})))
    assert package.member("my%20disk.vmdk").read(0, 9) == b"x"
    assert package.member("a%20b").read(0, 9) == b"y"
    for name in ("%2e%2e/x", "%2fetc%2fpasswd"):
        with pytest.raises(ArchivePathError):
            package.member(name)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../disk.vmdk", "a/../../b", "..", "C:disk", "a\\b", "a\nb", "http://x/y", ""]
)
def test_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArchivePathError):
        safe_name(name, "web.ova")
    if name:
        with pytest.raises(ArchivePathError):
            open_ova(Region.of(write_tar(tmp_path / "web.ova", {**FILES, name: b""})))
    package = open_ova(Region.of(write_tar(tmp_path / "good.ova", FILES)))
    with pytest.raises(ArchivePathError):
        package.member(name)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "a link to '/etc/passwd'"),
        (tarfile.LNKTYPE, "a link to '/etc/passwd'"),
        (tarfile.CHRTYPE, "a device or pipe"),
        (tarfile.BLKTYPE, "a device or pipe"),
        (tarfile.FIFOTYPE, "a device or pipe"),
    ],
)
def test_members_that_are_no_files(tmp_path: Path, kind: bytes, word: str) -> None:
    path = write_tar(tmp_path / "web.ova", FILES, special("x.vmdk", kind, "/etc/passwd"))
    with pytest.raises(ArchiveMemberError, match=word):
        open_ova(Region.of(path))


def test_a_sparse_member(tmp_path: Path) -> None:
    """GNU's sparse files say a size that is not in the archive."""
    header = special("x.vmdk", tarfile.GNUTYPE_SPARSE)
    path = write_tar(tmp_path / "web.ova", FILES, header)
    with pytest.raises((ArchiveMemberError, DamagedImageError)):
        open_ova(Region.of(path))
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        header = tarfile.TarInfo("x.vmdk")
        header.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.map": "0,1", "GNU.sparse.size": "9999999999"}
        tar.addfile(header)
    with pytest.raises(ArchiveMemberError, match="sparse"):
        open_ova(Region.of(path))


def test_a_name_that_stands_there_twice(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "web.ova", FILES, tarfile.TarInfo("./disk.vmdk"))
    with pytest.raises(ArchiveMemberError, match="twice"):
        open_ova(Region.of(path))


def test_an_archive_that_breaks_off(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "web.ova", {**FILES, "last.vmdk": bytes(100_000)})
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(TruncatedImageError, match="last"):
        open_ova(Region.of(path))


def test_a_header_that_claims_gigabytes(tmp_path: Path) -> None:
    """The library would read a long name into memory, whatever its length."""
    header = special("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    header.size = 1 << 33
    path = tmp_path / "web.ova"
    path.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(10_000))
    with pytest.raises(ArchiveMemberError, match="header"):
        open_ova(Region.of(path))


@pytest.mark.parametrize(
    "headers",
    [{"GNU.sparse.map": "x,y"}, {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "z"}],
)
def test_headers_that_are_no_numbers(tmp_path: Path, headers: dict[str, str]) -> None:
    header = tarfile.TarInfo("web.ovf")
    header.pax_headers = headers
    with tarfile.open(tmp_path / "web.ova", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(header)
    with pytest.raises(DamagedImageError, match="broken tar"):
        open_ova(Region.of(tmp_path / "web.ova"))


def test_headers_without_an_end(tmp_path: Path) -> None:
    """The library reads what follows a long name by calling itself."""
    header = special("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    header.size = 2
    path = tmp_path / "web.ova"
    path.write_bytes((header.tobuf(tarfile.GNU_FORMAT) + b"a".ljust(512, b"\0")) * 3000)
    with pytest.raises(DamagedImageError, match="broken tar"):
        open_ova(Region.of(path))


def test_too_many_members(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "web.ova", {f"f{index}": b"" for index in range(1001)})
    with pytest.raises(ArchiveMemberError, match="1000"):
        open_ova(Region.of(path))


def test_an_archive_without_a_descriptor_and_one_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(OvfError, match="without"):
        open_ova(Region.of(write_tar(tmp_path / "x.ova", {"disk.vmdk": b""})))
    broken = io.BytesIO()
    broken.write(bytes(257) + b"ustar" + bytes(1000))
    (tmp_path / "y.ova").write_bytes(broken.getvalue())
    with pytest.raises(DamagedImageError, match="broken"):
        open_ova(Region.of(tmp_path / "y.ova"))


def test_files_beside_a_descriptor(tmp_path: Path) -> None:
    place = tmp_path / "web"
    place.mkdir()
    for name, data in FILES.items():
        (place / name).write_bytes(data)
    (tmp_path / "secret").write_text("x")
    (place / "link.vmdk").symlink_to("../secret")
    (place / "linked").symlink_to("..")
    package = open_ovf(Region.of(place / "web.ovf"))
    assert package.member("disk.vmdk").size == len(FILES["disk.vmdk"])
    assert package.manifest is None
    for name in ("link.vmdk", "linked/secret", "linked"):
        with pytest.raises(ArchivePathError):
            package.member(name)
    with pytest.raises(ArchivePathError):
        package.member("../secret")
    with pytest.raises(MissingDiskError):
        package.member("none.vmdk")


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
def test_a_manifest_is_compared(tmp_path: Path, algorithm: str) -> None:
    good = write_tar(tmp_path / "web.ova", {**FILES, "web.mf": manifest(FILES, algorithm)})
    package = open_ova(Region.of(good))
    heard: list[int] = []
    verify_files(package, read_manifest(package), heard.append)
    assert sum(heard) == sum(map(len, FILES.values()))
    changed = write_tar(tmp_path / "bad.ova", {**FILES, "disk.vmdk": b"other", "web.mf": manifest(FILES, algorithm)})
    package = open_ova(Region.of(changed))
    with pytest.raises(ManifestError, match=r"disk\.vmdk"):
        verify_files(package, read_manifest(package), heard.append)


def test_a_manifest_that_lists_what_is_not_there(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "web.ova", {**FILES, "web.mf": manifest({"gone.vmdk": b""})})
    package = open_ova(Region.of(path))
    with pytest.raises(MissingDiskError, match="gone"):
        verify_files(package, read_manifest(package), lambda _: None)


def test_lines_of_a_manifest_in_both_spellings() -> None:
    found = parse_manifest("SHA1 (a b.ovf)= AB12\r\nSHA256(c)=cd34\n\n", "web.mf")
    assert [(name, each.algorithm, each.digest) for name, each in found.items()] == [
        ("a b.ovf", "sha1", "ab12"),
        ("c", "sha256", "cd34"),
    ]
    for wrong in ("hello", "MD5(a)= ab12", "SHA256(a)= xyz"):
        with pytest.raises(ManifestError):
            parse_manifest(wrong, "web.mf")


def test_a_manifest_too_long(tmp_path: Path) -> None:
    package = open_ova(Region.of(write_tar(tmp_path / "web.ova", {**FILES, "web.mf": bytes((1 << 20) + 1)})))
    with pytest.raises(ManifestError, match="long"):
        read_manifest(package)
