"""What tests of the node need: a site, images of every kind, a server's memory, a whole server on fakes.

Example::

    with server(tmp_path) as made:
        made.upload(uki())
        made.reconciler.apply(request(SITE, {"hello": uki()}))
"""

from __future__ import annotations

import hashlib
import struct
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from flashvisor.api.types import ApplyRequest, ImageKind, ImageRef
from flashvisor.flash.ring import Ring
from flashvisor.guests.fake import FakeDriver
from flashvisor.model.record import ImageEntry
from flashvisor.model.sitefile import check_site, parse_site
from flashvisor.node.carryout import Hands
from flashvisor.node.consolehub import ConsoleHub
from flashvisor.node.fakemachine import FakeAsker, FakeMachine, blank_disk
from flashvisor.node.keeper import Keeper, Tools
from flashvisor.node.plan import Desired, ServerFacts
from flashvisor.node.problems import Problems
from flashvisor.node.reconcile import Clocks, Reconciler
from flashvisor.node.settings import Settings
from flashvisor.node.state import NodeState
from flashvisor.node.storagekeeper import StorageKeeper, Surroundings
from flashvisor.node.timeline import Timeline
from flashvisor.node.wearkeeper import WearKeeper
from sim.flashsim import FlashSim

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from flashvisor.node.probes import Ways

RING_SIZE = 8 << 20  # bytes
GIB = 1 << 30  # bytes
TODAY = date(2026, 11, 24)

SITE = """\
schema = 1

[node]
name = "alpha"

[storage.main]
serial = "data0"

[network.inside]
subnet = "10.77.0.0/24"

[image.hello]
file = "hello.efi"

[guest.hello]
image = "hello"
memory = "64MiB"
nics = [{ network = "inside", address = "10.77.0.10" }]
forwards = [{ port = 8080, to = 80 }]
"""

SECOND_GUEST = """
[guest.second]
image = "hello"
memory = "64MiB"
nics = [{ network = "inside" }]
"""


def uki(kernel: bytes = b"kernel", cmdline: bytes = b"quiet\0", **sections: bytes) -> bytes:
    """A unified kernel image as small as the format allows."""
    table = {".linux": kernel, ".cmdline": cmdline, **{f".{name}": data for name, data in sections.items()}}
    start, body, entries = 0x40, b"", b""
    first = start + 24 + 40 * len(table)
    for name, data in table.items():
        # Raw data are padded as a linker would, so that virtual and raw size differ.
        padded = data + bytes(-len(data) % 16)
        entries += struct.pack("<8sIIII16x", name.encode(), len(data), 0, len(padded), first + len(body))
        body += padded
    head = b"MZ" + bytes(0x3A) + struct.pack("<I", start)
    return head + struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, len(table), 0, 0, 0, 0, 0) + entries + body


def sha256(data: bytes) -> str:
    """64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def entry(data: bytes) -> ImageEntry:
    """The state record's word for an image."""
    return ImageEntry(sha256=sha256(data), size=len(data), kind="appliance")


def desired(text: str = SITE, images: Mapping[str, bytes] | None = None) -> Desired:
    """A site with its images, all of them `uki()` unless given."""
    site = parse_site(text)
    check_site(site)
    given = images or {}
    return Desired(site, {name: entry(given.get(name, uki())) for name in site.image})


def request(text: str = SITE, *, confirm_within: float = 60.0, image: bytes | None = None) -> ApplyRequest:
    """What the command line would send."""
    data = uki() if image is None else image
    ref = ImageRef(sha256=sha256(data), size=len(data), kind=ImageKind.APPLIANCE)
    names = parse_site(text).image
    return ApplyRequest(site_toml=text, images=dict.fromkeys(names, ref), confirm_within=confirm_within, who="anna")


def facts(**changes: object) -> ServerFacts:
    """A server with a blank disk, 4 GiB, the image `uki()`, and nothing running."""
    return ServerFacts(
        **{  # type: ignore[arg-type]
            "memory": 4 * GIB,
            "disks": (blank_disk("data0"),),
            "mounted": frozenset(),
            "images": frozenset({sha256(uki())}),
            "running": frozenset(),
            "first_card": "52:54:00:00:00:01",
            "api_port": 443,
            **changes,
        }
    )


@dataclass
class Server:
    """A server on fakes; `clock` is the monotonic clock, which stands still until a test moves it."""

    settings: Settings
    flash: FlashSim
    machine: FakeMachine
    driver: FakeDriver
    keeper: Keeper
    hub: ConsoleHub
    problems: Problems
    said: list[str]
    state: NodeState
    reconciler: Reconciler
    clock: list[float]
    asker: FakeAsker
    wear: WearKeeper
    storages: StorageKeeper

    def upload(self, data: bytes | None = None) -> None:
        """Puts an image into the store, as a PUT does."""
        data = uki() if data is None else data
        with self.reconciler.open_store().receive(sha256(data)) as incoming:
            incoming.write(data)
            incoming.finish()

    def bring_up(self, text: str = SITE) -> None:
        """Plan, upload, apply, confirm."""
        self.reconciler.plan(request(text))
        self.upload()
        self.reconciler.apply(request(text))
        self.reconciler.confirm()

    def boot(self) -> None:
        """What the agent does at boot."""
        self.reconciler.boot_network()
        self.reconciler.boot_storage(limit=0)
        self.keeper.find_again()
        self.reconciler.boot_guests()


@contextmanager
def server(
    directory: Path,
    *,
    flash: FlashSim | None = None,
    machine: FakeMachine | None = None,
    driver: FakeDriver | None = None,
    frozen: bool = False,
) -> Iterator[Server]:
    """A server on fakes. Given the same flash, machine and driver, it is the same server after a restart.

    If `frozen`, the keeper goes by the server's clock as well: guests are restarted when a test says so.
    """
    settings = Settings(data=directory / "data", run=directory / "run", fake=True)
    settings.run.mkdir(parents=True, exist_ok=True)
    flash, clock = flash or FlashSim(RING_SIZE), [1000.0]
    said: list[str] = []
    machine = machine or FakeMachine((blank_disk("data0"),))
    driver = driver or FakeDriver()
    problems = Problems(said.append)
    wear = WearKeeper(machine, problems, keep=settings.run / "wear.json", today=lambda: TODAY)
    state = NodeState(Ring.open(flash, book=wear.book))
    wear.take_up(state)
    asked: list[FakeAsker] = []

    def askers(ways: Ways) -> FakeAsker:
        asked.append(FakeAsker(ways))
        return asked[0]

    timeline = Timeline(said.append, lambda: clock[0], keep=settings.run / "timeline.json")
    now = {"now": lambda: clock[0]} if frozen else {}
    with ExitStack() as stack:
        hub = stack.enter_context(ConsoleHub())
        keeper = stack.enter_context(Keeper(Tools(driver, timeline, hub, **now), askers))
        hands = Hands(machine, keeper, problems, settings)
        reconciler = Reconciler(state, hands, Clocks(wall=lambda: 1.7e9, monotonic=lambda: clock[0]))
        around = Surroundings(hands, reconciler, driver, now=lambda: clock[0], aside=lambda call: call())
        storages = stack.enter_context(StorageKeeper(around))
        yield Server(
            settings, flash, machine, driver, keeper, hub, problems, said, state, reconciler, clock, asked[0], wear,
            storages,
        )  # fmt: skip
