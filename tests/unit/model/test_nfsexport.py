"""Exports as site files name them."""

from __future__ import annotations

import pytest

from flashvisor.model.nfsexport import Export, parse_export


@pytest.mark.parametrize(
    ("text", "export"),
    [
        ("nas.example:/vm", Export("nas.example", "/vm")),
        ("nas:/", Export("nas", "/")),
        ("192.0.2.7:/export/vm", Export("192.0.2.7", "/export/vm")),
        ("[2001:db8::1]:/vm", Export("2001:db8::1", "/vm")),
    ],
)
def test_what_is_an_export(text: str, export: Export) -> None:
    assert parse_export(text) == export


@pytest.mark.parametrize(
    "text",
    ["", "nas", "nas:vm", "/vm", "nas:/a b", "nas:/a\n", "-o:/vm", "nas-:/vm", "[nas]:/vm", "[1::2::3]:/vm", "a,b:/vm"],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_export(text)
