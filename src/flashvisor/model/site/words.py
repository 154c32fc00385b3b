"""The kinds of values that stand in a site file, and the base of its tables."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from flashvisor.model import duration, size

# Names become domain, bridge, file and host names: the narrowest of them rules (RFC 1123 labels).
Name = Annotated[
    str,
    Meta(pattern=r"^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$", description="at most 32 lower-case letters, digits, -"),
]
# A network's bridge is called br-NAME, and Linux allows 15 characters for an interface.
NetworkName = Annotated[
    str,
    Meta(pattern=r"^[a-z]([a-z0-9-]{0,10}[a-z0-9])?$", description="at most 12 lower-case letters, digits, -"),
]
Size = Annotated[
    str,
    Meta(
        pattern=rf"^[0-9]+ ?({'|'.join(size.UNITS)})$",
        description='a whole number and a unit, as in "512MiB" or "4GiB"',
        examples=["512MiB", "4GiB"],
    ),
]
Port = Annotated[int, Meta(ge=1, le=65535, description="a port number, 1 to 65535")]
Mac = Annotated[
    str,
    Meta(
        pattern=r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$",
        description='a MAC address in lower case, as in "52:54:00:12:34:56"',
    ),
]
# The only values that may have several lines: parse_site knows them by `MULTILINE`.
MULTILINE = "multiline"
Text = Annotated[str, Meta(max_length=16_384, description="text of at most 16384 characters", extra={MULTILINE: True})]
PortRange = Annotated[
    str,
    Meta(
        pattern=r"^[1-9][0-9]{0,4}-[1-9][0-9]{0,4}$",
        description='a port number, or first and last of a range, as in "8000-8099"',
    ),
]
Vlan = Annotated[int, Meta(ge=2, le=4094, description="a VLAN's number, 2 to 4094 (the untagged one needs none)")]
Rate = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{1,9} ?(kbit|Mbit|Gbit)/s$",
        description='a whole number and a unit, as in "100 Mbit/s"',
        examples=["100 Mbit/s", "1 Gbit/s"],
    ),
]
Seconds = Annotated[int, Meta(ge=1, le=86400)]
Duration = Annotated[
    str,
    Meta(
        pattern=rf"^[0-9]{{1,7}} ?({'|'.join(duration.UNITS)})$",
        description='a whole number and a unit (ms, s, m or min, h), as in "30s" or "10m"',
        examples=["30s", "10m"],
    ),
]


class Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table of the site file."""
