"""Everything that the example site needs, built, and a virtual server that runs it: for `make try` and the lab tests.

Owns the order. Each part is somebody else's: image/ builds, rack.py powers on, api/rollout.py confirms and waits::

    files = materials(cache, keyring, Path("build"))
    server = power_on(rack, "try", files)
    run_site(server, keyring, Path("examples/site.toml"))
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.api import rollout
from flashvisor.api.address import parse_address
from flashvisor.api.bundle import CONFIRM_WITHIN, hash_images, read_site
from flashvisor.api.client import Client
from flashvisor.host.sockets import LOOPBACK
from flashvisor.image import appliance, guestdisk
from flashvisor.image.build import build
from flashvisor.image.flashfile import flash_image
from flashvisor.image.labqemu import lab_qemu
from flashvisor.image.sbom import write_sboms
from flashvisor.lab.machine import ServerSpec
from flashvisor.lab.sshkey import ensure_pair
from flashvisor.model.wiring import port_range

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flashvisor.image.cache import Cache
    from flashvisor.image.ledger import Ledger
    from flashvisor.lab.rack import Rack
    from flashvisor.lab.server import Server
    from flashvisor.trust.keyring import Keyring

READY_LIMIT = 300.0  # seconds; generous, for an emulated server on a busy machine
NODE_NAME = "alpha"  # as in examples/site.toml
Show = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class Materials:
    """What was built: the flash image, the size ledger, the key that guests let in, and the lab's QEMU."""

    flash: Path
    ledger: Ledger
    ssh_key: Path
    qemu: Path


def materials(cache: Cache, keyring: Keyring, output: Path) -> Materials:
    """Builds the image and the guests of the example sites, as far as the cache does not hold them.

    Args:
        cache: The build cache.
        keyring: The owner's.
        output: The directory `build`, to which the example sites refer.
    """
    image = build(cache, keyring, output / "kvm")
    write_sboms(cache, image.entries, output / "kvm")
    flash = flash_image(image.efi, output / "kvm/flash.img", keyring, NODE_NAME)
    appliance.build(cache, keyring, "hello", output / "appliances")
    guestdisk.build_debian(cache, output / "guests/debian-13.qcow2")
    return Materials(flash, image.ledger, ensure_pair(output / "guests/id_ed25519"), lab_qemu(cache))


def power_on(rack: Rack, name: str, files: Materials) -> Server:
    """Puts a server into the rack and waits until it is ready. A server of that name is replaced."""
    if any(server.name == name for server in rack.list()):
        rack.down(name)
    server = rack.up(ServerSpec(name=name, flash=files.flash, qemu=files.qemu))
    server.wait_for("stage=ready", READY_LIMIT)
    return server


def connect(server: Server, keyring: Keyring) -> Client:
    """Returns a client for a server of the rack."""
    return Client(parse_address(f"{LOOPBACK}:{server.api_port}"), keyring)


@contextmanager
def unseen(_title: str, _total: int | None) -> Iterator[Callable[[int], None]]:
    """Shows nothing; takes the place of the CLI's progress bars."""
    yield lambda _count: None


def run_site(server: Server, keyring: Keyring, site: Path, show: Show = unseen) -> tuple[str, ...]:
    """Uploads what a site file needs, applies and confirms it, and forwards its ports to this machine.

    Args:
        server: In the rack, ready.
        keyring: The owner's.
        site: The site file.
        show: Surrounds each part that takes long, with its title and its bytes, and hears of the bytes done.

    Returns:
        The guests that are to answer.
    """
    source = read_site(site)
    with show("reading images", source.image_bytes) as advance:
        bundle = hash_images(source, advance)
    request = bundle.request(who="lab", confirm_within=CONFIRM_WITHIN)
    with connect(server, keyring) as client:
        plan = client.plan(request)
        for path, ref in bundle.uploads(plan.missing_images):
            with show(f"uploading {path.name}", ref.size) as advance:
                client.upload_image(path, advance, sha256=ref.sha256)
        applied = rollout.apply(client, request)
    if applied.confirm_within:  # else it is in force already
        rollout.confirm(lambda: connect(server, keyring), applied.confirm_within)
    for guest in bundle.source.site.guest.values():
        for forward in guest.forwards:
            for port in port_range(forward.port):
                server.forward(port)
    return rollout.expected_answers(bundle.source.site)
