"""Cross-checks of a site: what no single key shows. Pure.

Owns references, addresses, ports and doubles inside one site file. Does not own whether a server can carry it
out: memory, disks and image files are checked where they are.
Each kind of table has its file here::

    check_site(parse_site(text, "site.toml"), "site.toml")
"""

from __future__ import annotations

from flashvisor.model.names import assign_addresses
from flashvisor.model.problem import Problems
from flashvisor.model.site import Site
from flashvisor.model.sitecheck.card import check_cards, check_forwards
from flashvisor.model.sitecheck.guest import check_guest
from flashvisor.model.sitecheck.network import check_networks
from flashvisor.model.sitecheck.running import check_rings, check_running
from flashvisor.model.sitecheck.storage import check_storage
from flashvisor.model.sitecheck.uplink import check_bonds, check_uplink


def check_site(site: Site, source: str = "site.toml") -> None:
    """Checks what the tables of a site say about each other.

    Args:
        site: A site as `parse_site` returns it.
        source: The file's name, for messages.

    Raises:
        UnknownImageError: a guest names an image that is not declared.
        UnknownReferenceError: a network or storage, or a guest to start after, is not declared.
        StartRingError: guests wait for each other.
        DuplicateMacError: two cards have one MAC address, given or derived.
        ConflictError: two tables want one address, port, subnet or disk.
        WrongTypeError: an address, subnet, size or key cannot be what it must be.
            If there are several problems, the first decides the class and the others are its evidence.
    """
    found = Problems(source)
    check_storage(site, found)
    check_bonds(site, found)
    subnets = check_networks(site, found)
    check_uplink(site, subnets, found)
    for name, guest in site.guest.items():
        check_guest(site, name, guest, found)
        check_running(site, name, guest, found)
    check_rings(site, found)
    check_cards(site, subnets, found)
    check_forwards(site, found)
    found.raise_any()
    assign_addresses(site)
