"""Versions are ordered as people mean it; manifests that do not add up are refused."""

from __future__ import annotations

import msgspec
import pytest

from flashvisor.errors import UpdateFormatError
from flashvisor.model.release import Chunk, Flavour, Manifest, decode_manifest, encode_manifest, version_key

MANIFEST = Manifest(
    name="flashvisor",
    version="1.2",
    flavour=Flavour.XEN,
    sha256="a" * 64,
    length=30,
    modaliases=("pci:v00008086d*",),
    chunks=(Chunk("b" * 64, 10), Chunk("c" * 64, 20)),
)


def test_versions_are_numbers() -> None:
    mixed = ["1.10", "0.9.12", "2026.11", "1.2.0.1", "", "1", "1.2", "0"]
    ordered = ["", "0", "0.9.12", "1", "1.2", "1.2.0.1", "1.10", "2026.11"]
    assert sorted(mixed, key=version_key) == ordered
    assert version_key("1.0") == version_key("1")


def test_a_manifest_survives_its_json() -> None:
    assert decode_manifest(encode_manifest(MANIFEST)) == MANIFEST


@pytest.mark.parametrize(
    "wrong",
    [{"length": 31}, {"version": "1.x"}, {"version": "01"}, {"name": "../x"}, {"sha256": "A" * 64}, {"more": 1}],
)
def test_a_wrong_manifest_is_refused(wrong: dict[str, object]) -> None:
    content = msgspec.to_builtins(MANIFEST) | wrong
    with pytest.raises(UpdateFormatError):
        decode_manifest(msgspec.json.encode(content))
