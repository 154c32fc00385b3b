"""networkd's unit files for a site: bonds, bridges, VLANs, the uplink, DHCP and router advertisements. Pure.

Owns what the files say. Does not own where they lie (host/networkd.py). The unit with the management network's
addresses always has one name, whatever it is on::

    units = network_units(site, leases, first_card="52:54:00:00:00:01")
    units["40-fv-uplink.network"]

Source: systemd.network(5), systemd.netdev(5). A bridge over a card has the card's own MAC address, and DHCP is asked by
MAC address, so the server keeps its address when the bridge comes and when it goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor.model.names import Lease, bridge_mac, bridge_name, gateway, gateway6
from flashvisor.model.site import BondMode, Kind
from flashvisor.model.wiring import (
    bond_name,
    bridged_uplinks,
    is_card,
    kind_of,
    management,
    uplink_bridge,
    uplink_mac,
    uplink_vlans,
    vlan_name,
)
from flashvisor.node.zones import domain_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flashvisor.model.site import Bond, Network, Site, Uplink

Unit = tuple[str, str]  # name, text

OTHER_CARDS = "45-fv-other.network"
UPLINK = "40-fv-uplink.network"  # sorts before the image's own unit for uplinks, and so wins (systemd.network(5))
FIRST_INSIDE = "50"  # begins the names of units of networks inside; all before them are the uplinks'
ANY_CARD = "Type=ether\nKind=!*"
SILENT = "DHCP=no\nLinkLocalAddressing=no\nIPv6AcceptRA=no"
NOT_AWAITED = "[Link]\nRequiredForOnline=no\n"
UNTAGGED = "[BridgeVLAN]\nVLAN=1\nPVID=1\nEgressUntagged=1\n"
# Frames to LLDP's address (bit 14) take the way of all others, on which tapfilter.py stops them. Without that, a bridge
# learns their sender's address and asks no hook: a guest could steal its neighbour's (net/bridge/br_input.c).
BRIDGE = f"[Bridge]\nSTP=no\nForwardDelaySec=0\nMulticastSnooping=no\nGroupForwardMask={1 << 14}\n"
DOMAIN_OPTION = 15  # DHCP option "Domain Name" (RFC 2132, 3.17)


def network_units(site: Site, leases: tuple[Lease, ...], *, first_card: str | None) -> dict[str, str]:
    """Returns all unit files by name.

    Args:
        site: A site that `check_site` accepts.
        leases: Its guests' addresses.
        first_card: MAC address of the card that takes a fixed uplink address when the site names neither card nor bond.
    """
    units: dict[str, str] = {}
    for name in sorted(site.bond):
        units |= dict(_bond_units(name, site.bond[name]))
    units |= dict(_uplink_units(site, first_card))
    for name, network in sorted(site.network.items()):
        if kind_of(network) is not Kind.BRIDGE:
            units[f"{FIRST_INSIDE}-fv-{name}.netdev"] = _inside_device(site.node.name, name)
            units[f"{FIRST_INSIDE}-fv-{name}.network"] = _inside(
                name, network, [each for each in leases if each.network == name]
            )
    return units


def _bond_units(name: str, bond: Bond) -> Iterator[Unit]:
    device = bond_name(name)
    mode = ["TransmitHashPolicy=layer3+4", "LACPTransmitRate=fast"] if bond.mode is BondMode.LACP else []
    settings = "\n".join([f"Mode={bond.mode}", "MIIMonitorSec=100ms", *mode])
    # Without a word of ours, it would have the address of whichever card is found first.
    head = f"[NetDev]\nName={device}\nKind=bond\nMACAddress={bond.cards[0]}\n"
    yield f"30-fv-{device}.netdev", f"{head}\n[Bond]\n{settings}\n"
    for index, mac in enumerate(bond.cards):
        yield f"31-fv-{device}-{index}.network", f"[Match]\n{_card(mac)}\n\n{NOT_AWAITED}\n[Network]\nBond={device}\n"


def _uplink_units(site: Site, first_card: str | None) -> Iterator[Unit]:
    ours, bridged = management(site), bridged_uplinks(site)
    for uplink in bridged:
        bridge = uplink_bridge(uplink)
        device = f"[NetDev]\nName={bridge}\nKind=bridge\nMACAddress={uplink_mac(site, uplink)}\n"
        yield f"32-fv-{bridge}.netdev", f"{device}\n{BRIDGE}VLANFiltering=yes\nDefaultPVID=1\n"
        tags = _tags(uplink_vlans(site, uplink))
        head = f"[Match]\n{_base(uplink)}\n\n{NOT_AWAITED}\n"
        yield f"34-fv-{bridge}-port.network", f"{head}[Network]\nBridge={bridge}\n{SILENT}\n\n{tags}"
        if uplink != ours:
            quiet = f"[Network]\n{SILENT}\nConfigureWithoutCarrier=yes\n"
            yield f"35-fv-{bridge}.network", f"[Match]\nName={bridge}\n\n{NOT_AWAITED}\n{quiet}"
    # A bond whose only use is the management network gets that network's unit; one without any use stays silent.
    for name in sorted(site.bond.keys() - set(bridged) - {ours}):
        head = f"[Match]\nName={bond_name(name)}\n\n{NOT_AWAITED}\n"
        yield f"34-fv-{bond_name(name)}.network", f"{head}[Network]\n{SILENT}\n"
    yield from _management_units(site, first_card, bridged=ours in bridged)


def _management_units(site: Site, first_card: str | None, *, bridged: bool) -> Iterator[Unit]:
    uplink = site.node.uplink
    ours = management(site) or (first_card if uplink.address != "dhcp" else None)
    if ours is None and not uplink.dns and uplink.address6 == "auto":
        return  # the image's own unit does it
    match = ANY_CARD if ours is None else f"Name={uplink_bridge(ours)}" if bridged else _base(ours)
    if uplink.vlan is not None:
        device, tags = vlan_name(uplink.vlan), ""
        # The parent stands in the file, so that a new parent is a new file: the kernel cannot move a VLAN's interface.
        parent = f"# On {match.splitlines()[0]}\n"
        yield f"33-fv-{device}.netdev", f"{parent}[NetDev]\nName={device}\nKind=vlan\n\n[VLAN]\nId={uplink.vlan}\n"
        if bridged:
            tags = "\n" + _tags((uplink.vlan,))
        head = f"[Match]\n{match}\n\n{NOT_AWAITED}\n"
        yield f"39-fv-{device}-parent.network", f"{head}[Network]\nVLAN={device}\n{SILENT}\n{tags}"
        match = f"Name={device}"
    yield UPLINK, f"[Match]\n{match}\n\n[Network]\n" + "\n".join(_addresses(uplink)) + "\n" + _by_mac(uplink)
    if ours is not None:
        # Only what is named belongs to the management network: other cards keep still.
        yield OTHER_CARDS, f"[Match]\n{ANY_CARD}\n\n[Network]\n{SILENT}\n\n{NOT_AWAITED}"


def _addresses(uplink: Uplink) -> Iterator[str]:
    fixed, fixed6 = uplink.address != "dhcp", uplink.address6 not in ("auto", "none")
    if fixed:
        yield f"Address={uplink.address}"
        if uplink.gateway:
            yield f"Gateway={uplink.gateway}"
    else:
        yield "DHCP=yes" if uplink.address6 == "auto" else "DHCP=ipv4"
    yield from (f"DNS={address}" for address in uplink.dns)
    if fixed6:
        yield f"Address={uplink.address6}"
        if uplink.gateway6:
            yield f"Gateway={uplink.gateway6}"
    yield f"IPv6AcceptRA={_yes(uplink.address6 == 'auto')}"
    if uplink.address6 == "none":
        yield "LinkLocalAddressing=no"


def _by_mac(uplink: Uplink) -> str:
    return "\n[DHCPv4]\nClientIdentifier=mac\n" if uplink.address == "dhcp" else ""


def _tags(vlans: Iterable[int]) -> str:
    return "\n".join([UNTAGGED, *(f"[BridgeVLAN]\nVLAN={vlan}\n" for vlan in vlans)])


def _base(uplink: str) -> str:
    return _card(uplink) if is_card(uplink) else f"Name={bond_name(uplink)}"


def _card(mac: str) -> str:
    """Matches the card itself: bridges and VLANs over it have its address too, and in a bond it has another one."""
    return f"PermanentMACAddress={mac}\nKind=!*"


def _inside_device(node: str, name: str) -> str:
    device = f"[NetDev]\nName={bridge_name(name)}\nKind=bridge\nMACAddress={bridge_mac(node, name)}\n"
    return f"{device}\n{BRIDGE}"


def _inside(name: str, network: Network, leases: list[Lease]) -> str:
    own6, nat = gateway6(network), kind_of(network) is Kind.NAT
    lines = [
        f"[Match]\nName={bridge_name(name)}\n",
        NOT_AWAITED,
        # The bridge has no carrier until a guest runs, and shall have its address all the same.
        f"[Network]\nAddress={gateway(network)}",
        *([f"Address={own6}"] if own6 else []),
        "ConfigureWithoutCarrier=yes\nIgnoreCarrierLoss=yes",
        f"LinkLocalAddressing={'ipv6' if own6 else 'no'}\nIPv6AcceptRA=no\nDHCPServer=yes",
        # Guests are kept from claiming the router's link-local address: so it has to be a known one.
        *(["IPv6LinkLocalAddressGenerationMode=eui64\nIPv6SendRA=yes\n"] if own6 else [""]),
        f"[DHCPServer]\nEmitRouter={_yes(nat)}\nEmitDNS=yes\nEmitNTP=no\nPersistLeases=no",
        f"DNS={' '.join(network.dns) or gateway(network).ip}",
        f"SendOption={DOMAIN_OPTION}:string:{domain_of(name)}",
    ]
    text = "\n".join(lines) + "\n"
    if own6:
        # Where there is no way out, the server is nobody's router (RFC 4861, 6.2.3: a lifetime of 0).
        lifetime = "" if nat else "RouterLifetimeSec=0\n"
        text += f"\n[IPv6SendRA]\nEmitDNS=no\n{lifetime}\n[IPv6Prefix]\nPrefix={own6.network}\n"
    for lease in leases:
        text += f"\n[DHCPServerStaticLease]\nMACAddress={lease.mac}\nAddress={lease.address}\n"
    return text


def _yes(value: bool) -> str:
    return "yes" if value else "no"
