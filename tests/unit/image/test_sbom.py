"""The two bills of materials: valid by their libraries' own validators, complete, and the same bytes every time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from flashvisor.image import sbom
from flashvisor.image.licenses import Terms
from flashvisor.image.provenance import Software

if TYPE_CHECKING:
    from pathlib import Path

TEXT = "No rights are reserved."
REF = "LicenseRef-Debian-public-domain-12345678"
KMOD = Software(
    name="kmod",
    version="34.2-2",
    purl="pkg:deb/debian/kmod@34.2-2?arch=amd64&distro=trixie",
    supplier="Debian",
    source="kmod",
    source_version="34.2-2",
    terms=Terms("GPL-2.0-or-later AND LGPL-2.1-or-later", "usr/share/doc/kmod/copyright", "ab" * 32),
)
MUSIC = Software(
    name="libstdc++6",
    version="1:14.2.0-19",
    purl="pkg:deb/debian/libstdc%2B%2B6@1:14.2.0-19?arch=amd64&distro=trixie",
    supplier="Debian",
    source="gcc-14",
    source_version="14.2.0-19",
    terms=Terms("", "usr/share/doc/libstdc++6/copyright", "cd" * 32),
)
TZ = Software(
    name="tzdata",
    version="2026a-1",
    purl="pkg:deb/debian/tzdata@2026a-1?arch=all&distro=trixie",
    supplier="Debian",
    source="tzdata",
    source_version="2026a-1",
    terms=Terms(f"({REF} OR MIT) AND ISC", "usr/share/doc/tzdata/copyright", "ef" * 32, ((REF, TEXT),)),
    note="its stub starts the image",
)
CONTENTS = [KMOD, MUSIC, TZ]


@pytest.fixture(scope="module")
def spdx() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(sbom.spdx(CONTENTS))
    return document


@pytest.fixture(scope="module")
def cyclonedx() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(sbom.cyclonedx(CONTENTS))
    return document


def spdx_problems(document: dict[str, Any], directory: Path) -> list[str]:
    """What spdx-tools' validator says of a document that it reads back from a file."""
    path = directory / "a.spdx.json"
    path.write_text(json.dumps(document))
    return [message.validation_message for message in validate_full_spdx_document(parse_file(str(path)), "SPDX-2.3")]


def cyclonedx_problem(document: dict[str, Any]) -> object:
    """What CycloneDX 1.6's own schema says."""
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document))


def test_spdx_is_valid(spdx: dict[str, Any], tmp_path: Path) -> None:
    assert spdx_problems(spdx, tmp_path) == []


def test_the_spdx_validator_can_say_no(spdx: dict[str, Any], tmp_path: Path) -> None:
    assert spdx_problems({**spdx, "hasExtractedLicensingInfos": []}, tmp_path)


def test_cyclonedx_is_valid(cyclonedx: dict[str, Any]) -> None:
    assert cyclonedx_problem(cyclonedx) is None


def test_the_cyclonedx_validator_can_say_no(cyclonedx: dict[str, Any]) -> None:
    assert cyclonedx_problem({**cyclonedx, "serialNumber": "urn:uuid:none"}) is not None


def test_spdx_names_every_package_with_version_license_and_source(spdx: dict[str, Any]) -> None:
    image, *packages = spdx["packages"]
    assert image["name"] == sbom.IMAGE
    assert [package["name"] for package in packages] == ["kmod", "libstdc++6", "tzdata"]
    kmod, music, zones = packages
    assert (kmod["versionInfo"], kmod["supplier"]) == ("34.2-2", "Organization: Debian")
    assert kmod["licenseDeclared"] == "GPL-2.0-or-later AND LGPL-2.1-or-later"
    assert kmod["externalRefs"] == [
        {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": KMOD.purl}
    ]
    assert music["sourceInfo"] == "built from source package gcc-14 14.2.0-19"
    assert zones["comment"] == "its stub starts the image"


def test_spdx_says_where_the_words_are_when_no_expression_is_known(spdx: dict[str, Any]) -> None:
    music = spdx["packages"][2]
    assert music["licenseDeclared"] == "NOASSERTION"
    assert music["licenseComments"] == f"Only in words, in {MUSIC.terms.where} (SHA-256 {MUSIC.terms.digest})."


def test_spdx_carries_the_texts_of_licenses_it_does_not_know(spdx: dict[str, Any]) -> None:
    assert [(info["licenseId"], info["extractedText"]) for info in spdx["hasExtractedLicensingInfos"]] == [(REF, TEXT)]


def test_spdx_puts_every_package_into_the_image(spdx: dict[str, Any]) -> None:
    held = {line["relatedSpdxElement"] for line in spdx["relationships"] if line["relationshipType"] == "CONTAINS"}
    assert held == {package["SPDXID"] for package in spdx["packages"][1:]}
    assert {line["spdxElementId"] for line in spdx["relationships"]} == {"SPDXRef-DOCUMENT", "SPDXRef-Image"}


def test_cyclonedx_names_every_package_with_version_license_and_source(cyclonedx: dict[str, Any]) -> None:
    parts = {part["name"]: part for part in cyclonedx["components"]}
    assert set(parts) == {"kmod", "libstdc++6", "tzdata"}
    assert parts["kmod"]["purl"] == KMOD.purl
    assert parts["kmod"]["licenses"] == [{"expression": "GPL-2.0-or-later AND LGPL-2.1-or-later"}]
    assert parts["libstdc++6"]["licenses"] == [{"license": {"name": f"see {MUSIC.terms.where}"}}]
    assert parts["tzdata"]["supplier"] == {"name": "Debian"}
    properties = {entry["name"]: entry["value"] for entry in parts["libstdc++6"]["properties"]}
    assert properties["flashvisor:source:name"] == "gcc-14"
    assert properties["flashvisor:source:version"] == "14.2.0-19"
    assert properties["flashvisor:license:file-sha256"] == MUSIC.terms.digest


def test_cyclonedx_puts_every_package_into_the_image(cyclonedx: dict[str, Any]) -> None:
    assert cyclonedx["metadata"]["component"]["name"] == sbom.IMAGE
    depends = {entry["ref"]: entry.get("dependsOn", []) for entry in cyclonedx["dependencies"]}
    assert sorted(depends[sbom.IMAGE]) == sorted(software.purl for software in CONTENTS)


def test_both_bear_the_builds_own_time(spdx: dict[str, Any], cyclonedx: dict[str, Any]) -> None:
    assert spdx["creationInfo"]["created"] == "2026-01-01T00:00:00Z"
    assert cyclonedx["metadata"]["timestamp"] == "2026-01-01T00:00:00+00:00"


def test_other_contents_have_another_identity(spdx: dict[str, Any], cyclonedx: dict[str, Any]) -> None:
    fewer = json.loads(sbom.spdx(CONTENTS[:2])), json.loads(sbom.cyclonedx(CONTENTS[:2]))
    assert fewer[0]["documentNamespace"] != spdx["documentNamespace"]
    assert fewer[1]["serialNumber"] != cyclonedx["serialNumber"]


AGAIN = """
import sys
from unit.image.test_sbom import CONTENTS
from flashvisor.image import sbom
sys.stdout.buffer.write(sbom.spdx(CONTENTS) + sbom.cyclonedx(CONTENTS))
"""


def test_two_runs_give_the_same_bytes() -> None:
    """The other one in a process of its own, whose sets are ordered by other hashes than this one's random ones."""
    other = subprocess.run(
        [sys.executable, "-c", AGAIN],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert other.stdout == sbom.spdx(CONTENTS) + sbom.cyclonedx(CONTENTS)
