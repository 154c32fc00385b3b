"""Flash that is pulled out of a running server: the guest answers on, and a new stick takes its place.

The tests build on one another, as a server's life does. A server of its own, for its flash is another one afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from flashvisor.api.rollout import INTERVAL, wait_for_guests
from flashvisor.api.types import ApplyRequest, ImageRef
from flashvisor.cli.main import run as run_cli
from flashvisor.errors import FlashLostError, FlashWorksError
from flashvisor.flash.layout import DEVICE_SIZE
from flashvisor.host.clock import ticks
from flashvisor.image.flashfile import flash_image
from flashvisor.lab.rack import Rack
from flashvisor.lab.trial import READY_LIMIT, connect, power_on, run_site

from .conftest import BUILD, CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flashvisor.api.client import Client
    from flashvisor.lab.server import Server
    from flashvisor.lab.trial import Materials
    from flashvisor.trust.keyring import Keyring

pytestmark = pytest.mark.lab

SITE = CHECKOUT / "examples/hello.toml"
LIMIT = 60.0  # seconds
GUEST_LIMIT = 900.0  # seconds, on a busy machine
OFF_LIMIT = 300.0  # seconds


@pytest.fixture(scope="module")
def own(files: Materials, owner: Keyring, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that runs one guest."""
    place = tmp_path_factory.mktemp("lost")
    rack = Rack(place / "rack")
    try:
        server = power_on(rack, "lost", files)
        names = run_site(server, owner, SITE)
        with connect(server, owner) as client:
            wait_for_guests(client, names, GUEST_LIMIT)
        yield server
    finally:
        rack.down_all()


def page(server: Server) -> str:
    return httpx.get(f"http://127.0.0.1:{server.forwards[8080]}/", timeout=60).raise_for_status().text


def test_flash_that_works_is_not_burned(own: Server, owner: Keyring, files: Materials) -> None:
    with connect(own, owner) as client:
        (name,) = [disk.name for disk in client.node().disks if disk.use == "flash"]
        with pytest.raises(FlashWorksError):
            client.burn(files.flash, name)


def test_without_flash_the_guest_answers_and_the_server_says_so(own: Server, owner: Keyring) -> None:
    since = own.position()
    own.flash_slot.pull()
    own.wait_for("FV-FLASH-020", LIMIT, since=since)
    assert "Hello" in page(own)
    with connect(own, owner) as client:
        report = client.node()
        (problem,) = report.problems
        assert "guests go on" in problem
        assert not [disk for disk in report.disks if disk.use == "flash"]
        assert any("the flash is lost" in line.text for line in client.logs())
        # What would have to be remembered is refused, and the guest runs on.
        with pytest.raises(FlashLostError):
            client.apply(changed(client))
        client.stop_guest("hello", force=True)
        client.start_guest("hello")
        wait_for_guests(client, ["hello"], GUEST_LIMIT)
    assert "Hello" in page(own)


def test_the_same_stick_is_taken_up_again(own: Server, owner: Keyring) -> None:
    since = own.position()
    own.flash_slot.insert(own.paths.pulled_flash)
    own.wait_for("the flash is there again", LIMIT, since=since)
    with connect(own, owner) as client:
        assert client.node().problems == ()


def test_a_stick_that_takes_no_writes_any_more_is_as_good_as_pulled(own: Server, owner: Keyring) -> None:
    with connect(own, owner) as client:
        put_in_again(own, client, dying=True)
        assert client.node().problems == (), "it can be read, and nothing was written yet"
        with pytest.raises(FlashLostError):
            client.apply(changed(client))
        assert "guests go on" in client.node().problems[0]
        assert client.site().confirmed
        assert "Hello" in page(own)
        put_in_again(own, client)
        assert client.node().problems == ()


def put_in_again(own: Server, client: Client, *, dying: bool = False) -> None:
    """Pulls the flash, puts the same one in, and waits until the server has it again."""
    since = own.position()
    pulled = own.flash_slot.pull()
    wait_until(lambda: not any(disk.use == "flash" for disk in client.node().disks))
    own.flash_slot.insert(pulled, dying=dying)
    own.wait_for("the flash is there again", LIMIT, since=since)


def test_a_new_stick_is_burned_and_starts_the_server(
    own: Server, owner: Keyring, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    since = own.position()
    own.flash_slot.pull()
    own.wait_for("FV-FLASH-020", LIMIT, since=since)
    blank, image = tmp_path / "blank.img", flash_image(BUILD / "kvm/flashvisor.efi", tmp_path / "b.img", owner, "beta")
    with blank.open("wb") as file:
        file.truncate(DEVICE_SIZE)
    own.flash_slot.insert(blank)
    with connect(own, owner) as client:
        wait_until(lambda: any(not each.refusal for each in client.media()))
        assert run_cli(["burn", "--via", client.address.authority, str(image)]) == 0
        assert "this server stays 'alpha'" in capsys.readouterr().out
        assert client.node().problems == ()
        assert client.apply(changed(client)).generation > 1
        generation = client.confirm().generation
    own.press_power_button()
    own.wait_off(OFF_LIMIT)
    own.power_on()
    own.wait_for("stage=ready", READY_LIMIT)
    with connect(own, owner) as client:
        wait_for_guests(client, ["hello"], GUEST_LIMIT)
        report = client.node()
        assert (report.name, report.site_generation, report.unconfirmed) == ("alpha", generation, False)
        assert report.problems == ()
    assert "Hello" in page(own)


def changed(client: Client) -> ApplyRequest:
    """The site that the server runs, with a line more."""
    images = {each.sha256: each for each in client.images()}
    (image,) = images.values()
    ref = ImageRef(sha256=image.sha256, size=image.size, kind=image.kind)
    text = client.site().site_toml + "# another line\n"
    return ApplyRequest(site_toml=text, images={"hello": ref}, confirm_within=600)


def wait_until(ready: Callable[[], bool]) -> None:
    assert any(ready() for _ in ticks(INTERVAL, LIMIT)), "it did not happen in time"
