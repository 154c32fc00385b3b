"""Ethernet frames as bytes, as a guest would send them: for tests of what a bridge lets through.

Example::

    frame = Ether(src=MAC_A, dst=MAC_B).udp(ip("10.77.0.10"), ip("10.77.0.11"), 4000, 5000, b"hello")
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

TCP, UDP, ICMP6 = 6, 17, 58
IP4, ARP, IP6, VLAN, LLDP = 0x0800, 0x0806, 0x86DD, 0x8100, 0x88CC
SYN, ACK = 0x02, 0x10
BROADCAST = "ff:ff:ff:ff:ff:ff"

Address = IPv4Address | IPv6Address


def mac(text: str) -> bytes:
    """Six bytes."""
    return bytes.fromhex(text.replace(":", ""))


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f">{len(data + bytes(len(data) % 2)) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass(frozen=True)
class Ether:
    """The ends of a frame; `tag` is a VLAN."""

    src: str
    dst: str = BROADCAST
    tag: int | None = None

    def raw(self, kind: int, payload: bytes) -> bytes:
        """Any frame, padded to Ethernet's least."""
        tag = b"" if self.tag is None else struct.pack(">HH", VLAN, self.tag)
        return (mac(self.dst) + mac(self.src) + tag + struct.pack(">H", kind) + payload).ljust(60, b"\0")

    def arp(self, sender: str, target: str, *, hardware: str | None = None, reply: bool = False) -> bytes:
        """RFC 826."""
        head = struct.pack(">HHBBH", 1, IP4, 6, 4, 2 if reply else 1)
        who = mac(hardware or self.src) + IPv4Address(sender).packed
        return self.raw(ARP, head + who + bytes(6) + IPv4Address(target).packed)

    def udp(self, src: Address, dst: Address, sport: int, dport: int, data: bytes = b"") -> bytes:
        """A datagram of either family."""
        body = struct.pack(">HHHH", sport, dport, 8 + len(data), 0) + data
        return self._ip(src, dst, UDP, body, 6)

    def tcp(self, src: Address, dst: Address, sport: int, dport: int, flags: int = SYN) -> bytes:
        """A segment without data. The acknowledged number fits a SYN from here with sequence 1."""
        number, seen = (1, 0) if flags == SYN else (100, 2)
        body = struct.pack(">HHIIBBHHH", sport, dport, number, seen, 5 << 4, flags, 1024, 0, 0)
        return self._ip(src, dst, TCP, body, 16)

    def icmp6(self, src: Address, dst: Address, kind: int, data: bytes = bytes(4)) -> bytes:
        """RFC 4443."""
        return self._ip(src, dst, ICMP6, struct.pack(">BBH", kind, 0, 0) + data, 2)

    def _ip(self, src: Address, dst: Address, protocol: int, body: bytes, place: int) -> bytes:
        if src.version == 4:
            pseudo = src.packed + dst.packed + struct.pack(">BBH", 0, protocol, len(body))
        else:
            pseudo = src.packed + dst.packed + struct.pack(">IHBB", len(body), 0, 0, protocol)
        total = checksum(pseudo + body)
        body = body[:place] + struct.pack(">H", total) + body[place + 2 :]
        if src.version == 6:
            hops = 255 if protocol == ICMP6 else 64
            return self.raw(
                IP6, struct.pack(">IHBB", 6 << 28, len(body), protocol, hops) + src.packed + dst.packed + body
            )
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, protocol, 0) + src.packed + dst.packed
        head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
        return self.raw(IP4, head + body)


@dataclass(frozen=True)
class Seen:
    """What a frame that arrived says: addresses and ports where it has them."""

    src_mac: str
    kind: int
    tag: int | None = None
    src: Address | None = None
    dst: Address | None = None
    protocol: int = 0
    sport: int = 0
    dport: int = 0


def read(frame: bytes) -> Seen:
    """Reads a frame."""
    src_mac, place, tag = frame[6:12].hex(":"), 12, None
    (kind,) = struct.unpack_from(">H", frame, place)
    if kind == VLAN:
        tag = struct.unpack_from(">H", frame, place + 2)[0] & 0xFFF
        place += 4
        (kind,) = struct.unpack_from(">H", frame, place)
    body = frame[place + 2 :]
    if kind == IP4:
        ends: tuple[Address, Address] = IPv4Address(body[12:16]), IPv4Address(body[16:20])
        protocol, inner = body[9], body[(body[0] & 0x0F) * 4 :]
    elif kind == IP6:
        ends, protocol, inner = (IPv6Address(body[8:24]), IPv6Address(body[24:40])), body[6], body[40:]
    else:
        return Seen(src_mac, kind, tag)
    sport, dport = struct.unpack_from(">HH", inner) if protocol in (TCP, UDP) else (0, 0)
    return Seen(src_mac, kind, tag, *ends, protocol, sport, dport)
