"""A server's networks in a network namespace: real bridges, the real ruleset, and wires where guests would be.

A guest's card is one end of a veth pair whose other end has the tap's name; whatever is sent into it has to pass the
site's rules. `world` is the far end of the uplink.

Example::

    bench = Bench(SITE)
    bench.run([Probe(bench.end("web"), [frame], watch=("world",))])
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.model.names import assign_addresses, gateway, gateway6, nic_mac, tap_name
from flashvisor.model.site import Kind
from flashvisor.model.sitefile import check_site, parse_site
from flashvisor.model.wiring import bridge_of, kind_of
from flashvisor.node.network import plan_network
from sim.frames import Seen, read

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Address

DRIVER = Path(__file__).parent / "netdrive.py"
BRIDGE_NETFILTER = Path("/proc/sys/net/bridge")
API_PORT = 443
WORLD = "world"
SERVER, ROUTER, FAR = "192.0.2.1", "192.0.2.254", "192.0.2.9"  # RFC 5737
SERVER6, ROUTER6, FAR6 = "2001:db8::1", "2001:db8::fe", "2001:db8::9"  # RFC 3849
SERVER_MAC, WORLD_MAC = "52:54:00:00:00:01", "52:54:00:00:00:fe"
LIMIT = 60.0  # seconds


@dataclass(frozen=True)
class Probe:
    """Frames that are sent into one interface, and the interfaces at which they may come out."""

    on: str
    frames: Sequence[bytes]
    watch: tuple[str, ...]


@dataclass
class Bench:
    """A site's networks, made and thrown away in one run."""

    text: str
    links: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Reads the site."""
        self.site = parse_site(self.text)
        check_site(self.site)
        self.plan = plan_network(self.site, api_port=API_PORT, first_card=None)
        self.leases = assign_addresses(self.site)
        self._cards = [
            (name, index) for name in sorted(self.site.guest) for index in range(len(self.site.guest[name].nics))
        ]

    def end(self, guest: str, index: int = 0) -> str:
        """The interface that stands for a guest's card."""
        return f"g{self._cards.index((guest, index))}"

    def mac(self, guest: str, index: int = 0) -> str:
        """A guest's MAC address."""
        return nic_mac(self.site.node.name, guest, index, self.site.guest[guest].nics[index])

    def address(self, guest: str, index: int = 0) -> IPv4Address:
        """The address that the server gives a guest."""
        return next(lease.address for lease in self.leases if (lease.guest, lease.index) == (guest, index))

    def bridge_mac(self, network: str) -> str:
        """The MAC address of the server in a network."""
        unit = self.plan.units[f"50-fv-{network}.netdev"]
        return next(line.removeprefix("MACAddress=") for line in unit.splitlines() if line.startswith("MACAddress="))

    def run(self, probes: Sequence[Probe]) -> list[dict[str, list[Seen]]]:
        """Makes the networks, sends all frames, and tells what came out where."""
        wish = {
            # Lines for `ip -batch`: one process instead of a hundred.
            "links": [*self._topology(), *self.links],
            "parameters": {
                "net/ipv4/ip_forward": "1",
                "net/ipv6/conf/all/forwarding": "1",
                # The image's kernel has no such thing (BRIDGE_NETFILTER); where there is one, it is put aside.
                **{f"net/bridge/{each.name}": "0" for each in BRIDGE_NETFILTER.glob("bridge-nf-call-*")},
            },
            "ruleset": self.plan.ruleset,
            "probes": [
                {"on": each.on, "frames": [frame.hex() for frame in each.frames], "watch": each.watch}
                for each in probes
            ],
        }
        argv = ["unshare", "--map-root-user", "--net", sys.executable, str(DRIVER)]
        ran = subprocess.run(argv, input=json.dumps(wish), capture_output=True, text=True, timeout=LIMIT, check=False)
        assert ran.returncode == 0, ran.stderr
        return [
            {name: [read(bytes.fromhex(frame)) for frame in frames] for name, frames in found.items()}
            for found in json.loads(ran.stdout)
        ]

    def one(self, probe: Probe) -> dict[str, list[Seen]]:
        """The same for one probe."""
        return self.run([probe])[0]

    def _options(self, unit: str) -> str:
        """What networkd would give a bridge, in the words of ip-link(8)."""
        words = {"GroupForwardMask": "group_fwd_mask", "MulticastSnooping": "mcast_snooping"}
        pairs = (line.partition("=")[::2] for line in self.plan.units[unit].splitlines())
        return " ".join(f"{words[key]} {0 if value == 'no' else value}" for key, value in pairs if key in words)

    def _topology(self) -> list[str]:
        lines = [
            "link set lo up",
            f"link add eth0 address {SERVER_MAC} type veth peer name {WORLD} address {WORLD_MAC}",
            f"link set {WORLD} addrgenmode none up",
            "link set eth0 addrgenmode none up",
            f"addr add {SERVER}/24 dev eth0",
            f"addr add {SERVER6}/64 dev eth0 nodad",
            *(f"neigh add {hop} lladdr {WORLD_MAC} dev eth0" for hop in (ROUTER, FAR, ROUTER6, FAR6)),
            f"route add default via {ROUTER}",
            f"route add default via {ROUTER6}",
        ]
        made: set[str] = set()
        for name, network in self.site.network.items():
            bridge = bridge_of(self.site, name)
            if bridge in made:
                continue
            made.add(bridge)
            if kind_of(network) is Kind.BRIDGE:
                options = self._options(f"32-fv-{bridge}.netdev")
                lines += [f"link add {bridge} type bridge {options}", f"link set {bridge} addrgenmode none up"]
                continue
            options = self._options(f"50-fv-{name}.netdev")
            lines += [
                f"link add {bridge} address {self.bridge_mac(name)} type bridge {options}",
                f"link set {bridge} addrgenmode none up",
                f"addr add {gateway(network)} dev {bridge}",
            ]
            if own6 := gateway6(network):
                lines.append(f"addr add {own6} dev {bridge} nodad")
        for guest, index in self._cards:
            nic = self.site.guest[guest].nics[index]
            tap, end = tap_name(guest, index), self.end(guest, index)
            bridge = bridge_of(self.site, nic.network)
            lines += [
                f"link add {tap} type veth peer name {end}",
                f"link set {end} addrgenmode none up",
                f"link set {tap} addrgenmode none master {bridge} up",
            ]
            known = [str(lease.address) for lease in self.leases if (lease.guest, lease.index) == (guest, index)]
            known += [nic.address6] if nic.address6 and known else []
            lines += [f"neigh add {each} lladdr {self.mac(guest, index)} dev {bridge}" for each in known]
        return lines
