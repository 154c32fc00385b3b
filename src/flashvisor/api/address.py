"""Where a server's API answers: a host and a port. Pure.

Example::

    str(parse_address("alpha.example")) == "alpha.example:443"
    parse_address("2001:db8::1").authority == "[2001:db8::1]:443"
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address

from flashvisor.api.types import DEFAULT_PORT
from flashvisor.errors import AddressError

PORT_LIMIT = 65535
# HOST, HOST:PORT or [IPv6]:PORT (RFC 3986, 3.2.2 and 3.2.3), without user information.
FORM = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True)
class Address:
    """A host name or IP address, and a TCP port."""

    host: str
    port: int = DEFAULT_PORT

    @property
    def authority(self) -> str:
        """Host and port as they stand in a URL (RFC 3986, 3.2)."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return self.authority


def parse_address(text: str) -> Address:
    """Returns the address that HOST[:PORT] stands for; a bare IPv6 address needs no brackets.

    Raises:
        AddressError: not of that form.
    """
    if _is_ipv6(text):
        return Address(text)
    match = FORM.fullmatch(text)
    if match is None or (match["six"] and not _is_ipv6(match["six"])):
        raise AddressError(f"'{text}' is not a server's address")
    port = int(match["port"] or DEFAULT_PORT)
    if not 0 < port <= PORT_LIMIT:
        raise AddressError(f"'{text}': expected a port from 1 to {PORT_LIMIT}, got {port}")
    return Address(match["six"] or match["host"], port)


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True
