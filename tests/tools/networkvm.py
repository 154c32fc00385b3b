"""A machine with the image's own kernel, nft and networkd: for what this machine's kernel cannot do with networks.

Four cards, joined two and two: what the server's card `eth0` sends comes out of `eth2`, and `eth1`'s of `eth3`.

Example::

    results, log = run_machine(tmp_path, [{"units": units}, {"wait": [["eth0", "192.0.2.10/24"]]}])
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashvisor.cli.buildtools import open_cache, open_keyring
from flashvisor.host import cpio, qemu_system
from flashvisor.host.run import run
from flashvisor.image.elf import closure
from flashvisor.image.kernel import kernel
from flashvisor.image.trees import build_root, root_packages
from sim.netinit import RESULT

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAMS = ("usr/bin/python3.13", "usr/sbin/nft", "usr/bin/kmod", "usr/bin/mount", "usr/lib/systemd/systemd-networkd")
# Opened when they are wanted, so that no ELF header names them.
OPENED = ("usr/lib/x86_64-linux-gnu/libkmod.so.2", "usr/lib/x86_64-linux-gnu/libseccomp.so.2")
LINKS = {
    "sbin": "usr/sbin",
    "bin": "usr/bin",
    "lib": "usr/lib",
    "lib64": "usr/lib64",
    "usr/sbin/modprobe": "../bin/kmod",
}
OURS = ("__init__", "errors", "host/__init__", "host/netlink", "host/clock", "host/uevent")
NOT_NEEDED = shutil.ignore_patterns(
    "test", "lib-dynload", "__pycache__", "dist-packages", "idlelib", "tkinter", "ensurepip"
)
CHECKOUT = Path(__file__).parents[2]
CARDS = ("52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:11", "52:54:00:00:00:12")
WIRES = 2  # card n and card n + 2 are on one wire
LIMIT = 150.0  # seconds; about 25 on an idle machine
LIBRARIES = "usr/lib/x86_64-linux-gnu"


def run_machine(work: Path, steps: Sequence[dict[str, Any]]) -> tuple[list[Any], str]:
    """Starts the machine, has it do the steps, and returns what it saw at each and what networkd said."""
    cache = open_cache()
    boot = kernel(cache, open_keyring().module_key)
    top = work / "top"
    _fill(top, root_packages(cache), boot)
    (top / "plan.json").write_text(json.dumps(list(steps)))
    cpio.pack(build_root(cache), work, "top", "initrd", epoch=0)
    argv = [
        qemu_system.PROGRAM, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-machine", "q35", "-accel", "tcg", "-cpu", "max,-la57", "-m", "512M", "-smp", "1",
        "-kernel", str(boot / "bzImage"), "-initrd", str(work / "initrd"),
        "-append", "console=ttyS0 quiet panic=-1 net.ifnames=0", "-serial", f"file:{work / 'serial'}",
    ]  # fmt: skip
    for number, mac in enumerate(CARDS):
        argv += ["-netdev", f"hubport,id=n{number},hubid={number % WIRES}"]
        argv += ["-device", f"virtio-net-pci,netdev=n{number},mac={mac},romfile=,addr={number + 4}"]
    run(argv, timeout=LIMIT)
    text = (work / "serial").read_text(errors="replace")
    assert RESULT in text, text
    said = json.loads(text.partition(f"\n{RESULT}")[2].splitlines()[0])
    return said["results"], said["networkd"]


def _fill(top: Path, tree: Path, boot: Path) -> None:
    for name in ("proc", "sys", "run", "dev", "tmp", "etc", "usr/lib64", "test/sim"):
        (top / name).mkdir(parents=True)
    programs = [tree / name for name in (*PROGRAMS, *OPENED)]
    files = {name: tree / name for name in (*PROGRAMS, *OPENED)}
    files |= {f"{LIBRARIES}/{name}": path for name, path in closure(programs, [tree]).items()}
    files |= {f"etc/{name}": CHECKOUT / "src/flashvisor/image/recipe/root/etc" / name for name in ("passwd", "group")}
    files |= {f"test/flashvisor/{name}.py": CHECKOUT / f"src/flashvisor/{name}.py" for name in OURS}
    files |= {"test/sim/netdrive.py": CHECKOUT / "tests/sim/netdrive.py", "init": CHECKOUT / "tests/sim/netinit.py"}
    for name, source in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source.resolve(), top / name)
    (top / "init").write_text("#!/usr/bin/python3.13 -IB\n" + (top / "init").read_text())
    (top / "init").chmod(0o755)
    (top / "usr/lib64/ld-linux-x86-64.so.2").symlink_to(f"/{LIBRARIES}/ld-linux-x86-64.so.2")
    for name, target in LINKS.items():
        (top / name).symlink_to(target)
    shutil.copytree(tree / "usr/lib/python3.13", top / "usr/lib/python3.13", ignore=NOT_NEEDED, symlinks=True)
    shutil.copytree(boot / "modules/lib/modules", top / "usr/lib/modules", symlinks=True)
