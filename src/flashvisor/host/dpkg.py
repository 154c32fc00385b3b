"""dpkg: which packages a tree holds, and which package a file came from. Source: dpkg-query(1), deb-control(5).

Example::

    packages_of(tree)["libc6"]           # "2.41-12+deb13u5"
    owner_of_files(tree)["/usr/bin/env"] # "coreutils"
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.host.run import run

if TYPE_CHECKING:
    from pathlib import Path

# On merged-/usr, a package may still list /lib/x where the file stands at /usr/lib/x.
MERGED = ("/bin/", "/sbin/", "/lib/", "/lib64/")


@dataclass(frozen=True)
class Package:
    """A package of a tree, with the source package that it was built from."""

    name: str
    version: str
    source: str
    source_version: str
    architecture: str


def packages_of(tree: Path) -> dict[str, str]:
    """Returns name to version of every installed package."""
    return {package.name: package.version for package in describe(tree)}


def describe(tree: Path) -> list[Package]:
    """Returns every installed package, sorted by name."""
    form = "${Package}\t${Version}\t${source:Package}\t${source:Version}\t${Architecture}\n"
    text = run(["dpkg-query", f"--admindir={tree}/var/lib/dpkg", "-W", "-f", form]).stdout
    return sorted((Package(*line.split("\t")) for line in text.splitlines()), key=lambda package: package.name)


def owner_of_files(tree: Path) -> dict[str, str]:
    """Returns absolute path inside the tree to package name, for every file that a package brought."""
    owners: dict[str, str] = {}
    for listing in sorted((tree / "var/lib/dpkg/info").glob("*.list")):
        package = listing.name.removesuffix(".list").partition(":")[0]
        for path in listing.read_text().splitlines():
            owners[f"/usr{path}" if path.startswith(MERGED) else path] = package
    return owners
