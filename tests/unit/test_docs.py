"""Pages that list keys list all of them, and their examples are right."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from flashvisor.model.site import Bond, Forward, Network, Nic, Rule, Uplink
from flashvisor.model.sitefile import check_site, parse_site

NETWORKS = (Path(__file__).parents[2] / "docs/networks.md").read_text()
EXAMPLES = re.findall(r"```toml\n(.*?)```", NETWORKS, flags=re.DOTALL)
REST = """
[image.debian]
file = "debian.qcow2"
[storage.main]
serial = "data0"
"""


@pytest.mark.parametrize("table", [Network, Uplink, Bond, Nic, Forward, Rule])
def test_every_key_of_networks_has_its_words(table: type[msgspec.Struct]) -> None:
    listed = set(re.findall(r"`([a-z0-9_]+)`", "".join(re.findall(r"^\| (.*?) \|", NETWORKS, flags=re.MULTILINE))))
    assert {field.encode_name for field in msgspec.structs.fields(table)} <= listed


def test_the_examples_are_one_site_that_is_right() -> None:
    networks, uplink, guest, forwards, firewall = EXAMPLES
    networks = networks.replace("12:34:57", "12:34:58")  # on the page, it is the bond's, a section later
    check_site(parse_site("schema = 1\n" + uplink + networks + REST + guest + forwards + firewall))
