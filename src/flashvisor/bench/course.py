"""The whole benchmark: what is built, who takes part, and in which order the runs go.

Owns the contestants. One server runs at a time, and each round powers on all of them, so that a machine that gets
busy meanwhile slows all alike::

    materials = build_materials(cache, keyring, Path("build/bench"))
    samples = measure(materials, keyring, rounds=5, announce=show)
"""

from __future__ import annotations

import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.api.bundle import read_site
from flashvisor.bench import bare, peer
from flashvisor.bench.measures import Samples
from flashvisor.bench.runs import READY_LIMIT, Contestant, Sample, run_once, wait_answer, warm_up
from flashvisor.flash.layout import DEVICE_SIZE
from flashvisor.image import appliance
from flashvisor.image.build import build
from flashvisor.image.flashfile import flash_image
from flashvisor.image.labqemu import lab_qemu
from flashvisor.lab import trial
from flashvisor.lab.machine import ServerSpec
from flashvisor.lab.rack import Rack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from flashvisor.image.cache import Cache
    from flashvisor.lab.server import Server
    from flashvisor.trust.keyring import Keyring

SITE = Path(__file__).parent / "recipe/site.toml"
NODE_NAME = "bench"  # as in the site file
RACK = "rack"  # the benchmark's own, in its directory
PORT = 8080  # the site file's forward
READY = r"flashvisor: stage=ready"
OURS, IDLE, PEER, BARE = "ours", "ours-idle", "peer", "bare"  # also the servers' names
OFF_LIMIT = 120.0  # seconds
DATA_DISKS = (peer.DISK_SIZE,)  # the same in all servers


@dataclass(frozen=True)
class Materials:
    """What was built. Sizes in bytes; `blank` is a flash device with nothing on it, `qemu` what all servers run in."""

    directory: Path
    slot: int
    flash: Path
    site: Path
    bare: Path
    blank: Path
    peer: peer.Peer
    qemu: Path


def build_materials(cache: Cache, keyring: Keyring, output: Path) -> Materials:
    """Builds all that takes part, as far as the cache does not hold it.

    Args:
        cache: The build cache.
        keyring: The owner's.
        output: A directory for what is made; never a build's own, whose files may be in use.

    Raises:
        FlashvisorError: a step failed.
    """
    image = build(cache, keyring, output / "image")
    flash = flash_image(image.efi, output / "image/flash.img", keyring, NODE_NAME)
    hello = appliance.build(cache, keyring, peer.GUEST, output).path
    site = output / SITE.name
    shutil.copyfile(SITE, site)
    blank = output / "blank.img"
    with blank.open("wb") as file:
        file.truncate(DEVICE_SIZE)
    return Materials(
        directory=output,
        slot=image.ledger.slot_bytes,
        flash=flash,
        site=site,
        bare=bare.bare_flash(cache, keyring),
        blank=blank,
        peer=peer.build_peer(cache, hello, read_site(site).site),
        qemu=lab_qemu(cache),
    )


def measure(
    materials: Materials, keyring: Keyring, rounds: int, announce: Callable[[str], AbstractContextManager[object]]
) -> Samples:
    """Runs the benchmark.

    Args:
        materials: What takes part.
        keyring: The owner's.
        rounds: How often everything is measured.
        announce: Surrounds every power-on, with its name for people.

    Raises:
        LabError: a server did not do what it should.
    """
    taken: dict[str, list[Sample]] = {}
    with _rack(materials.directory / RACK) as rack:
        contestants = _contestants(rack, materials, keyring, announce)
        for number in range(1, rounds + 1):
            for name, contestant in contestants.items():
                with announce(f"run {number} of {rounds}: {name}"):
                    taken.setdefault(name, []).append(run_once(rack, contestant))
    return gather(taken, slot=materials.slot, installed=materials.peer.installed)


def gather(taken: dict[str, list[Sample]], *, slot: int, installed: int) -> Samples:
    """Sorts samples by measure. Pure.

    Args:
        taken: All samples by contestant.
        slot: Bytes of our image.
        installed: Bytes of the peer's installed system.
    """
    return Samples(
        slot=slot,
        peer_installed=installed,
        ready=[sample.ready for sample in taken[OURS]],
        peer_ready=[sample.ready for sample in taken[PEER]],
        bare_init=[sample.ready for sample in taken[BARE]],
        answer=[sample.answer for sample in taken[OURS] if sample.answer is not None],
        peer_answer=[sample.answer for sample in taken[PEER] if sample.answer is not None],
        ram=[sample.ram for sample in taken[IDLE] if sample.ram is not None],
        peer_ram=[sample.ram for sample in taken[PEER] if sample.ram is not None],
    )


def _contestants(
    rack: Rack, materials: Materials, keyring: Keyring, announce: Callable[[str], AbstractContextManager[object]]
) -> dict[str, Contestant]:
    """Returns all who take part, each after its first start."""

    def apply_site(server: Server) -> None:
        server.wait_for(READY, READY_LIMIT)
        trial.run_site(server, keyring, materials.site)
        wait_answer(server, server.forward(PORT))

    def ram_used(server: Server) -> int:
        with trial.connect(server, keyring) as client:
            node = client.node()
        return node.memory - node.memory_available

    def first(spec: ServerSpec, prepare: Callable[[Server], None]) -> ServerSpec:
        with announce(f"first start: {spec.name}"):
            return warm_up(rack, spec, prepare, materials.directory / "warm" / spec.name)

    hardware = partial(ServerSpec, data_disks=DATA_DISKS, qemu=materials.qemu)
    ours, idle = (hardware(name=name, flash=materials.flash) for name in (OURS, IDLE))
    debian = hardware(name=PEER, flash=materials.blank, system_disk=materials.peer.disk)
    least = hardware(name=BARE, flash=materials.bare)
    return {
        OURS: Contestant(first(ours, apply_site), READY, guest_port=PORT),
        PEER: Contestant(first(debian, _warm_peer), peer.READY, guest_port=PORT, ram_used=peer_ram),
        BARE: Contestant(first(least, lambda server: _wait(server, bare.READY)), bare.READY),
        IDLE: Contestant(first(idle, lambda server: _wait(server, READY)), READY, ram_used=ram_used),
    }


def _wait(server: Server, pattern: str) -> None:
    server.wait_for(pattern, READY_LIMIT)


def _warm_peer(server: Server) -> None:
    server.wait_for(peer.WARM, READY_LIMIT)
    server.wait_off(OFF_LIMIT)


def peer_ram(server: Server) -> int:
    """Returns the bytes of RAM that the peer said were in use when it was ready; to be asked once its guest answers."""
    line = server.wait_for(peer.RAM_USED, READY_LIMIT)
    found = re.search(peer.RAM_USED, line)
    if found is None:
        raise RuntimeError(f"wait_for returned a line that does not match: {line!r}")
    return int(found[1])


@contextmanager
def _rack(directory: Path) -> Iterator[Rack]:
    """Gives a rack of the benchmark's own, empty at first, and empty again at the end."""
    rack = Rack(directory)
    rack.down_all()
    try:
        yield rack
    finally:
        rack.down_all()
