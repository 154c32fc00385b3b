"""An appliance's manifest: which checksum each of its files has. Source: DSP0243 2.1, 9.1.

Owns the manifest's lines and comparing them. The certificate that may follow (.cert) is not looked at::

    wanted = read_manifest(package)          # {"web.ovf": Expected("sha256", "ab12…")}
    verify_files(package, wanted, on_bytes=advance)
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flashvisor.transfer.archive import Package

ALGORITHMS = frozenset({"sha1", "sha224", "sha256", "sha384", "sha512"})
LINE = re.compile(r"([A-Za-z0-9-]+)\s*\((.*)\)\s*=\s*([0-9A-Fa-f]+)")
LIMIT = 1 << 20  # bytes of a manifest


@dataclass(frozen=True)
class Expected:
    """A file's checksum as the manifest has it: hashlib's name of the algorithm, hex digits in lower case."""

    algorithm: str
    digest: str


def parse_manifest(text: str, name: str) -> dict[str, Expected]:
    """Returns the checksums by file name.

    Raises:
        ManifestError: a line is not of its form, or of an unknown algorithm.
    """
    found = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        match = LINE.fullmatch(line)
        algorithm = match[1].lower().replace("-", "") if match else ""
        if match is None or algorithm not in ALGORITHMS:
            raise ManifestError(f"{name} holds a line that is no checksum", evidence=line[:200])
        found[match[2].strip()] = Expected(algorithm, match[3].lower())
    return found


def read_manifest(package: Package) -> dict[str, Expected]:
    """Returns a package's manifest; empty if it has none.

    Raises:
        ManifestError: it cannot be read as one.
    """
    name = package.manifest
    if name is None:
        return {}
    region = package.member(name)
    if region.size > LIMIT:
        raise ManifestError(f"{name} is {region.size} bytes long: expected a manifest")
    return parse_manifest(region.read(0, LIMIT).decode("utf-8", errors="replace"), name)


def verify_files(package: Package, wanted: Mapping[str, Expected], on_bytes: Callable[[int], None]) -> None:
    """Reads all files that a manifest lists.

    Raises:
        ManifestError: one has another checksum.
        MissingDiskError: one is not there.
    """
    for name, expected in wanted.items():
        # SHA-1 finds damage, not fraud; there is no signature that would make more of it.
        digest = hashlib.new(expected.algorithm, usedforsecurity=False)
        for chunk in package.member(name).chunks():
            digest.update(chunk)
            on_bytes(len(chunk))
        if digest.hexdigest() != expected.digest:
            raise ManifestError(
                f"{package.place.name}: the file '{name}' is not the one in the manifest",
                evidence=f"{expected.algorithm}: expected {expected.digest}, got {digest.hexdigest()}",
            )
