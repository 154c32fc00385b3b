"""Names and addresses: the same every time, never twice."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Interface
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from flashvisor.model.names import (
    assign_addresses,
    bridge_mac,
    bridge_name,
    derive_mac,
    gateway,
    guest_storage,
    guest_uuid,
    link_local,
    nic_mac,
    tap_name,
)
from flashvisor.model.site import Guest, Network, Nic, Node, Site, Storage

if TYPE_CHECKING:
    from collections.abc import Mapping

names = st.from_regex(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True)


def site(guests: Mapping[str, tuple[Nic, ...]], subnet: str = "10.77.0.0/24") -> Site:
    return Site(
        schema=1,
        node=Node(name="alpha"),
        network={"inside": Network(subnet=subnet)},
        guest={name: Guest(image="x", memory="64MiB", nics=nics) for name, nics in guests.items()},
    )


def test_derived_names_never_change() -> None:
    # These are on the wire and in guests' own records: a change here breaks every running site.
    assert derive_mac("alpha", "hello", 0) == "52:54:00:09:5a:93"
    assert str(guest_uuid("alpha", "hello")) == "ad0333ab-03d4-5703-b52e-557ed9ed059a"
    assert tap_name("hello", 0) == "tap-hello-0"
    assert bridge_name("inside") == "br-inside"
    assert bridge_mac("alpha", "inside") == "52:54:00:9e:35:46"
    assert str(link_local("52:54:00:9e:35:46")) == "fe80::5054:ff:fe9e:3546"


def test_the_site_files_mac_wins() -> None:
    assert nic_mac("alpha", "web", 0, Nic(network="a", mac="52:54:00:00:00:01")) == "52:54:00:00:00:01"
    assert nic_mac("alpha", "web", 0, Nic(network="a")) == derive_mac("alpha", "web", 0)


@given(names, names, st.integers(0, 300))
def test_macs_are_well_formed_unicast_addresses(node: str, guest: str, index: int) -> None:
    mac = derive_mac(node, guest, index)
    assert re.fullmatch(r"52:54:00(:[0-9a-f]{2}){3}", mac)
    assert int(mac[:2], 16) & 1 == 0


@given(names, st.integers(0, 300))
def test_interface_names_fit_linux(guest: str, index: int) -> None:
    name = tap_name(guest, index)
    assert len(name) <= 15
    assert re.fullmatch(r"tap[-_][a-z0-9-]+", name)


def test_long_guest_names_get_different_interfaces() -> None:
    many = {tap_name("a" * 30, index) for index in range(100)} | {tap_name("a" * 31, index) for index in range(100)}
    assert len(many) == 200


def test_the_server_has_the_first_address() -> None:
    assert gateway(Network(subnet="10.77.0.0/24")) == IPv4Interface("10.77.0.1/24")


def test_a_guest_uses_the_only_storage_or_its_own_choice() -> None:
    plain, choosy = Guest(image="x", memory="1GiB"), Guest(image="x", memory="1GiB", storage="b")
    one = Site(schema=1, node=Node(name="a"), storage={"a": Storage(serial="1")})
    two = Site(schema=1, node=Node(name="a"), storage={"a": Storage(serial="1"), "b": Storage(serial="2")})
    assert guest_storage(one, plain) == "a"
    assert guest_storage(two, plain) is None
    assert guest_storage(two, choosy) == "b"
    assert guest_storage(Site(schema=1, node=Node(name="a")), plain) is None


def test_given_addresses_are_kept() -> None:
    lease = assign_addresses(site({"web": (Nic(network="inside", address="10.77.0.10"),)}))[0]
    assert (lease.guest, lease.index, lease.network, str(lease.address)) == ("web", 0, "inside", "10.77.0.10")


@given(st.dictionaries(names, st.integers(1, 4), min_size=1, max_size=12), st.integers(24, 26))
def test_addresses_are_distinct_hosts_of_the_subnet(guests: dict[str, int], prefix: int) -> None:
    network = Network(subnet=f"10.77.0.0/{prefix}")
    wish = site({name: (Nic(network="inside"),) * count for name, count in guests.items()}, f"10.77.0.0/{prefix}")
    leases = assign_addresses(wish)
    addresses = [lease.address for lease in leases]
    own = gateway(network)
    assert len(set(addresses)) == len(addresses) == sum(guests.values())
    assert own.ip not in addresses
    for address in addresses:
        assert address in own.network
        assert address not in (own.network.network_address, own.network.broadcast_address)
    assert assign_addresses(wish) == leases


def test_a_full_subnet_is_used_to_the_last_address() -> None:
    guests = {f"g{index}": (Nic(network="inside"),) for index in range(5)}
    leases = assign_addresses(site(guests, "10.77.0.0/29"))
    assert {lease.address for lease in leases} == {IPv4Address(f"10.77.0.{host}") for host in range(2, 7)}


def test_a_new_guest_moves_nobody_in_a_large_network() -> None:
    guests = {f"g{index}": (Nic(network="inside"),) for index in range(5)}
    before = {lease.guest: lease.address for lease in assign_addresses(site(guests, "10.0.0.0/8"))}
    after = {
        lease.guest: lease.address for lease in assign_addresses(site({"a": guests["g0"], **guests}, "10.0.0.0/8"))
    }
    assert {name: after[name] for name in before} == before
