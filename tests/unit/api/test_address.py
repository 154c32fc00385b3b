"""Addresses as people write them."""

from __future__ import annotations

import pytest

from flashvisor.api.address import Address, parse_address
from flashvisor.errors import AddressError


@pytest.mark.parametrize(
    ("text", "host", "port", "authority"),
    [
        ("alpha", "alpha", 443, "alpha:443"),
        ("alpha.example:8443", "alpha.example", 8443, "alpha.example:8443"),
        ("192.0.2.10", "192.0.2.10", 443, "192.0.2.10:443"),
        ("[2001:db8::1]:8443", "2001:db8::1", 8443, "[2001:db8::1]:8443"),
        ("2001:db8::1", "2001:db8::1", 443, "[2001:db8::1]:443"),
    ],
)
def test_forms(text: str, host: str, port: int, authority: str) -> None:
    address = parse_address(text)
    assert address == Address(host, port)
    assert address.authority == str(address) == authority


@pytest.mark.parametrize(
    "text", ["", "alpha:", "alpha:0", "alpha:65536", "https://alpha", "a b", "[zz]:1", "u@h", "alpha\n"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(AddressError):
        parse_address(text)
