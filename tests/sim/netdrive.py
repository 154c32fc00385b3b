"""Sends frames into network interfaces and tells what came out of others. Standard library only: it runs in a network
namespace of its own, where nothing else of ours need be.

Input is JSON: {"links": ["link add ..."], "parameters": {"net/...": "1"}, "ruleset": "...", "probes": [{"on": "g0",
"frames": ["hex"], "watch": ["g1"]}]}; output, for each probe, {"g1": ["hex", ...]}. A probe ends when nothing has come
for QUIET seconds.
"""  # noqa: D205 - the first paragraph is one thought

from __future__ import annotations

import json
import select
import socket
import struct
import subprocess
import sys
from pathlib import Path

QUIET = 0.15  # seconds
EVERY_PROTOCOL = 0x0003  # ETH_P_ALL
SOL_PACKET, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING = 263, 8, 23  # packet(7)
VLAN_VALID = 0x10  # TP_STATUS_VLAN_VALID
AUXDATA = struct.Struct("=IIIHHHH")  # struct tpacket_auxdata; the sixth is the tag


def listen(interface: str) -> socket.socket:
    """Opens an interface for frames that arrive at it."""
    channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERY_PROTOCOL))
    channel.bind((interface, EVERY_PROTOCOL))
    channel.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    channel.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    channel.setblocking(False)
    return channel


def receive(channel: socket.socket) -> bytes:
    """Takes a frame, with the tag that the kernel has taken off put back."""
    frame, extra, _, _ = channel.recvmsg(1 << 16, socket.CMSG_SPACE(AUXDATA.size))
    for level, kind, data in extra:
        if level == SOL_PACKET and kind == PACKET_AUXDATA:
            status, _, _, _, _, tag, protocol = AUXDATA.unpack(data[: AUXDATA.size])
            if status & VLAN_VALID:
                frame = frame[:12] + struct.pack(">HH", protocol or 0x8100, tag) + frame[12:]
    return frame


def run(probe: dict[str, object], channels: dict[str, socket.socket]) -> dict[str, list[str]]:
    """Sends a probe's frames and collects what arrives where it watches."""
    for channel in channels.values():
        while select.select([channel], [], [], 0)[0]:
            receive(channel)
    watched = {channels[name]: name for name in probe["watch"]}  # type: ignore[attr-defined]
    found: dict[str, list[str]] = {name: [] for name in watched.values()}

    def collect(patience: float) -> None:
        while ready := select.select(list(watched), [], [], patience)[0]:
            for channel in ready:
                found[watched[channel]].append(receive(channel).hex())

    for frame in probe["frames"]:  # type: ignore[attr-defined]
        channels[str(probe["on"])].send(bytes.fromhex(frame))
        # A flood would not fit into the receiver's buffer.
        collect(0)
    collect(QUIET)
    return found


def main() -> None:
    """Runs what standard input says."""
    wish = json.load(sys.stdin)
    subprocess.run(["ip", "-batch", "-"], input="\n".join(wish["links"]), text=True, check=True)  # noqa: S607
    for name, value in wish["parameters"].items():
        Path("/proc/sys", name).write_text(value)
    subprocess.run(["nft", "-f", "-"], input=wish["ruleset"], text=True, check=True)  # noqa: S607
    names = {name for probe in wish["probes"] for name in (probe["on"], *probe["watch"])}
    channels = {name: listen(name) for name in sorted(names)}
    json.dump([run(probe, channels) for probe in wish["probes"]], sys.stdout)


if __name__ == "__main__":
    main()
