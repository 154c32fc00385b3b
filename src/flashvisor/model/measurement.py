"""What firmware and stub will measure of an image: made by its build, compared by `flashvisor attest`. Pure types.

Example::

    write_atomic(path, encode(measurements))
    decode(path.read_bytes()).image
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from flashvisor.errors import UnreadableFileError
from flashvisor.model.release import Sha256


class Section(Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """A section of a unified kernel image: its name, and its contents' SHA-256 in hex."""

    name: str
    sha256: Sha256


class Measurements(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is measured of one image, whatever server starts it.

    Args:
        title: What people call it: "flashvisor 0.1.0".
        image: Its Authenticode hash, which firmware extends PCR 4 by.
        sections: Those that the stub extends PCR 11 by, in its order.
    """

    title: str
    image: Sha256
    sections: tuple[Section, ...]


def encode(measurements: Measurements) -> bytes:
    """Writes measurements as JSON for people and programs; the same ones always give the same bytes."""
    return msgspec.json.format(msgspec.json.encode(measurements, order="deterministic"), indent=1)


def decode(data: bytes, name: str) -> Measurements:
    """Reads them.

    Args:
        data: The file's contents.
        name: What errors call it.

    Raises:
        UnreadableFileError: they are none.
    """
    try:
        return msgspec.json.decode(data, type=Measurements)
    except msgspec.MsgspecError as error:
        what = f"{name} does not hold an image's measurements: {error}"
        raise UnreadableFileError(what, next_step="`flashvisor build` writes build/kvm/measurements.json.") from error
