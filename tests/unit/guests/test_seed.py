"""The NoCloud seed: YAML that says what the site file says."""

from __future__ import annotations

import uuid
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flashvisor.guests.seed import SeedCard, SeedGuest, seed_files
from flashvisor.model.site import CloudInit

GUEST = SeedGuest("web", uuid.UUID(int=5))
DHCP = SeedCard("52:54:00:00:00:01")
FIXED = SeedCard("52:54:00:00:00:02", IPv4Interface("10.1.0.5/24"), IPv4Address("10.1.0.1"), (IPv4Address("9.9.9.9"),))


def read(wish: CloudInit, *cards: SeedCard) -> dict[str, Any]:
    return {name: yaml.safe_load(data) for name, data in seed_files(GUEST, wish, cards).items()}


def test_has_the_three_files_of_nocloud() -> None:
    assert sorted(seed_files(GUEST, CloudInit(), ())) == ["meta-data", "network-config", "user-data"]


def test_user_data_starts_with_the_word_that_cloud_init_looks_for() -> None:
    assert seed_files(GUEST, CloudInit(), ())["user-data"].splitlines()[0] == b"#cloud-config"


def test_one_user_with_keys_and_without_passwords() -> None:
    data = read(CloudInit(user="me", ssh_keys=("ssh-ed25519 AAAA a",)))["user-data"]
    (user,) = data["users"]
    assert user["name"] == "me"
    assert user["ssh_authorized_keys"] == ["ssh-ed25519 AAAA a"]
    assert user["lock_passwd"] is True
    assert data["ssh_pwauth"] is False
    assert data["disable_root"] is True


def test_the_host_name_is_the_sites_or_the_guests() -> None:
    assert read(CloudInit())["user-data"]["hostname"] == "web"
    named = read(CloudInit(hostname="www"))
    assert named["user-data"]["hostname"] == "www"
    assert named["meta-data"] == {"instance-id": str(GUEST.uuid), "local-hostname": "www"}


def test_the_instance_stays_the_same_whatever_the_site_says() -> None:
    first, second = read(CloudInit()), read(CloudInit(user="other", ssh_keys=("k",)), DHCP)
    assert first["meta-data"]["instance-id"] == second["meta-data"]["instance-id"]
    other = seed_files(replace(GUEST, uuid=uuid.UUID(int=6)), CloudInit(), ())
    assert yaml.safe_load(other["meta-data"])["instance-id"] != first["meta-data"]["instance-id"]


def test_cards_by_dhcp_and_with_fixed_addresses() -> None:
    network = read(CloudInit(), DHCP, FIXED, SeedCard("52:54:00:00:00:03", IPv4Interface("10.2.0.5/24")))
    assert network["network-config"] == {
        "version": 2,
        "ethernets": {
            "card0": {"match": {"macaddress": "52:54:00:00:00:01"}, "dhcp4": True},
            "card1": {
                "match": {"macaddress": "52:54:00:00:00:02"},
                "dhcp4": False,
                "addresses": ["10.1.0.5/24"],
                "routes": [{"to": "0.0.0.0/0", "via": "10.1.0.1"}],
                "nameservers": {"addresses": ["9.9.9.9"]},
            },
            "card2": {
                "match": {"macaddress": "52:54:00:00:00:03"},
                "dhcp4": False,
                "addresses": ["10.2.0.5/24"],
            },
        },
    }


def test_a_fixed_ipv6_address_stands_beside_dhcp_or_the_other_fixed_one() -> None:
    six = IPv6Interface("fd00::5/64")
    cards = read(CloudInit(), replace(DHCP, address6=six), replace(FIXED, address6=six))["network-config"]["ethernets"]
    assert cards["card0"] == {"match": {"macaddress": DHCP.mac}, "dhcp4": True, "addresses": ["fd00::5/64"]}
    assert cards["card1"]["addresses"] == ["10.1.0.5/24", "fd00::5/64"]


def test_named_key_files_are_a_bug_here() -> None:
    with pytest.raises(ValueError, match="web"):
        seed_files(GUEST, CloudInit(ssh_key_files=("x",)), ())


@given(st.lists(st.text().filter(str.isprintable)))
def test_any_printable_key_survives_yaml(keys: list[str]) -> None:
    wish = msgspec.structs.replace(CloudInit(), ssh_keys=tuple(keys))
    assert read(wish)["user-data"]["users"][0]["ssh_authorized_keys"] == keys
