"""rtnetlink: the server's addresses, waiting for one, and taking a bridge away. Source: rtnetlink(7), netlink(7).

Example::

addresses()                                  # (Address(interface="eth0", text="192.0.2.10/24", wide=True), ...)
wait_for_address(lambda all: bool(all), 20)  # True as soon as the kernel reports one that fits
delete_link("br-old")
"""

from __future__ import annotations

import errno
import ipaddress
import os
import select
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.errors import DeviceError
from flashvisor.host.clock import monotonic
from flashvisor.host.uevent import drop_news

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NETLINK_ROUTE = 0
NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_DELLINK, RTM_NEWADDR, RTM_GETADDR = 17, 20, 22
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x001, 0x004, 0x300
GROUP_ADDRESSES = 0x10 | 0x100  # RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
IFA_ADDRESS, IFA_LOCAL = 1, 2
IFA_F_TENTATIVE = 0x40
RT_SCOPE_UNIVERSE = 0
BUFFER = 1 << 16  # bytes

HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
IFADDR = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, interface index
IFINFO = struct.Struct("=BxHiII")  # family, type, interface index, flags, change
ATTRIBUTE = struct.Struct("=HH")  # length, type


@dataclass(frozen=True)
class Address:
    """An address of an interface, with its prefix length; `wide` if it reaches beyond the link."""

    interface: str
    text: str
    wide: bool


def addresses() -> tuple[Address, ...]:
    """Returns all addresses that may be used now (IPv6 ones still being checked for duplicates are left out)."""
    request = IFADDR.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    with _open(groups=0) as channel:
        channel.send(_message(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, request))
        found: list[Address] = []
        while True:
            for kind, body in messages(channel.recv(BUFFER)):
                if kind in (NLMSG_DONE, NLMSG_ERROR):
                    return tuple(found)
                address = parse_address(body) if kind == RTM_NEWADDR else None
                if address:
                    found.append(address)


def wait_for_address(fits: Callable[[tuple[Address, ...]], bool], limit: float) -> bool:
    """Waits until the server's addresses fit, or `limit` seconds have passed; the kernel's own news wake it.

    Returns:
        Whether they fit.
    """
    end = monotonic() + limit
    # Listening starts before the first look: an address that comes in between is not missed.
    with _open(groups=GROUP_ADDRESSES) as channel:
        while not fits(addresses()):
            left = end - monotonic()
            if left <= 0 or not select.select([channel], [], [], left)[0]:
                return False
            drop_news(channel)
    return True


def delete_link(name: str) -> None:
    """Takes an interface away (a bridge that no site names any more); one that is not there is fine.

    Raises:
        DeviceError: the kernel refused.
    """
    try:
        index = socket.if_nametoindex(name)
    except OSError:
        return
    with _open(groups=0) as channel:
        body = IFINFO.pack(socket.AF_UNSPEC, 0, index, 0, 0)
        channel.send(_message(RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK, body))
        for kind, answer in messages(channel.recv(BUFFER)):
            status = -struct.unpack_from("=i", answer)[0] if kind == NLMSG_ERROR else 0
            if status and status != errno.ENODEV:
                raise DeviceError(f"the kernel does not give up interface {name}", evidence=os.strerror(status))


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields type and body of each message in a datagram."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, _, _, _ = HEADER.unpack_from(data, offset)
        if length < HEADER.size:
            return
        yield kind, data[offset + HEADER.size : offset + length]
        offset += _aligned(length)


def parse_address(body: bytes) -> Address | None:
    """Returns the address in an RTM_NEWADDR body; None if it cannot be used yet or its interface has gone."""
    if len(body) < IFADDR.size:
        return None
    family, bits, flags, scope, index = IFADDR.unpack_from(body)
    attributes = dict(_attributes(body[IFADDR.size :]))
    # On a point-to-point link IFA_ADDRESS is the other end, and IFA_LOCAL this one.
    raw = attributes.get(IFA_LOCAL) or attributes.get(IFA_ADDRESS)
    if family not in (socket.AF_INET, socket.AF_INET6) or raw is None or flags & IFA_F_TENTATIVE:
        return None
    try:
        name = socket.if_indextoname(index)
    except OSError:
        return None
    return Address(interface=name, text=f"{ipaddress.ip_address(raw)}/{bits}", wide=scope == RT_SCOPE_UNIVERSE)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        if length < ATTRIBUTE.size:
            return
        yield kind, data[offset + ATTRIBUTE.size : offset + length]
        offset += _aligned(length)


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return HEADER.pack(HEADER.size + len(body), kind, flags, 1, 0) + body


def _open(*, groups: int) -> socket.socket:
    channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)
    channel.bind((0, groups))
    return channel
