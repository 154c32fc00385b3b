"""The peer: Debian 13 with libvirt and QEMU from packages, on a disk, running the same guest on the same network.

Owns what it consists of. What could be chosen is chosen for its benefit: no recommended packages, no graphical ones,
no search for updates and no waiting for network cards at its start, an initramfs with the drivers of its own disk only,
one file started by the firmware (no boot loader's menu), and a first start that is not measured. Disks are laid out by
image/guestdisk.py::

    peer = build_peer(cache, Path("hello.efi"), site)
    peer.disk, peer.installed
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.guests.domain import Card, DirectKernel, DomainSpec, domain_xml
from flashvisor.host import pe
from flashvisor.host.files import GIB
from flashvisor.image import guestdisk
from flashvisor.image.cache import Step
from flashvisor.image.trees import build_root
from flashvisor.image.workshop import workshop
from flashvisor.model.names import assign_addresses, bridge_name, guest_uuid, tap_name
from flashvisor.model.size import parse_size
from flashvisor.node.network import plan_network

if TYPE_CHECKING:
    from collections.abc import Collection

    from flashvisor.image.cache import Cache
    from flashvisor.model.site import Site

RECIPE = Path(__file__).parent / "recipe/peer"
PACKAGES = (
    "dbus", "e2fsprogs", "iproute2", "libvirt-clients", "libvirt-daemon-system", "linux-image-amd64", "nftables",
    "python3-pefile", "qemu-system-x86", "systemd", "systemd-boot-efi", "systemd-sysv", "systemd-ukify", "udev", "zstd",
)  # fmt: skip
# Of the Debian guest's own files: what makes a disk start and grow.
SHARED = (
    "etc/fstab", "etc/hosts", "etc/kernel/cmdline", "etc/kernel/postinst.d/zz-unified-image", "etc/locale.conf",
)  # fmt: skip
ENABLED = ("systemd-networkd.service", "nftables.service", "bench-peer.service")
DISABLED = ("apt-daily.timer", "apt-daily-upgrade.timer", "systemd-networkd-wait-online.service")
# Targeted, as the installer offers it in expert mode: by default it has the drivers of all disks there are, 36 MB.
INITRAMFS = ("mkinitramfs", "-m", "list")
DISK_SIZE = 4 * GIB
GUEST = "hello"
OWN = "usr/local/share/bench"  # the guest's files; not counted as installed
NOT_INSTALLED = (OWN, "usr/local/sbin/bench-peer", "boot/efi")  # the last one is a second copy of the kernel
API_PORT = 16514  # libvirt's own, for the firewall's sake (libvirtd.conf, tls_port)
# What the peer says on its console.
READY, WARM = r"peer: stage=libvirt", r"peer: stage=warm"
RAM_USED = r"peer: ram_used_bytes=(\d+)"


@dataclass(frozen=True)
class Peer:
    """The peer's disk (raw, with holes), and the bytes of all files of the installed system."""

    disk: Path
    installed: int


def build_peer(cache: Cache, appliance: Path, site: Site) -> Peer:
    """Returns the peer in the cache.

    Args:
        cache: The build cache.
        appliance: The guest, a unified kernel image.
        site: The site whose guest GUEST the peer runs, on the same network.

    Raises:
        NotRootError: not root.
        NoNetworkError: the mirror cannot be reached.
        NotAnImageError: the appliance is none.
        CommandFailedError: a step's program failed.
    """
    root = build_root(cache)
    system = guestdisk.System(
        packages=PACKAGES,
        files=_files(appliance, site),
        size=DISK_SIZE,
        initramfs=INITRAMFS,
        enabled=ENABLED,
        disabled=DISABLED,
    )
    title = "Debian packages of the peer"
    packages = guestdisk.packages_of_system(cache, "bench-peer", system, title=title, expected=90)

    def make(place: Path) -> None:
        with workshop(root, place, cache.root / "logs/bench-peer.log") as shop:
            guestdisk.lay_out(shop, packages, system).rename(place / "peer.raw")
            (place / "installed").write_text(f"{installed_bytes(shop.work / 'tree', NOT_INSTALLED)}")

    inputs = guestdisk.inputs_of_system(root, packages, system) | {"not installed": " ".join(NOT_INSTALLED)}
    step = Step("bench-peer", inputs=inputs, build=make, title="The peer's disk", expected=30, space=6 * GIB)
    place = cache.get(step)
    return Peer(disk=place / "peer.raw", installed=int((place / "installed").read_text()))


def installed_bytes(tree: Path, without: Collection[str] = ()) -> int:
    """Returns the bytes in all regular files of a tree; those with several names count once.

    Args:
        tree: The directory.
        without: Files and directories that do not count, relative to it.
    """
    sizes: dict[int, int] = {}
    left_out = {tree / name for name in without}
    for path in tree.rglob("*"):
        if path.is_symlink() or not path.is_file() or left_out.intersection([path, *path.parents]):
            continue
        status = path.stat()
        sizes[status.st_ino] = status.st_size
    return sum(sizes.values())


def guest_xml(site: Site, cmdline: str) -> str:
    """Returns the domain XML with which the peer starts the site's guest GUEST. Pure."""
    guest, node = site.guest[GUEST], site.node.name
    leases = (lease for lease in assign_addresses(site) if lease.guest == GUEST)
    spec = DomainSpec(
        name=GUEST,
        uuid=guest_uuid(node, GUEST),
        memory=parse_size(guest.memory),
        cpus=guest.cpus,
        boot=DirectKernel(f"/{OWN}/linux", f"/{OWN}/initrd", cmdline),
        console_socket=f"/var/lib/libvirt/qemu/{GUEST}.sock",
        cards=tuple(
            Card(bridge_name(lease.network), lease.mac, tap_name(lease.guest, lease.index)) for lease in leases
        ),
    )
    return domain_xml(spec)


def _files(appliance: Path, site: Site) -> dict[str, bytes]:
    """Returns the peer's own files by path: a start of the guest, and the network that our servers give it."""
    files = {name: data for name, data in guestdisk.own_files().items() if name in SHARED}
    files |= {str(path.relative_to(RECIPE)): path.read_bytes() for path in sorted(RECIPE.rglob("*")) if path.is_file()}
    network = plan_network(site, api_port=API_PORT, first_card=None)
    files |= {f"etc/systemd/network/{name}": text.encode() for name, text in network.units.items()}
    files["etc/nftables.conf"] = network.ruleset.encode()
    sections = _sections(appliance)
    files[f"{OWN}/linux"], files[f"{OWN}/initrd"] = sections[".linux"], sections[".initrd"]
    files[f"{OWN}/{GUEST}.xml"] = guest_xml(site, sections[".cmdline"].decode().strip("\0\n")).encode()
    return files


def _sections(appliance: Path) -> dict[str, bytes]:
    table = pe.sections(appliance)
    with tempfile.TemporaryDirectory() as scratch:
        found = {}
        for name in (".linux", ".initrd", ".cmdline"):
            pe.copy_section(appliance, table[name], Path(scratch) / "section")
            found[name] = (Path(scratch) / "section").read_bytes()
    return found
