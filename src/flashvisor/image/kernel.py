"""The kernel, compiled from Debian's source package with our own configuration.

Owns the kernel's build and what its result holds: `bzImage`, `modules/lib/modules/VERSION/`, `System.map`,
`release` and `nolibc` (for recipe/init.c).
The configuration is `allnoconfig` plus recipe/kernel.config, and every line of that file must hold in the end.
"""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING

from flashvisor.errors import KernelConfigError
from flashvisor.host.files import GIB
from flashvisor.image.cache import Step, digest
from flashvisor.image.recipes import RECIPE
from flashvisor.image.trees import build_root, installed
from flashvisor.image.workshop import EPOCH, JOBS, workshop

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.image.cache import Cache

SOURCE_PACKAGE = "linux-source-6.12"
TOOLCHAIN = ("gcc-14", "binutils", "bison", "flex", SOURCE_PACKAGE)
MODULE_KEY = "certs/owner.pem"  # as CONFIG_MODULE_SIG_KEY says
# Named here so that neither the builder's name nor the time of day gets into the bytes.
STAMPS = {
    "KBUILD_BUILD_TIMESTAMP": "2026-01-01 00:00:00 UTC",
    "KBUILD_BUILD_USER": "flashvisor",
    "KBUILD_BUILD_HOST": "flashvisor",
    "KCONFIG_NOTIMESTAMP": "1",
}


def kernel(cache: Cache, module_key: str) -> Path:
    """Returns the directory with the kernel and its modules.

    Args:
        cache: The build cache.
        module_key: PEM text, private key and certificate: modules are signed with it, and only it is accepted.

    Raises:
        KernelConfigError: an option of the recipe did not survive Kconfig.
    """
    return cache.get(kernel_step(cache, module_key))


def kernel_step(cache: Cache, module_key: str) -> Step:
    """Returns the step, for those who ask whether it has run."""
    root = build_root(cache)
    versions = installed(root)
    config = (RECIPE / "kernel.config").read_text()
    inputs = {name: versions[name] for name in TOOLCHAIN}
    inputs |= {
        "config": digest(config),
        "module key": digest(module_key),
        "stamps": digest(str({**STAMPS, "SOURCE_DATE_EPOCH": str(EPOCH)})),
    }
    return Step(
        "kernel",
        inputs=inputs,
        build=partial(_compile, root=root, config=config, module_key=module_key, cache=cache),
        title="Linux kernel and drivers",
        expected=800,
        space=4 * GIB,
    )


def unmet(wanted: str, finished: str) -> list[str]:
    """Returns the lines of a configuration fragment that a finished configuration does not hold. Pure."""
    have = dict(_settings(finished))
    return [
        f"{name}: want {value}, got {have.get(name, 'n')}"
        for name, value in _settings(wanted)
        if have.get(name, "n") != value
    ]


def _settings(text: str) -> list[tuple[str, str]]:
    lines = (line.strip() for line in text.splitlines())
    return [(name, value) for name, mark, value in (line.partition("=") for line in lines if line[:1] != "#") if mark]


def _compile(place: Path, *, root: Path, config: str, module_key: str, cache: Cache) -> None:
    with workshop(root, place, cache.root / "logs/kernel.log") as shop:
        shop.run("tar", "-xf", f"/usr/src/{SOURCE_PACKAGE}.tar.xz", "--strip-components=1")
        (shop.work / "fragment.config").write_text(config)
        shop.run("make", "-s", "allnoconfig", "KCONFIG_ALLCONFIG=fragment.config", env=STAMPS)
        if lost := unmet(config, (shop.work / ".config").read_text()):
            raise KernelConfigError(
                f"{len(lost)} options of recipe/kernel.config are not in the finished configuration",
                evidence="\n".join(lost),
            )
        # Not under kbuild's own name, certs/signing_key.pem: that one kbuild makes anew, with a random key.
        (shop.work / MODULE_KEY).write_text(module_key)
        shop.run("make", "-s", f"-j{JOBS}", "bzImage", "modules", env=STAMPS)
        install = ("INSTALL_MOD_PATH=/mnt/out", "INSTALL_MOD_STRIP=--strip-unneeded", "DEPMOD=true")
        shop.run("make", "-s", *install, "modules_install", env=STAMPS)
        version = (shop.work / "include/config/kernel.release").read_text().strip()
        (shop.work / "out/lib/modules" / version / "build").unlink(missing_ok=True)
        shop.run("depmod", "-b", "/mnt/out", version)
        shop.keep("arch/x86/boot/bzImage", place)
        shop.keep(".config", place)
        shop.keep("System.map", place)
        shutil.copytree(shop.work / "tools/include/nolibc", place / "nolibc")
        shutil.copytree(shop.work / "out", place / "modules", symlinks=True)
        (place / "release").write_text(version)
