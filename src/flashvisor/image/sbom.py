"""The bills of materials: what is in the image, in SPDX 2.3 and in CycloneDX 1.6, both as JSON.

Owns the two formats' shape. What is in the image, and where from, is provenance.py's; reading and writing the
formats is the work of spdx-tools and cyclonedx-python-lib. The same image gives the same bytes: identifiers are made
from contents, and the time is the build's own (EPOCH)::

    write_sboms(cache, result.entries, Path("build/kvm"))

Sources: SPDX 2.3 clauses 6 to 11; CycloneDX 1.6 (ECMA-424).
"""

from __future__ import annotations

import hashlib
import io
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec
from cyclonedx.model import Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from license_expression import get_spdx_licensing
from packageurl import PackageURL
from spdx_tools.spdx.model import (
    Actor,
    ActorType,
    CreationInfo,
    Document,
    ExternalPackageRef,
    ExternalPackageRefCategory,
    ExtractedLicensingInfo,
    Package,
    PackagePurpose,
    Relationship,
    RelationshipType,
    SpdxNoAssertion,
)
from spdx_tools.spdx.writer.json.json_writer import write_document_to_stream

import flashvisor
from flashvisor.host.files import write_atomic
from flashvisor.image.provenance import OWN, Origins, describe
from flashvisor.image.pythonfiles import wheels
from flashvisor.image.trees import build_root, root_packages
from flashvisor.image.workshop import EPOCH

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from flashvisor.image.cache import Cache
    from flashvisor.image.licenses import Terms
    from flashvisor.image.provenance import Software
    from flashvisor.image.root import Entry

SPDX_FILE = "sbom.spdx.json"
CYCLONEDX_FILE = "sbom.cdx.json"
IMAGE = "flashvisor.efi"
DOCUMENT_ID = "SPDXRef-DOCUMENT"  # SPDX 2.3 clause 6.3 allows no other
IMAGE_ID = "SPDXRef-Image"
CREATED = datetime.fromtimestamp(EPOCH, tz=UTC)
INDENT = 1  # columns
ID_HASH_LENGTH = 12  # hex digits of a package URL's hash, so that like names do not collide


def write_sboms(cache: Cache, entries: Iterable[Entry], directory: Path) -> list[Path]:
    """Writes `sbom.spdx.json` and `sbom.cdx.json`.

    Args:
        cache: The build cache; the trees that the image was made from are in it.
        entries: The image's root.
        directory: Where the two files go.

    Returns:
        The two files.

    Raises:
        UnknownOriginError: a package's version or license file cannot be found; nothing was written.
    """
    origins = Origins(packages=root_packages(cache), build_root=build_root(cache), wheels=wheels(cache))
    contents = describe(entries, origins)
    files = {directory / SPDX_FILE: spdx(contents), directory / CYCLONEDX_FILE: cyclonedx(contents)}
    for path, data in files.items():
        write_atomic(path, data)
    return list(files)


def spdx(contents: Sequence[Software]) -> bytes:
    """Returns the bill of materials in SPDX 2.3 JSON. Pure."""
    packages = [_spdx_package(software) for software in contents]
    document = Document(
        creation_info=CreationInfo(
            spdx_version="SPDX-2.3",
            spdx_id=DOCUMENT_ID,
            name=IMAGE,
            document_namespace=_identity("spdx", contents).urn,
            creators=[Actor(ActorType.TOOL, f"flashvisor-{flashvisor.__version__}")],
            created=CREATED,
        ),
        packages=[_spdx_image(), *packages],
        relationships=[
            Relationship(DOCUMENT_ID, RelationshipType.DESCRIBES, IMAGE_ID),
            *(Relationship(IMAGE_ID, RelationshipType.CONTAINS, package.spdx_id) for package in packages),
        ],
        extracted_licensing_info=[
            ExtractedLicensingInfo(name, text) for name, text in sorted({t for s in contents for t in s.terms.texts})
        ],
    )
    written = io.StringIO()
    write_document_to_stream(document, written, validate=True)
    # spdx-tools writes SPDX 2.2's spelling, which strict readers of 2.3 refuse (spdx/tools-python issue 849). Inside a
    # JSON text the quotes would be escaped, so nothing else can match.
    return _tidy(written.getvalue().replace('"PACKAGE_MANAGER"', '"PACKAGE-MANAGER"'))


def cyclonedx(contents: Sequence[Software]) -> bytes:
    """Returns the bill of materials in CycloneDX 1.6 JSON. Pure."""
    image = Component(
        name=IMAGE,
        version=flashvisor.__version__,
        type=ComponentType.FIRMWARE,
        bom_ref=IMAGE,
        supplier=OrganizationalEntity(name=OWN),
    )
    components = [_cyclonedx_component(software) for software in contents]
    bom = Bom(
        serial_number=_identity("cyclonedx", contents),
        metadata=BomMetaData(component=image, timestamp=CREATED),
        components=components,
    )
    bom.register_dependency(image, components)
    return _tidy(JsonV1Dot6(bom).output_as_string())


def _spdx_image() -> Package:
    return Package(
        spdx_id=IMAGE_ID,
        name=IMAGE,
        download_location=SpdxNoAssertion(),
        version=flashvisor.__version__,
        supplier=Actor(ActorType.ORGANIZATION, OWN),
        files_analyzed=False,
        license_concluded=SpdxNoAssertion(),
        license_declared=SpdxNoAssertion(),
        license_comment="See the packages that it contains.",
        copyright_text=SpdxNoAssertion(),
        primary_package_purpose=PackagePurpose.FIRMWARE,
    )


def _spdx_package(software: Software) -> Package:
    terms = software.terms
    declared = get_spdx_licensing().parse(terms.expression) if terms.expression else SpdxNoAssertion()
    return Package(
        spdx_id=_spdx_id(software),
        name=software.name,
        download_location=SpdxNoAssertion(),
        version=software.version,
        supplier=Actor(ActorType.ORGANIZATION, software.supplier),
        files_analyzed=False,
        source_info=f"built from source package {software.source} {software.source_version}",
        # Declared is what the package says of itself; nobody has read its files to conclude anything.
        license_concluded=SpdxNoAssertion(),
        license_declared=declared,
        license_comment=_license_comment(terms),
        copyright_text=SpdxNoAssertion(),
        comment=software.note or None,
        external_references=[ExternalPackageRef(ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", software.purl)],
    )


def _cyclonedx_component(software: Software) -> Component:
    terms = software.terms
    properties = {
        "flashvisor:source:name": software.source,
        "flashvisor:source:version": software.source_version,
        "flashvisor:license:file": terms.where,
        "flashvisor:license:file-sha256": terms.digest,
        "flashvisor:note": software.note,
    }
    return Component(
        name=software.name,
        version=software.version,
        type=ComponentType.LIBRARY,
        bom_ref=software.purl,
        supplier=OrganizationalEntity(name=software.supplier),
        purl=PackageURL.from_string(software.purl),
        licenses=[
            LicenseExpression(terms.expression) if terms.expression else DisjunctiveLicense(name=f"see {terms.where}")
        ],
        properties=[Property(name=name, value=value) for name, value in properties.items() if value],
    )


def _license_comment(terms: Terms) -> str:
    known = f"As declared in {terms.where}" if terms.expression else f"Only in words, in {terms.where}"
    return f"{known} (SHA-256 {terms.digest})." if terms.digest else f"{known}."


def _spdx_id(software: Software) -> str:
    """An identifier that is unique, and the same for the same package in every image (SPDX 2.3 clause 7.2)."""
    plain = re.sub(r"[^A-Za-z0-9.-]", "-", software.name)
    return f"SPDXRef-{plain}-{hashlib.sha256(software.purl.encode()).hexdigest()[:ID_HASH_LENGTH]}"


def _identity(form: str, contents: Sequence[Software]) -> UUID:
    """Names a document by what it says, where the formats' tools would draw a random number (RFC 9562 version 5)."""
    digest = hashlib.sha256(msgspec.json.encode([flashvisor.__version__, list(contents)])).hexdigest()
    return uuid5(NAMESPACE_URL, f"flashvisor:{form}:{digest}")


def _tidy(text: str) -> bytes:
    return msgspec.json.format(text.encode(), indent=INDENT) + b"\n"
