"""Where the image's software comes from: every package with version, source, license and supplier.

Owns the way from the root's entries to packages. Reads trees, writes nothing; the formats are sbom.py's business::

    origins = Origins(packages=root_packages(cache), build_root=build_root(cache), wheels=wheels(cache))
    for software in describe(entries, origins): ...
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from dataclasses import dataclass
from email.parser import HeaderParser
from functools import cached_property
from typing import TYPE_CHECKING

from packageurl import PackageURL

import flashvisor
from flashvisor.errors import UnknownOriginError
from flashvisor.host import dpkg
from flashvisor.image.kernel import SOURCE_PACKAGE
from flashvisor.image.licenses import Terms, read, spdx_id
from flashvisor.image.trees import SUITE
from flashvisor.image.workshop import source_archives

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from flashvisor.image.root import Entry

OWN = "flashvisor"
WHEEL = "pypi:"  # marks a wheel in Entry.package
KERNEL = "linux"
COMPILED = {"qemu": (), "libvirt": ("libtirpc",), "gnutls28": ()}  # what we compile, with what is linked into it
STUB = "systemd-boot-efi"  # brings the EFI stub that the image starts with, from the build root
PYTHON = "/usr/lib/python3"  # Debian's modules stand below this, and so do ours
STDLIB = "/usr/lib/python3.13/"
DEBIAN = "Debian"
INDEX = "Python Package Index"
CHANGELOG_HEAD = re.compile(r"\S+ \((?P<version>[^)]+)\)")  # deb-changelog(5)


@dataclass(frozen=True)
class Software:
    """A package that the image holds something of.

    Args:
        name: Its name where it comes from.
        version: Its version there.
        purl: Package URL.
        supplier: Who hands it out (SPDX 2.3 clause 7.5).
        source: Source package that it was built from.
        source_version: That one's version.
        terms: Its licenses.
        note: How it got into the image, where that is not plain; "" otherwise.
    """

    name: str
    version: str
    purl: str
    supplier: str
    source: str
    source_version: str
    terms: Terms
    note: str = ""


@dataclass(frozen=True)
class Origins:
    """The trees that the image was made from.

    Args:
        packages: Tree of Debian packages that files were picked from.
        build_root: Tree in which things were compiled, with the source packages in its /usr/src.
        wheels: Directory that the wheels are installed in.
    """

    packages: Path
    build_root: Path
    wheels: Path

    @cached_property
    def installed(self) -> Mapping[str, dpkg.Package]:
        """Packages of the tree that files were picked from, by name."""
        return {package.name: package for package in dpkg.describe(self.packages)}

    @cached_property
    def owners(self) -> Mapping[str, str]:
        """Path in the tree of packages to the package that brought it."""
        return dpkg.owner_of_files(self.packages)

    @cached_property
    def built_with(self) -> Mapping[str, dpkg.Package]:
        """Packages of the build root, by name."""
        return {package.name: package for package in dpkg.describe(self.build_root)}


def describe(entries: Iterable[Entry], origins: Origins) -> list[Software]:
    """Returns everything that the image holds something of, sorted by package URL.

    Args:
        entries: The image's root.
        origins: The trees that it was made from.

    Raises:
        UnknownOriginError: a package is in none of the trees, or its license file is missing.
    """
    names = {_package(entry, origins) for entry in entries if entry.source}
    found = [_stub(origins), _kernel(origins), _own()]
    for name in sorted(names - {OWN, KERNEL}):
        found += _software(name, origins)
    return sorted(found, key=lambda software: software.purl)


def _package(entry: Entry, origins: Origins) -> str:
    """Names what an entry's bytes come from; Debian's Python modules, compiled here, go back to their source files."""
    if entry.package:
        return entry.package
    owner = origins.owners.get(entry.path) or origins.owners.get(entry.path.removesuffix("c"))
    if owner is None and entry.path.startswith(STDLIB):
        raise UnknownOriginError(f"{entry.path} belongs to no package of the tree, so its license is unknown")
    return owner if owner and entry.path.startswith(PYTHON) else OWN


def _software(name: str, origins: Origins) -> list[Software]:
    if name.startswith(WHEEL):
        return [_wheel(name.removeprefix(WHEEL), origins)]
    if name in COMPILED:
        linked = [_compiled(other, origins, f"linked into {name}") for other in COMPILED[name]]
        return [_compiled(name, origins, "compiled by flashvisor from Debian's source package"), *linked]
    if name not in origins.installed:
        raise UnknownOriginError(f"the package '{name}' is not in the tree, so its version and license are unknown")
    return [_binary(origins.installed[name], origins.packages)]


def _binary(package: dpkg.Package, tree: Path, note: str = "") -> Software:
    where = f"usr/share/doc/{package.name}/copyright"
    if not (tree / where).is_file():
        raise UnknownOriginError(f"{where} is not in the tree, so the license of {package.name} is unknown")
    return Software(
        name=package.name,
        version=package.version,
        purl=_purl(package.name, package.version, package.architecture),
        supplier=DEBIAN,
        source=package.source,
        source_version=package.source_version,
        terms=read((tree / where).read_text(errors="replace"), where),
        note=note,
    )


def _stub(origins: Origins) -> Software:
    return _binary(origins.built_with[STUB], origins.build_root, note="its EFI stub starts the image")


def _kernel(origins: Origins) -> Software:
    package = origins.built_with[SOURCE_PACKAGE]
    where = f"usr/share/doc/{package.name}/copyright"
    text = (origins.build_root / where).read_text(errors="replace")
    note = f"compiled by flashvisor from {package.name}"
    return _from_source(package.source, package.source_version, read(text, where), note)


def _compiled(name: str, origins: Origins, note: str) -> Software:
    # The version from the changelog, because file names leave the epoch out (deb-version(7)).
    head = _debian_file(origins, name, "debian/changelog").partition("\n")[0]
    match = CHANGELOG_HEAD.match(head)
    if match is None:
        raise UnknownOriginError(f"the changelog of the source package {name} begins with '{head}', not with a version")
    terms = read(_debian_file(origins, name, "debian/copyright"), "debian/copyright")
    return _from_source(name, match["version"], terms, note)


def _debian_file(origins: Origins, source: str, path: str) -> str:
    """Reads a file of a source package's Debian part."""
    with tarfile.open(source_archives(origins.build_root, source)[1]) as archive:
        try:
            member = archive.extractfile(path)
        except KeyError:
            member = None
        if member is None:
            raise UnknownOriginError(f"the source package {source} has no {path}")
        return member.read().decode(errors="replace")


def _from_source(name: str, version: str, terms: Terms, note: str) -> Software:
    return Software(name, version, _purl(name, version, "source"), DEBIAN, name, version, terms, note)


def _purl(name: str, version: str, architecture: str) -> str:
    return PackageURL("deb", "debian", name, version, {"arch": architecture, "distro": SUITE}).to_string()


def _wheel(name: str, origins: Origins) -> Software:
    places = sorted(origins.wheels.glob(f"{name}-*.dist-info"))
    if not places:
        raise UnknownOriginError(f"no wheel '{name}' is in {origins.wheels}, so its version and license are unknown")
    text = (places[0] / "METADATA").read_text(encoding="utf-8")
    metadata = HeaderParser().parsestr(text)
    version = metadata["Version"]
    where = f"{places[0].name}/METADATA"
    # `License` was free text before `License-Expression` came (PEP 639), and is used where it is a plain name.
    expression = metadata.get("License-Expression") or spdx_id(metadata.get("License", "")) or ""
    return Software(
        name=metadata["Name"],
        version=version,
        purl=PackageURL("pypi", None, metadata["Name"], version).to_string(),
        supplier=INDEX,
        source=metadata["Name"],
        source_version=version,
        terms=Terms(expression, where, hashlib.sha256(text.encode()).hexdigest()),
    )


def _own() -> Software:
    version = flashvisor.__version__
    purl = PackageURL("generic", None, OWN, version).to_string()
    terms = Terms("Apache-2.0", "LICENSE", "")
    return Software(OWN, version, purl, OWN, OWN, version, terms, note="the agent, the first program and the units")
