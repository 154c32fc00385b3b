"""A real Debian 13 as a guest's disk image, made from packages: systemd, cloud-init, SSH, and a quick first boot.

Owns which packages, which units run, and how the disk is laid out; its own settings are files under
recipe/guests/debian. Does not own appliances, which have no disk (appliance.py)::

    build_debian(Cache(default_root()), Path("build/guests/debian-13.qcow2"))

UEFI starts one file on it, made by the guest's own kernel hook: here, and again whenever apt installs a kernel there.
Its root grows with its disk. No keys and no passwords are in it: cloud-init brings the first ones (NoCloud).
"""

from __future__ import annotations

import filecmp
import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from flashvisor.host import qemu_img, repart
from flashvisor.host.bubblewrap import enter
from flashvisor.host.files import GIB, need_space, write_atomic
from flashvisor.host.mmdebstrap import make_tree
from flashvisor.image.cache import Step, digest
from flashvisor.image.recipes import RECIPE
from flashvisor.image.trees import SUITE, build_root, installed
from flashvisor.image.workshop import EPOCH, workshop

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from flashvisor.image.cache import Cache
    from flashvisor.image.workshop import Workshop

OWN = RECIPE / "guests/debian"
PACKAGES = (
    "ca-certificates", "cloud-init", "dbus", "e2fsprogs", "iproute2", "iputils-ping", "less", "linux-image-cloud-amd64",
    "openssh-server", "python3-pefile", "qemu-guest-agent", "sudo", "systemd", "systemd-boot-efi", "systemd-repart",
    "systemd-resolved", "systemd-sysv", "systemd-ukify", "tiny-initramfs", "udev",
)  # fmt: skip
# Nobody reads manuals in a guest of 2 GiB; licenses stay.
DPKG_OPTIONS = (
    "path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright", "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*", "path-exclude=/usr/share/man/*",
)  # fmt: skip
ENABLED = ("systemd-networkd.service",)
DISABLED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "cloud-init-hotplugd.socket", "e2scrub_all.timer",
    "e2scrub_reap.service", "getty@tty1.service", "remote-fs.target", "systemd-pstore.service",
    # A guest is ready when it answers, not when every card has a cable.
    "systemd-networkd-wait-online.service",
)  # fmt: skip
MASKED = (
    "sshd-keygen.service",  # cloud-init makes the one host key that is used
    # Each is a process or more of the first seconds, for what a small virtual machine has not.
    "dev-hugepages.mount", "modprobe@configfs.service", "modprobe@dm_mod.service", "modprobe@drm.service",
    "modprobe@fuse.service", "modprobe@loop.service", "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "systemd-binfmt.service",
    "systemd-journal-flush.service", "systemd-network-generator.service",
    "systemd-networkd-persistent-storage.service", "systemd-udev-load-credentials.service",
)  # fmt: skip
# Programs that systemd runs at each start to make units; those for fstab, getty and run stay. cloud-init's looks for a
# cloud: its target is always wanted here.
MASKED_GENERATORS = (
    "cloud-init-generator", "systemd-debug-generator", "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-rc-local-generator", "systemd-ssh-generator", "systemd-system-update-generator", "systemd-sysv-generator",
    "systemd-tpm2-generator",
)  # fmt: skip
WANTED = ("multi-user.target", "cloud-init.target")
DISK_SIZE = 2 * GIB
ROOT_UUID = UUID("6f1c0f0e-2a5d-5b8f-9c57-1d0c8a2f3e41")  # of the root file system; any fixed one
DISK_SEED = UUID("c2a7b1de-54c8-4a7e-8a3b-0d6b1f4e9c75")  # the partitions' UUIDs follow from it
LAYOUT = "2"  # count up when what host/repart.py does changes
SECRETS = "etc/ssh/ssh_host_*"
KERNEL_HOOK = "/etc/kernel/postinst.d/zz-unified-image"
SCRIPT = b"#!"


@dataclass(frozen=True)
class System:
    """A Debian system that is laid onto a disk of its own.

    Args:
        packages: From Debian, with what they depend on.
        files: Ours, by path without the leading /; what begins with #! becomes a program.
        size: Of the disk, in bytes.
        dpkg_options: See dpkg(1).
        initramfs: The system's own program that makes the initramfs, with its options (mktirfs(8), mkinitramfs(8)).
        enabled: Units that systemctl(1) enables, after the packages' own scripts have enabled theirs.
        disabled: Units that it disables.
        masked: Units that it masks.
        wanted: A target, and units that are started with it.
        masked_generators: Of systemd.generator(7), by name.
    """

    packages: tuple[str, ...]
    files: Mapping[str, bytes]
    size: int
    dpkg_options: tuple[str, ...] = ()
    initramfs: tuple[str, ...] = ("mktirfs",)
    enabled: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    wanted: tuple[str, ...] = ()
    masked_generators: tuple[str, ...] = ()


def build_debian(cache: Cache, output: Path) -> Path:
    """Puts the image where a site file can name it. A file that is the same already is left alone.

    Raises:
        FlashvisorError: a step failed; nothing was written.
    """
    made = debian_disk(cache)
    if not output.exists() or not filecmp.cmp(made, output, shallow=False):
        need_space(output.parent, made.stat().st_size, "the guest's disk image")
        write_atomic(output, made.read_bytes())
    return output


def debian_disk(cache: Cache) -> Path:
    """Returns the image in the cache: qcow2 of DISK_SIZE, GPT, EFI system partition and ext4 root.

    Raises:
        NotRootError: not root.
        NoNetworkError: the mirror cannot be reached.
        CommandFailedError: a step's program failed.
    """
    root, system = build_root(cache), guest_system()
    packages = packages_of_system(cache, "guest-debian", system, title="Debian packages of the guest", expected=110)

    def make(place: Path) -> None:
        with workshop(root, place, cache.root / "logs/guest-debian.log") as shop:
            qemu_img.compress(lay_out(shop, packages, system), place / "debian-13.qcow2")

    inputs = inputs_of_system(root, packages, system)
    step = Step("guest-debian", inputs=inputs, build=make, title="Debian guest disk", expected=30, space=3 * GIB)
    return cache.get(step) / "debian-13.qcow2"


def guest_system() -> System:
    """Returns what a Debian guest consists of."""
    return System(
        packages=PACKAGES,
        files=own_files(),
        size=DISK_SIZE,
        dpkg_options=DPKG_OPTIONS,
        enabled=ENABLED,
        disabled=DISABLED,
        masked=MASKED,
        wanted=WANTED,
        masked_generators=MASKED_GENERATORS,
    )


def lay_out(shop: Workshop, packages: Path, system: System) -> Path:
    """Makes a system's disk in a workshop; returns the raw image, which has holes.

    Args:
        shop: In the build root.
        packages: From `packages_of_system`; it is left as it is.
        system: What is made.

    Raises:
        CommandFailedError: a step's program failed.
    """
    shutil.copytree(OWN / "repart.d", shop.work / "repart.d")
    _copy_tree(shop.root, packages, shop)
    prepare(shop.work / "tree", system)
    disk = repart.Disk(definitions="repart.d", seed=DISK_SEED, size=system.size, ext4_uuid=ROOT_UUID)
    repart.make_disk(shop.root, shop.work, disk, source=shop.work / "tree", output="disk.raw")
    return shop.work / "disk.raw"


def inputs_of_system(root: Path, packages: Path, system: System) -> dict[str, str]:
    """Returns all that determines what `lay_out` makes, for the cache."""
    versions = installed(root)
    inputs = {name: versions[name] for name in ("dosfstools", "e2fsprogs", "mtools", "systemd-repart")}
    inputs |= {"packages": packages.name, "own": digest(json.dumps(_own_texts(system))), "size": f"{system.size}"}
    units = (system.enabled, system.disabled, system.masked, system.wanted, system.masked_generators)
    inputs |= {"initramfs": " ".join(system.initramfs)}
    return inputs | {"layout": LAYOUT, "uuids": f"{ROOT_UUID} {DISK_SEED}", "units": str(units)}


def own_files() -> dict[str, bytes]:
    """Returns our files by path in the guest, filled in. Pure but for reading the recipe."""
    top = OWN / "root"
    return {
        str(path.relative_to(top)): path.read_text().replace("@ROOT_UUID@", str(ROOT_UUID)).encode()
        for path in sorted(top.rglob("*"))
        if path.is_file()
    }


def prepare(tree: Path, system: System) -> None:
    """Makes a system's root of a tree of packages: our settings, its units, its initramfs and what firmware starts."""
    for name, data in system.files.items():
        place = tree / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        place.chmod(0o755 if data.startswith(SCRIPT) else 0o644)
    for secret in tree.glob(SECRETS):
        secret.unlink()
    (tree / "etc/machine-id").write_bytes(b"")  # every guest gets its own at its first boot
    words = {"enable": system.enabled, "disable": system.disabled, "mask": system.masked, "add-wants": system.wanted}
    for word, units in words.items():
        if units:
            enter(tree, ["systemctl", "--root=/mnt", word, *units], binds={tree: "/mnt"})
    generators = tree / "etc/systemd/system-generators"
    generators.mkdir(exist_ok=True)
    for name in system.masked_generators:
        (generators / name).symlink_to("/dev/null")
    _make_bootable(tree, initramfs=system.initramfs)
    # Caches of /etc and /var are as new as /usr: without this, the first boot makes them again.
    enter(tree, ["/usr/lib/systemd/systemd-update-done"], binds={tree / "etc": "/etc", tree / "var": "/var"})


def _make_bootable(tree: Path, *, initramfs: tuple[str, ...]) -> None:
    """Has the guest's own tools make its initramfs, and its own hook the file that firmware starts."""
    (tree / "boot/efi").mkdir(mode=0o755, exist_ok=True)
    for kernel in sorted((tree / "boot").glob("vmlinuz-*")):
        version = kernel.name.removeprefix("vmlinuz-")
        make = [*initramfs, "-o", f"/boot/initrd.img-{version}", version]
        enter(tree, make, binds={tree / "boot": "/boot"}, env={"TMPDIR": "/tmp", "SOURCE_DATE_EPOCH": str(EPOCH)})  # noqa: S108 - inside
        enter(tree, [KERNEL_HOOK, version], binds={tree / "boot/efi": "/boot/efi"})


def packages_of_system(cache: Cache, name: str, system: System, *, title: str, expected: float) -> Path:
    """Returns the step's directory with a tree of the system's packages, configured.

    Args:
        cache: The build cache.
        name: Of the system, in the step's name.
        system: Whose packages.
        title: What a person sees while it runs.
        expected: Seconds on 2 cores.

    Raises:
        NotRootError: not root.
        NoNetworkError: the mirror cannot be reached.
    """
    step = f"{name}-packages"

    def make(place: Path) -> None:
        options = [*(f"--dpkgopt={option}" for option in system.dpkg_options), "--skip=output/dev"]
        log = cache.root / f"logs/{step}.log"
        make_tree(place / "tree", SUITE, system.packages, variant="minbase", log_to=log, options=options)

    packages, options = " ".join(system.packages), " ".join(system.dpkg_options)
    inputs = {"suite": SUITE, "packages": packages, "options": options}
    return cache.get(Step(step, inputs=inputs, build=make, title=title, expected=expected, space=3 * GIB))


def _copy_tree(root: Path, packages: Path, shop: Workshop) -> None:
    enter(root, ["cp", "-a", "/srv/tree", "/mnt/tree"], binds={packages: "/srv", shop.work: "/mnt"}, log_to=shop.log)


def _own_texts(system: System) -> dict[str, str]:
    parts = {path.name: path.read_text() for path in sorted((OWN / "repart.d").iterdir())}
    # Latin-1 turns any bytes into a text of its own.
    return parts | {name: data.decode("latin-1") for name, data in system.files.items()}
