"""Where software comes from, read from trees: small made ones, and then those that the real image is made of."""

from __future__ import annotations

import json
import tarfile
from typing import TYPE_CHECKING

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from license_expression import get_spdx_licensing
from packageurl import PackageURL
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from flashvisor.cli.buildtools import open_cache
from flashvisor.errors import UnknownOriginError
from flashvisor.image import sbom
from flashvisor.image.provenance import Origins, Software, describe
from flashvisor.image.root import Entry

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.image.build import BuildResult

pytestmark = pytest.mark.tools

DEP5 = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: {}\n"


def install(tree: Path, name: str, version: str, *, source: str, arch: str = "amd64", license_name: str) -> None:
    """Puts a package into a tree the way dpkg remembers it."""
    status = tree / "var/lib/dpkg/status"
    (tree / "var/lib/dpkg/info").mkdir(parents=True, exist_ok=True)
    (tree / "var/lib/dpkg/updates").mkdir(exist_ok=True)
    with status.open("a") as file:
        file.write(
            f"Package: {name}\nStatus: install ok installed\nArchitecture: {arch}\nVersion: {version}\n"
            f"Source: {source}\nMaintainer: A <a@example.org>\nDescription: x\n\n"
        )
    copyright_file = tree / "usr/share/doc" / name / "copyright"
    copyright_file.parent.mkdir(parents=True)
    copyright_file.write_text(DEP5.format(license_name))


def add_source(tree: Path, name: str, file_version: str, version: str, work: Path) -> None:
    """Lays a source package into the tree's /usr/src."""
    debian = work / name / "debian"
    debian.mkdir(parents=True)
    (debian / "changelog").write_text(f"{name} ({version}) trixie; urgency=medium\n\n  * x\n")
    (debian / "copyright").write_text(DEP5.format("LGPL-2.1+"))
    sources = tree / "usr/src"
    sources.mkdir(parents=True, exist_ok=True)
    (sources / f"{name}_{file_version.rsplit('-', 1)[0]}.orig.tar.gz").write_bytes(b"")
    with tarfile.open(sources / f"{name}_{file_version}.debian.tar.xz", "w:xz") as archive:
        archive.add(debian, "debian")


@pytest.fixture
def origins(tmp_path: Path) -> Origins:
    packages, build, wheels = (tmp_path / name for name in ("packages", "build", "wheels"))
    install(packages, "libc6", "2.41-12+b1", source="glibc (2.41-12)", license_name="LGPL-2.1+")
    install(packages, "ovmf", "1:2025-8", source="edk2", arch="all", license_name="BSD-2-Clause-Patent")
    install(packages, "libpython3.13-stdlib", "3.13.5-2", source="python3.13", license_name="ISC")
    install(packages, "python3-libvirt", "11.3.0-1", source="libvirt-python", license_name="LGPL-2.1")
    info = packages / "var/lib/dpkg/info"
    (info / "libpython3.13-stdlib:amd64.list").write_text("/usr/lib/python3.13/abc.py\n")
    (info / "python3-libvirt.list").write_text("/usr/lib/python3/dist-packages/libvirt.py\n")
    install(build, "linux-source-6.12", "6.12.117-1", source="linux", arch="all", license_name="GPL-2")
    install(build, "systemd-boot-efi", "257.13-1", source="systemd", license_name="LGPL-2.1+")
    add_source(build, "qemu", "10.0.13+ds-0", "1:10.0.13+ds-0", tmp_path)
    add_source(build, "libvirt", "11.3.0-3", "11.3.0-3", tmp_path)
    add_source(build, "libtirpc", "1.3.6+ds-1", "1.3.6+ds-1", tmp_path)
    for name, field in (("h11-0.16.0", "License: MIT"), ("typing_extensions-4.16.0", "License-Expression: PSF-2.0")):
        place = wheels / f"{name}.dist-info"
        place.mkdir(parents=True)
        distribution, version = name.split("-")
        text = f"Metadata-Version: 2.4\nName: {distribution}\nVersion: {version}\n{field}\n\nAbout.\n"
        (place / "METADATA").write_text(text)
    return Origins(packages=packages, build_root=build, wheels=wheels)


def names_of(found: list[Software]) -> dict[str, Software]:
    return {software.name: software for software in found}


def entry(path: str, package: str, source: Path) -> Entry:
    return Entry(path, "libraries", source=source, package=package)


def test_debian_packages(origins: Origins, tmp_path: Path) -> None:
    entries = [entry("/usr/lib/libc.so.6", "libc6", tmp_path), entry("/usr/share/OVMF/x.fd", "ovmf", tmp_path)]
    found = names_of(describe(entries, origins))
    libc = found["libc6"]
    assert (libc.version, libc.source, libc.source_version) == ("2.41-12+b1", "glibc", "2.41-12")
    assert libc.purl == "pkg:deb/debian/libc6@2.41-12%2Bb1?arch=amd64&distro=trixie"
    assert (libc.terms.expression, libc.supplier) == ("LGPL-2.1-or-later", "Debian")
    assert PackageURL.from_string(found["ovmf"].purl).qualifiers == {"arch": "all", "distro": "trixie"}


def test_what_is_in_every_image_without_an_entry_of_its_own(origins: Origins) -> None:
    """Kernel and EFI stub stand beside the root, not in it."""
    found = names_of(describe([], origins))
    assert set(found) == {"linux", "systemd-boot-efi", "flashvisor"}
    assert found["linux"].purl == "pkg:deb/debian/linux@6.12.117-1?arch=source&distro=trixie"
    assert found["linux"].terms.expression == "GPL-2.0-only"
    assert found["flashvisor"].terms.expression == "Apache-2.0"


def test_what_we_compile_bears_its_source_packages_version(origins: Origins, tmp_path: Path) -> None:
    entries = [entry("/usr/bin/qemu-img", "qemu", tmp_path), entry("/usr/sbin/virtqemud", "libvirt", tmp_path)]
    found = names_of(describe(entries, origins))
    # With the epoch, which the file's name leaves out.
    assert (found["qemu"].version, found["qemu"].source_version) == ("1:10.0.13+ds-0", "1:10.0.13+ds-0")
    assert found["libvirt"].purl == "pkg:deb/debian/libvirt@11.3.0-3?arch=source&distro=trixie"
    assert found["libtirpc"].note == "linked into libvirt"


def test_wheels(origins: Origins, tmp_path: Path) -> None:
    entries = [entry("/a/h11/x.pyc", "pypi:h11", tmp_path), entry("/a/te.pyc", "pypi:typing_extensions", tmp_path)]
    found = names_of(describe(entries, origins))
    assert found["h11"].purl == "pkg:pypi/h11@0.16.0"
    assert found["h11"].terms.expression == "MIT"
    assert found["typing_extensions"].purl == "pkg:pypi/typing-extensions@4.16.0"
    assert found["typing_extensions"].terms.expression == "PSF-2.0"


def test_python_modules_compiled_here_go_back_to_debians_package(origins: Origins, tmp_path: Path) -> None:
    paths = ("/usr/lib/python3.13/abc.pyc", "/usr/lib/python3/dist-packages/libvirt.pyc", "/etc/hosts")
    found = names_of(describe([entry(path, "", tmp_path) for path in paths], origins))
    assert {"libpython3.13-stdlib", "python3-libvirt"} <= set(found)


def test_links_and_directories_bring_no_package(origins: Origins) -> None:
    assert "libc6" not in names_of(describe([Entry("/lib", "systemd", target="usr/lib", package="libc6")], origins))


@pytest.mark.parametrize(
    ("path", "package", "words"),
    [
        ("/usr/bin/x", "nonesuch", "'nonesuch' is not in the tree"),
        ("/usr/bin/x", "pypi:nonesuch", "no wheel 'nonesuch'"),
        ("/usr/lib/python3.13/strange.pyc", "", "belongs to no package"),
    ],
)
def test_an_unknown_origin_is_an_error(origins: Origins, tmp_path: Path, path: str, package: str, words: str) -> None:
    with pytest.raises(UnknownOriginError, match=words):
        describe([entry(path, package, tmp_path)], origins)


def test_a_missing_license_file_is_an_error(origins: Origins, tmp_path: Path) -> None:
    (origins.packages / "usr/share/doc/libc6/copyright").unlink()
    with pytest.raises(UnknownOriginError, match="license of libc6 is unknown"):
        describe([entry("/usr/lib/libc.so.6", "libc6", tmp_path)], origins)


# --- the real image -----------------------------------------------------------------------------------------


def test_the_real_images_bills_are_valid_complete_and_repeatable(built_image: BuildResult, tmp_path: Path) -> None:
    spdx, cyclonedx = sbom.write_sboms(open_cache(), built_image.entries, tmp_path)
    first = spdx.read_bytes(), cyclonedx.read_bytes()
    document = parse_file(str(spdx))
    assert validate_full_spdx_document(document, "SPDX-2.3") == []
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(cyclonedx.read_text()) is None

    listed = {package["name"] for package in json.loads(first[0])["packages"]}
    wanted = {entry.package.removeprefix("pypi:") for entry in built_image.entries if entry.source} - {""}
    assert wanted <= listed
    assert {part["name"] for part in json.loads(first[1])["components"]} == listed - {sbom.IMAGE}

    licensing = get_spdx_licensing()
    for package in json.loads(first[0])["packages"]:
        assert package["versionInfo"]
        unknown = licensing.unknown_license_keys(package["licenseDeclared"])
        assert all(name.startswith("LicenseRef-") or name == "NOASSERTION" for name in unknown)

    again = sbom.write_sboms(open_cache(), built_image.entries, tmp_path / "again")
    assert tuple(path.read_bytes() for path in again) == first
