"""What the server's name server says to guests. Pure.

Owns which names there are for whom: a network knows its own guests and nobody else's. Does not own sockets
(nameserver.py)::

    reply_to(zone, question)    # bytes, or None: somebody else has to be asked
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from flashvisor.model.dnsmessage import AAAA, ANY, PTR, A, Code, Question, Record, answer, encode_name

if TYPE_CHECKING:
    from collections.abc import Mapping

DOMAIN = "internal"  # reserved by ICANN for private use (resolution 2024.07.29.06)

Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class Zone:
    """What the name server says in one network.

    Args:
        listen: The server's own address there, at which it is asked.
        domain: What guests' names end in.
        names: Addresses by guest.
        world: Whether other names are looked up for the network as well.
    """

    listen: IPv4Address
    domain: str
    names: Mapping[str, tuple[Address, ...]]
    world: bool


LOOPBACK = Zone(IPv4Address("127.0.0.1"), DOMAIN, {}, world=True)  # the server itself: where libc asks by default


def domain_of(network: str) -> str:
    """Returns the DNS domain of a network's guests."""
    return f"{network}.{DOMAIN}"


def reply_to(zone: Zone, question: Question) -> bytes | None:
    """Returns the answer to a question that came from a network; None if a name server of the world is to be asked."""
    name = question.name
    guest = name.removesuffix(f".{zone.domain}")
    if guest in zone.names:
        return answer(question, [*_records(zone.names[guest], question.kind)])
    if question.kind == PTR and (owner := _owner(zone, name)):
        return answer(question, [Record(PTR, encode_name(f"{owner}.{zone.domain}"))])
    # Names without a dot and private ones are nobody's business outside.
    private = name == DOMAIN or name.endswith(f".{DOMAIN}")
    if private or (name and "." not in name):
        return answer(question, code=Code.NO_SUCH_NAME)
    return None if zone.world else answer(question, code=Code.REFUSED)


def _records(addresses: tuple[Address, ...], kind: int) -> list[Record]:
    found = [Record(A if address.version == 4 else AAAA, address.packed) for address in addresses]
    return [record for record in found if kind in (record.kind, ANY)]


def _owner(zone: Zone, name: str) -> str | None:
    """The guest behind a name for reverse lookups (RFC 1035, 3.5; RFC 3596, 2.5)."""
    owners = {each.reverse_pointer: guest for guest, all_of_it in zone.names.items() for each in all_of_it}
    return owners.get(name)
