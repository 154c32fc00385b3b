"""What cloud-init in a guest is told: the files of a NoCloud seed. Pure.

Owns their text. Does not own the file system that carries them, which must have the label "cidata"::

    files = seed_files(SeedGuest("web", guest_uuid("alpha", "web")), cloud_init, cards)
    sorted(files) == ["meta-data", "network-config", "user-data"]

All three are JSON, which is YAML as long as every character is printable; `parse_site` takes no others.
Source: cloud-init's documentation: "NoCloud", "Cloud config examples", "Networking config Version 2".
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
    from uuid import UUID

    from flashvisor.model.site import CloudInit

SEED_LABEL = "cidata"


@dataclass(frozen=True)
class SeedGuest:
    """Whose seed it is. cloud-init sets a guest up once for each `uuid`, so it never changes for one guest."""

    name: str
    uuid: UUID


@dataclass(frozen=True)
class SeedCard:
    """A network card: by DHCP, or with a fixed address, gateway and name servers; `address6` is fixed beside either."""

    mac: str
    address: IPv4Interface | None = None
    gateway: IPv4Address | None = None
    dns: tuple[IPv4Address, ...] = ()
    address6: IPv6Interface | None = None


def seed_files(guest: SeedGuest, wish: CloudInit, cards: tuple[SeedCard, ...]) -> dict[str, bytes]:
    """Returns the seed's files by name.

    Args:
        guest: Whose seed it is.
        wish: The site file's `cloud_init`, with key files put in already (model/inline/).
        cards: All cards of the guest, in order.

    Raises:
        ValueError: a key file is still named (a bug: `check_site` refuses such a site).
    """
    if wish.ssh_key_files:
        raise ValueError(f"guest {guest.name}: ssh_key_files were not put in")
    hostname = wish.hostname or guest.name
    return {
        "user-data": b"#cloud-config\n" + _yaml(_user_data(wish, hostname)),
        "meta-data": _yaml({"instance-id": str(guest.uuid), "local-hostname": hostname}),
        "network-config": _yaml(_network(cards)),
    }


def _yaml(value: dict[str, Any]) -> bytes:
    # Characters are not escaped: YAML reads JSON's \ud83d\ude00 as two broken characters.
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _user_data(wish: CloudInit, hostname: str) -> dict[str, Any]:
    """One user with keys and sudo; no passwords anywhere."""
    user = {
        "name": wish.user,
        "lock_passwd": True,
        "shell": "/bin/bash",
        "sudo": "ALL=(ALL) NOPASSWD:ALL",
        "ssh_authorized_keys": list(wish.ssh_keys),
    }
    return {
        "hostname": hostname,
        "manage_etc_hosts": True,
        "users": [user],
        "disable_root": True,
        "ssh_pwauth": False,
    }


def _network(cards: tuple[SeedCard, ...]) -> dict[str, Any]:
    # Cards are found by MAC: their names depend on the guest's own rules.
    return {"version": 2, "ethernets": {f"card{index}": _card(card) for index, card in enumerate(cards)}}


def _card(card: SeedCard) -> dict[str, Any]:
    config: dict[str, Any] = {"match": {"macaddress": card.mac}}
    fixed = [str(address) for address in (card.address, card.address6) if address is not None]
    if card.address is None:
        config |= {"addresses": fixed} if fixed else {}
        return {**config, "dhcp4": True}
    config |= {"dhcp4": False, "addresses": fixed}
    if card.gateway is not None:
        config["routes"] = [{"to": "0.0.0.0/0", "via": str(card.gateway)}]
    if card.dns:
        config["nameservers"] = {"addresses": [str(address) for address in card.dns]}
    return config
