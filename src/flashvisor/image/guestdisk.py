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
from typing import TYPE_CHECKING
from uuid import UUID

from flashvisor.host import qemu_img, repart
from flashvisor.host.bubblewrap import enter
from flashvisor.host.files import GIB, MIB, need_space, write_atomic
from flashvisor.host.mmdebstrap import make_tree
from flashvisor.image.cache import Step, digest
from flashvisor.image.recipes import RECIPE
from flashvisor.image.trees import SUITE, build_root, installed
from flashvisor.image.workshop import EPOCH, workshop

if TYPE_CHECKING:
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
    "apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "e2scrub_reap.service", "getty@tty1.service",
    # A guest is ready when it answers, not when every card has a cable.
    "systemd-networkd-wait-online.service",
    "systemd-pstore.service", "remote-fs.target",
)  # fmt: skip
MASKED = ("sshd-keygen.service",)  # cloud-init makes the one host key that is used
DISK_SIZE = 2 * GIB
ROOT_UUID = UUID("6f1c0f0e-2a5d-5b8f-9c57-1d0c8a2f3e41")  # of the root file system; any fixed one
DISK_SEED = UUID("c2a7b1de-54c8-4a7e-8a3b-0d6b1f4e9c75")  # the partitions' UUIDs follow from it
LAYOUT = "2"  # count up when what host/repart.py does changes
SECRETS = "etc/ssh/ssh_host_*"
KERNEL_HOOK = "/etc/kernel/postinst.d/zz-unified-image"
SCRIPT = b"#!"


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
    root = build_root(cache)
    packages = _packages(cache)
    versions = installed(root)

    def make(place: Path) -> None:
        with workshop(root, place, cache.root / "logs/guest-debian.log") as shop:
            shutil.copytree(OWN / "repart.d", shop.work / "repart.d")
            _copy_tree(root, packages, shop)
            prepare(shop.work / "tree")
            disk = repart.Disk(definitions="repart.d", seed=DISK_SEED, size=DISK_SIZE, ext4_uuid=ROOT_UUID)
            repart.make_disk(root, shop.work, disk, source=shop.work / "tree", output="disk.raw")
            qemu_img.compress(shop.work / "disk.raw", place / "debian-13.qcow2")

    inputs = {name: versions[name] for name in ("dosfstools", "e2fsprogs", "mtools", "systemd-repart")}
    inputs |= {"packages": packages.name, "own": digest(json.dumps(_own_texts())), "size": f"{DISK_SIZE}"}
    inputs |= {"layout": LAYOUT, "uuids": f"{ROOT_UUID} {DISK_SEED}", "units": str((ENABLED, DISABLED, MASKED))}
    step = Step("guest-debian", inputs=inputs, build=make, title="Debian guest disk", expected=30, space=3 * GIB)
    return cache.get(step) / "debian-13.qcow2"


def own_files() -> dict[str, bytes]:
    """Returns our files by path in the guest, filled in. Pure but for reading the recipe."""
    top = OWN / "root"
    return {
        str(path.relative_to(top)): path.read_text().replace("@ROOT_UUID@", str(ROOT_UUID)).encode()
        for path in sorted(top.rglob("*"))
        if path.is_file()
    }


def prepare(tree: Path) -> None:
    """Makes a guest's root of a tree of packages: our settings, its units, its initramfs and what firmware starts."""
    for name, data in own_files().items():
        place = tree / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        place.chmod(0o755 if data.startswith(SCRIPT) else 0o644)
    for secret in tree.glob(SECRETS):
        secret.unlink()
    (tree / "etc/machine-id").write_bytes(b"")  # every guest gets its own at its first boot
    for word, units in (("enable", ENABLED), ("disable", DISABLED), ("mask", MASKED)):
        enter(tree, ["systemctl", "--root=/mnt", word, *units], binds={tree: "/mnt"})
    _make_bootable(tree)
    # Caches of /etc and /var are as new as /usr: without this, the first boot makes them again.
    enter(tree, ["/usr/lib/systemd/systemd-update-done"], binds={tree / "etc": "/etc", tree / "var": "/var"})


def _make_bootable(tree: Path) -> None:
    """Has the guest's own tools make its initramfs, and its own hook the file that firmware starts."""
    (tree / "boot/efi").mkdir(mode=0o755, exist_ok=True)
    for kernel in sorted((tree / "boot").glob("vmlinuz-*")):
        version = kernel.name.removeprefix("vmlinuz-")
        initramfs = ["mktirfs", "-o", f"/boot/initrd.img-{version}", version]
        enter(tree, initramfs, binds={tree / "boot": "/boot"}, env={"TMPDIR": "/tmp", "SOURCE_DATE_EPOCH": str(EPOCH)})  # noqa: S108 - inside
        enter(tree, [KERNEL_HOOK, version], binds={tree / "boot/efi": "/boot/efi"})


def _packages(cache: Cache) -> Path:
    """Returns the step's directory with a tree of the guest's packages, configured."""

    def make(place: Path) -> None:
        options = [*(f"--dpkgopt={option}" for option in DPKG_OPTIONS), "--skip=output/dev"]
        log = cache.root / "logs/guest-debian-packages.log"
        make_tree(place / "tree", SUITE, PACKAGES, variant="minbase", log_to=log, options=options)

    inputs = {"suite": SUITE, "packages": " ".join(PACKAGES), "options": " ".join(DPKG_OPTIONS)}
    title = "Debian packages of the guest"
    return cache.get(
        Step("guest-debian-packages", inputs=inputs, build=make, title=title, expected=110, space=1500 * MIB)
    )


def _copy_tree(root: Path, packages: Path, shop: Workshop) -> None:
    enter(root, ["cp", "-a", "/srv/tree", "/mnt/tree"], binds={packages: "/srv", shop.work: "/mnt"}, log_to=shop.log)


def _own_texts() -> dict[str, str]:
    parts = {path.name: path.read_text() for path in sorted((OWN / "repart.d").iterdir())}
    return parts | {name: data.decode() for name, data in own_files().items()}
