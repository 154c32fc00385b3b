"""Updates on real firmware: tried, committed or given up, gone back to, and a plug that is pulled meanwhile.

The tests build on one another, as a server's life does. What a server may run after a cut of power, at every event, is
proven in simulation (tests/sim/cuts.py); here, that firmware, flash and the agent do as the simulation does.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

import httpx
import pytest

from flashvisor.api import trial
from flashvisor.api.flashtypes import Installed, RollbackRequest, UpdateRequest
from flashvisor.api.rollout import wait_for_guests
from flashvisor.cli.buildtools import open_cache
from flashvisor.errors import ReleaseFailedBeforeError, RollbackError, TooFewSignaturesError, TrialFailedError
from flashvisor.host import clock
from flashvisor.image.flashfile import flash_image
from flashvisor.image.publication import Order, publish
from flashvisor.lab.machine import ServerSpec
from flashvisor.lab.rack import Rack
from flashvisor.lab.trial import READY_LIMIT, connect, run_site

from .conftest import CHECKOUT
from .updating import MEMORY, PROBATION, factory, push, put, slots, wait_back, watch
from .variants import Variants

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flashvisor.image.build import BuildResult
    from flashvisor.lab.server import Server
    from flashvisor.lab.trial import Materials
    from flashvisor.trust.keyring import Keyring

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("alone")]

GUEST_LIMIT = 300.0  # seconds, under emulation, on a busy machine
ASK_EVERY, ASK_LIMIT = 0.2, 2.0  # seconds
SITE = CHECKOUT / "examples/hello.toml"


@pytest.fixture(scope="module")
def variants(owner: Keyring, built_image: BuildResult) -> Variants:
    return Variants(open_cache(), owner, built_image.unsigned)


@pytest.fixture(scope="module")
def releases(owner: Keyring, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The owner's repository; each test publishes into it."""
    owner.founded()
    return tmp_path_factory.mktemp("releases") / "dir"


@pytest.fixture(scope="module")
def server(
    files: Materials, owner: Keyring, built_image: BuildResult, tmp_path_factory: pytest.TempPathFactory, releases: Path
) -> Iterator[Server]:
    """A server as it was shipped, with a guest that answers."""
    assert releases
    place = tmp_path_factory.mktemp("update")
    rack = Rack(place / "rack")
    try:
        flash = flash_image(built_image.efi, place / "flash.img", owner.founded(), "alpha")
        server = rack.up(ServerSpec(name="alpha", flash=flash, memory=MEMORY, qemu=files.qemu))
        server.wait_for("stage=ready", READY_LIMIT)
        run_site(server, owner, SITE)
        with connect(server, owner) as client:
            wait_for_guests(client, ["hello"], GUEST_LIMIT)
        yield server
    finally:
        rack.down_all()


class Outage:
    """Asks a guest from outside, all the while: how long nobody answered."""

    def __init__(self, server: Server) -> None:
        self._url = f"http://127.0.0.1:{server.forwards[8080]}/"
        self._ending, self._answers = threading.Event(), [clock.monotonic()]
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Outage:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        """The longest time between two answers."""
        return max(later - earlier for earlier, later in pairwise(self._answers))

    def _ask(self) -> None:
        while not self._ending.wait(ASK_EVERY):
            with suppress(httpx.HTTPError):
                httpx.get(self._url, timeout=ASK_LIMIT).raise_for_status()
                self._answers.append(clock.monotonic())


def test_a_release_is_downloaded_in_part_tried_and_committed(
    server: Server, owner: Keyring, releases: Path, variants: Variants
) -> None:
    shipped, before = slots(server, owner), factory(server)
    assert (shipped.running, shipped.committed, shipped.recovery) == ("factory", "a", False)
    with Outage(server) as outage:
        publish(variants.another(2), releases, owner, open_cache(), Order(version="0.2"))
        begun = clock.monotonic()
        installed = push(server, owner, releases)
        report = watch(server, owner, installed)
        committed = clock.monotonic() - begun
        with connect(server, owner) as client:
            wait_for_guests(client, ["hello"], GUEST_LIMIT)
            node = client.node()
    print(f"update: committed after {committed:.1f} s; guest silent for {outage.seconds:.1f} s")  # noqa: T201 - figures
    assert installed.downloaded < 0.35 * (installed.downloaded + installed.reused)
    assert (report.running, report.committed) == ("b", "b")
    assert node.problems == ()
    assert [row.intact for row in slots(server, owner).slots] == [True, True]
    assert factory(server) == before


def test_the_same_release_again_changes_nothing(server: Server, owner: Keyring, releases: Path) -> None:
    with connect(server, owner) as client:
        assert client.update(UpdateRequest(told=clock.wall()), releases).already


def test_an_image_that_panics_is_given_up_and_not_tried_again(
    server: Server, owner: Keyring, releases: Path, variants: Variants
) -> None:
    installed = put(server, owner, releases, variants.panics(), "0.3")
    with pytest.raises(TrialFailedError, match=r"reset or lost power before it was healthy.* in slot b"):
        watch(server, owner, installed)
    with connect(server, owner) as client, pytest.raises(ReleaseFailedBeforeError):
        client.update(UpdateRequest(told=clock.wall()), releases)


def test_an_image_that_breaks_a_guest_goes_back_by_itself_and_says_why(
    server: Server, owner: Keyring, releases: Path, variants: Variants
) -> None:
    installed = put(server, owner, releases, variants.breaks_guests(), "0.4")
    with pytest.raises(TrialFailedError, match="guest hello does not run"):
        watch(server, owner, installed)
    with connect(server, owner) as client:
        wait_for_guests(client, ["hello"], GUEST_LIMIT)


def test_what_a_stranger_signed_and_what_is_older_is_refused(
    server: Server, owner: Keyring, releases: Path, stranger: Keyring, variants: Variants, tmp_path: Path
) -> None:
    theirs = variants.signed_by(stranger, tmp_path / "theirs.efi")
    publish(theirs, tmp_path / "theirs", stranger.founded(), open_cache(), Order(version="9.0"))
    old = tmp_path / "old"
    publish(variants.another(2), old, owner, open_cache(), Order(version="0.2"))
    with connect(server, owner) as client:
        with pytest.raises(TooFewSignaturesError):
            client.update(UpdateRequest(told=clock.wall()), tmp_path / "theirs")
        with pytest.raises(RollbackError):
            client.update(UpdateRequest(told=clock.wall()), old)


def test_another_good_release_and_back_to_the_one_before(
    server: Server, owner: Keyring, releases: Path, variants: Variants
) -> None:
    report = watch(server, owner, put(server, owner, releases, variants.another(5), "0.5"))
    assert (report.running, report.committed) == ("a", "a")
    with connect(server, owner) as client:
        client.rollback(RollbackRequest(probation=PROBATION))
    old = next(row for row in report.slots if row.slot == "b")
    back = trial.watch(
        lambda: connect(server, owner), Installed(version=old.version, image=old.image), PROBATION + trial.RESTART
    )
    assert (back.running, back.committed) == ("b", "b")


def test_a_plug_that_is_pulled_during_a_trial_leads_back(
    server: Server, owner: Keyring, releases: Path, variants: Variants
) -> None:
    since = server.position()
    put(server, owner, releases, variants.another(6), "0.6")
    server.wait_for("stage=agent", READY_LIMIT, since=since)
    server.power_off()
    server.power_on()
    report = wait_back(server, owner, "b", 0)
    assert [row.version for row in report.failed][-1] == "0.6"
    with connect(server, owner) as client:
        wait_for_guests(client, ["hello"], GUEST_LIMIT)


def test_back_to_factory_with_the_site(server: Server, owner: Keyring) -> None:
    since = server.position()
    with connect(server, owner) as client:
        client.factory_reset(keep_site=True)
    report = wait_back(server, owner, "factory", since)
    assert (report.committed, report.recovery) == ("factory", False)
    with connect(server, owner) as client:
        wait_for_guests(client, ["hello"], GUEST_LIMIT)
