"""What each guest is asked, to find out whether it answers: by its probe, or what suits any guest. Pure.

Owns the choice. Does not own asking (probes.py)::

    asked = questions(site)
    asked["web"]      # Question(Tcp("10.77.0.10", 80)): the first TCP port that is forwarded to it
    asked["db"]       # Question(Http("10.77.0.11", 8080, "/health", 200), Pace(…), lasting=True)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.guests.health import USUAL_PACE, Pace, pace_of
from flashvisor.model.names import assign_addresses
from flashvisor.model.site import Protocol
from flashvisor.model.wiring import port_range

if TYPE_CHECKING:
    from flashvisor.model.site import Guest, Probe, Site

HTTP_PORT = 80
HTTP_OK = 200


@dataclass(frozen=True)
class Arp:
    """It answers ARP for an IPv4 address."""

    address: str

    def __str__(self) -> str:
        """For people."""
        return f"ARP for {self.address}"


@dataclass(frozen=True)
class Tcp:
    """A port accepts connections."""

    address: str
    port: int

    def __str__(self) -> str:
        """For people."""
        return f"TCP {self.address}:{self.port}"


@dataclass(frozen=True)
class Http:
    """A web server answers with a status."""

    address: str
    port: int
    path: str
    expect: int

    def __str__(self) -> str:
        """For people."""
        return f"http://{self.address}:{self.port}{self.path} with status {self.expect}"


@dataclass(frozen=True)
class Serial:
    """A line of the serial port matches a regular expression."""

    pattern: str

    def __str__(self) -> str:
        """For people."""
        return f'"{self.pattern}" on its serial port'


@dataclass(frozen=True)
class Agent:
    """QEMU's guest agent answers."""

    def __str__(self) -> str:
        """For people."""
        return "its guest agent"


Target = Arp | Tcp | Http | Serial | Agent


@dataclass(frozen=True)
class Question:
    """What a guest is asked. `lasting`: also after it has answered."""

    target: Target
    pace: Pace = USUAL_PACE
    lasting: bool = False


def questions(site: Site) -> dict[str, Question]:
    """Returns what the guests of a site are asked. Who has nothing to answer with is not in it."""
    # A guest's first address that the server itself has given out is the one that it can be asked at.
    addresses = {lease.guest: str(lease.address) for lease in reversed(assign_addresses(site))}
    found = ((name, _question(guest, addresses.get(name, ""))) for name, guest in site.guest.items())
    return {name: question for name, question in found if question}


def _question(guest: Guest, address: str) -> Question | None:
    if guest.probe is None:
        return Question(_of_card(guest, address)) if address else None
    target = _of_probe(guest.probe, address)
    return Question(target, pace_of(guest.probe), lasting=not isinstance(target, Serial)) if target else None


def _of_probe(probe: Probe, address: str) -> Target | None:
    if probe.serial is not None:
        return Serial(probe.serial)
    if probe.agent:
        return Agent()
    if not address:
        return None
    if probe.tcp is not None:
        return Tcp(address, probe.tcp)
    return Http(address, probe.port or HTTP_PORT, probe.http or "/", probe.expect or HTTP_OK)


def _of_card(guest: Guest, address: str) -> Target:
    forwards = (forward for forward in guest.forwards if forward.protocol is Protocol.TCP)
    port = next((forward.to or port_range(forward.port)[0] for forward in forwards), None)
    return Arp(address) if port is None else Tcp(address, port)
