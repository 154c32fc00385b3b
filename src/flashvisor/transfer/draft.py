"""What an import makes: images, and guests that start from them, before they stand in a site file. Pure types.

Owns the library's records as well: they are these types as JSON.
"""

from __future__ import annotations

from msgspec import Struct


class DiskDraft(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A guest's disk: from an image, or empty (`image` None). `size` in bytes, None: the image's own."""

    image: str | None
    bus: str
    size: int | None = None


class NicDraft(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A guest's network card; `network` is named as where it came from."""

    network: str
    model: str
    mac: str | None = None


class GuestDraft(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A guest; `memory` in bytes. `notes` say in words what has no counterpart here."""

    name: str
    cpus: int
    memory: int
    firmware: str
    profile: str
    disks: tuple[DiskDraft, ...]
    nics: tuple[NicDraft, ...]
    notes: tuple[str, ...] = ()


class ImportedImage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An image of the library: its file's name there, bytes that a guest sees, bytes of the file, and its SHA-256.

    `member` and `format` say what it was made of.
    """

    name: str
    file: str
    member: str
    format: str
    virtual_size: int
    size: int
    sha256: str


class ImportRecord(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One import: what it came from, when (ISO 8601, UTC), and what it became."""

    name: str
    source: str
    source_format: str
    source_sha256: str
    imported: str
    images: tuple[ImportedImage, ...]
    guests: tuple[GuestDraft, ...] = ()
    notes: tuple[str, ...] = ()
