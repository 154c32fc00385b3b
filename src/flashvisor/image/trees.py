"""The two Debian trees that everything is made of: the build root, and the packages that files are picked from.

Owns which packages. Does not own what is picked out of them (recipe/root.toml, root.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor.host.dpkg import packages_of
from flashvisor.host.files import GIB
from flashvisor.host.mmdebstrap import make_tree
from flashvisor.image.cache import Step

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flashvisor.image.cache import Cache

SUITE = "trixie"
TREE = "tree"  # the tree's directory inside a step's result

BUILD_PACKAGES = (
    "bc", "bison", "build-essential", "ca-certificates", "cpio", "dosfstools", "e2fsprogs", "erofs-utils", "flex",
    "kmod", "libacl1-dev", "libaio-dev", "libattr1-dev", "libcap-ng-dev", "libelf-dev", "libfdt-dev", "libglib2.0-dev",
    "libgnutls28-dev", "libjson-c-dev", "libnl-3-dev", "libnl-route-3-dev", "libpixman-1-dev", "libpng-dev",
    "libseccomp-dev", "libselinux1-dev", "libslirp-dev", "libssl-dev", "libtasn1-6-dev", "liburing-dev", "libxml2-dev",
    "libxml2-utils", "libzstd-dev", "linux-source-6.12", "meson", "mtools", "ninja-build", "pkg-config", "python3",
    "python3-docutils", "python3-pefile", "python3-pip", "python3-venv", "rsync", "squashfs-tools", "systemd-boot-efi",
    "systemd-repart", "systemd-ukify", "xsltproc", "xz-utils", "zlib1g-dev", "zstd",
)  # fmt: skip

ROOT_PACKAGES = (
    "ca-certificates", "e2fsprogs", "ipxe-qemu", "kmod", "libvirt-daemon", "libvirt-daemon-driver-qemu",
    "libpython3-stdlib", "mount", "mtools", "nftables", "ovmf", "python3-libvirt", "python3-minimal",
    "qemu-system-data", "seabios", "systemd", "udev", "util-linux", "libaio1t64", "libfdt1", "libpixman-1-0",
    "liburing2", "libzstd1", "libseccomp2", "libcap-ng0", "lvm2", "mdadm", "xfsprogs", "lighttpd",
)  # fmt: skip

# What the catalogue's appliances are picked from. A tree of its own: a new appliance must not make a new image.
APPLIANCE_PACKAGES = ("chrony", "dnsmasq-base", "e2fsprogs", "mosquitto", "nginx", "rsyslog", "valkey-server")

SOURCES = ("qemu", "libvirt", "libtirpc", "gnutls28")  # source packages, laid into the build root's /usr/src
ARCHIVES = ("--tar-only", "--diff-only")


def build_root(cache: Cache) -> Path:
    """Returns the tree in which everything is compiled, with the source packages in its /usr/src."""
    # The archives by name, not by their .dsc: apt checks them against the signed index either way, and mirrors that
    # pass only packages on have been seen to lack .dsc files.
    parts = " && ".join(f"apt-get source -qq --download-only {part} {' '.join(SOURCES)}" for part in ARCHIVES)
    fetch = f"chroot \"$1\" sh -c 'cd /usr/src && apt-get update -qq && {parts}'"
    return _tree(
        cache,
        "buildroot",
        BUILD_PACKAGES,
        title="Debian build root",
        expected=60,
        options=[f"--customize-hook={fetch}"],
    )


def root_packages(cache: Cache) -> Path:
    """Returns the tree that the image's files are picked from."""
    return _tree(cache, "packages", ROOT_PACKAGES, title="Debian packages of the image", expected=40)


def appliance_packages(cache: Cache) -> Path:
    """Returns the tree that the appliances' files are picked from."""
    return _tree(cache, "appliance-packages", APPLIANCE_PACKAGES, title="Debian packages of appliances", expected=30)


def installed(tree: Path) -> dict[str, str]:
    """Returns name to version of the packages in a tree made here."""
    return packages_of(tree)


def _tree(
    cache: Cache, name: str, packages: Sequence[str], *, title: str, expected: float, options: Sequence[str] = ()
) -> Path:
    def fill(place: Path) -> None:
        log = cache.root / "logs" / f"{name}.log"
        make_tree(place / TREE, SUITE, packages, variant="apt", log_to=log, options=options, with_sources=bool(options))

    inputs = {"suite": SUITE, "packages": " ".join(packages), "options": " ".join(options)}
    return cache.get(Step(name, inputs=inputs, build=fill, title=title, expected=expected, space=3 * GIB)) / TREE
