"""libvirt, compiled from Debian's source package: the QEMU driver and what it needs, nothing else.

Owns libvirt's build; its result is a tree `root` to pick from. Debian's own libvirt.so speaks to ESX, Hyper-V and
others through curl, ssh and Kerberos: 2.6 MB that a server's own libvirt never uses (docs/adr/0003).
libtirpc is linked in, without Kerberos, because libvirt uses only its XDR routines.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from flashvisor.host.files import GIB
from flashvisor.image.cache import Step
from flashvisor.image.trees import build_root, installed
from flashvisor.image.workshop import AUTOTOOLS, JOBS, LEAN_CFLAGS, LEAN_LDFLAGS, source_version, workshop

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.image.cache import Cache

RPC_OPTIONS = ("--disable-gssapi", "--disable-shared", "--with-pic", "--prefix=/mnt/rpc", f"CFLAGS={LEAN_CFLAGS}")
OPTIONS = (
    "--prefix=/usr", "--sysconfdir=/etc", "--localstatedir=/var", "--libdir=lib/x86_64-linux-gnu",
    "-Drunstatedir=/run", "-Dauto_features=disabled", "-Dsystem=true", "-Doptimization=s", "-Dbuildtype=plain",
    "-Ddriver_qemu=enabled", "-Ddriver_libvirtd=enabled", "-Ddriver_remote=enabled", "-Ddriver_network=disabled",
    "-Dcapng=enabled", "-Djson_c=enabled", "-Dlibnl=enabled", "-Dattr=enabled",
    # With ACL and SELinux labels only does libvirt give each guest a /dev of its own.
    "-Dselinux=enabled",
    "-Dqemu_user=libvirt-qemu", "-Dqemu_group=kvm", "-Dinit_script=none",
    f"-Dc_args={LEAN_CFLAGS}", f"-Dc_link_args={LEAN_LDFLAGS}",
    "-Ddocs=disabled", "-Dtests=disabled", "-Dnls=disabled", "-Dpackager=flashvisor",
)  # fmt: skip


def libvirt(cache: Cache) -> Path:
    """Returns the directory of a tree with libvirt's programs, libraries and CPU descriptions."""
    root = build_root(cache)

    def build(place: Path) -> None:
        with workshop(root, place, cache.root / "logs/libvirt.log") as shop:
            rpc = shop.unpack("libtirpc")
            shop.run("./configure", *RPC_OPTIONS, cwd=rpc)
            shop.run("make", "-s", f"-j{JOBS}", *AUTOTOOLS, "install", cwd=rpc)
            source = shop.unpack("libvirt")
            shop.run("meson", "setup", "build", *OPTIONS, cwd=source, env={"PKG_CONFIG_PATH": "/mnt/rpc/lib/pkgconfig"})
            shop.run("ninja", f"-j{JOBS}", cwd=f"{source}/build")
            shop.run("meson", "install", "--no-rebuild", "--strip", cwd=f"{source}/build", env={"DESTDIR": "/mnt/out"})
            shutil.copytree(shop.work / "out", place / "root", symlinks=True)

    inputs = {name: source_version(root, name) for name in ("libvirt", "libtirpc")}
    inputs |= {
        "options": " ".join(OPTIONS),
        "libtirpc's": " ".join((*RPC_OPTIONS, *AUTOTOOLS)),
        "gcc": installed(root)["gcc-14"],
    }
    step = Step("libvirt", inputs=inputs, build=build, title="libvirt", expected=240, space=2 * GIB)
    return cache.get(step) / "root"
