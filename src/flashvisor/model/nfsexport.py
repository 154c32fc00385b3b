"""A directory that an NFS server exports, as a site file names it: HOST:/PATH. Pure.

Example::

    parse_export("nas.example:/vm")          # Export(host="nas.example", path="/vm")
    parse_export("[2001:db8::1]:/vm").host   # "2001:db8::1"
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address

FORM = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)):(?P<path>/[!-~]*)"
)


@dataclass(frozen=True)
class Export:
    """The server's name or address, and the directory's absolute path there."""

    host: str
    path: str


def parse_export(text: str) -> Export:
    """Returns what a text names.

    Raises:
        ValueError: it is not of the form HOST:/PATH.
    """
    match = FORM.fullmatch(text)
    if match is None:
        raise ValueError(f'expected HOST:/PATH, as in "nas.example:/vm" or "[2001:db8::1]:/vm", got "{text}"')
    if match["six"]:
        IPv6Address(match["six"])
    return Export(match["host"] or match["six"], match["path"])
