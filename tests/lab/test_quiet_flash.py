"""The flash from outside: QEMU's own count of what the server writes to the stick.

Named so that it runs after test_power_on_to_guests.py, which wants the server fresh. FLASHVISOR_IDLE_SECONDS makes the
watch longer (`make soak`: ten minutes).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from flashvisor.api.rollout import expected_answers, wait_for_guests
from flashvisor.host.clock import ticks
from flashvisor.lab.trial import READY_LIMIT, connect, run_site
from flashvisor.model.sitefile import parse_site

from .conftest import CHECKOUT

if TYPE_CHECKING:
    from flashvisor.lab.server import Server
    from flashvisor.trust.keyring import Keyring

pytestmark = pytest.mark.lab

SITE = CHECKOUT / "examples/site.toml"
GUEST_LIMIT = 900.0  # seconds, on a busy machine
IDLE = float(os.environ.get("FLASHVISOR_IDLE_SECONDS", "60"))
LOOK = 5.0  # seconds between two looks
PAGE = 4096  # bytes; each record of a start takes one
SETTLED_LIMIT = 120.0  # seconds until a start must have written all that it writes


@pytest.fixture(scope="module")
def busy(server: Server, owner: Keyring) -> Server:
    """The server, and all guests of the example site have answered."""
    guests = expected_answers(parse_site(SITE.read_text()))
    with connect(server, owner) as client:
        there = client.site().generation > 0
    if not there:  # a server that has just started is busy with its guests, and takes no apply meanwhile
        run_site(server, owner, SITE)
    with connect(server, owner) as client:
        wait_for_guests(client, guests, GUEST_LIMIT)
    return server


def test_a_server_whose_guests_run_writes_nothing_to_flash(busy: Server, owner: Keyring) -> None:
    with connect(busy, owner) as client:
        before, told = busy.flash_bytes_written(), client.node().flash.written
        for _ in ticks(LOOK, IDLE):
            assert busy.flash_bytes_written() == before
        assert client.node().flash.written == told
    assert busy.flash_bytes_written() == before


def test_after_a_start_agent_kernel_and_outside_count_the_same(busy: Server, owner: Keyring) -> None:
    with connect(busy, owner) as client:
        before = client.node().flash
    busy.power_off()
    busy.power_on()
    busy.wait_for("stage=ready", READY_LIMIT)
    with connect(busy, owner) as client:
        report = client.node()
        for _ in ticks(LOOK, SETTLED_LIMIT):  # the ledger comes after the guests; more may be written meanwhile
            grown = report.flash.by_cause["wear ledger"] > before.by_cause["wear ledger"]
            if grown and report.flash.booked_since_boot == busy.flash_bytes_written():
                break
            report = client.node()
        boots = client.boots()
    flash = report.flash
    assert report.problems == ()
    assert flash.booked_since_boot == flash.counted_since_boot == busy.flash_bytes_written() > 0
    # The sum over the life of the flash goes on.
    assert flash.written == before.written + flash.booked_since_boot
    assert sum(flash.by_cause.values()) == flash.written
    assert flash.by_cause["boot"] == len(boots) * PAGE
    assert flash.device == "USB stick"
