"""What the kernel says of this machine, from /proc, /sys and /etc. Reads only.

Does not own block devices (block.py) or addresses (netlink.py).

Example::

    memory().total
    [card.name for card in cards()]
    lockdown()          # "integrity"
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path("/")
KIB = 1 << 10  # bytes
SECTOR = 512  # bytes; the unit of /sys/block/*/stat whatever the device's own is
KMSG_LIMIT = 8192  # bytes; a record is never longer
INIT_WORDS = "as init process"  # init/main.c, run_init_process: "Run /sbin/init as init process"
SECTORS_WRITTEN = 6  # field of /sys/block/*/stat (Documentation/block/stat.rst)


@dataclass(frozen=True)
class Memory:
    """Bytes of RAM: all, and what new programs can have without swapping."""

    total: int
    available: int


@dataclass(frozen=True)
class Card:
    """A physical network card. `mac` is its own address, also in a bond; `over` are the interfaces on top of it."""

    name: str
    mac: str
    up: bool
    driver: str
    over: tuple[str, ...] = ()


def memory(root: Path = ROOT) -> Memory:
    """Returns MemTotal and MemAvailable of /proc/meminfo."""
    lines = (line.split() for line in _text(root / "proc/meminfo").splitlines())
    values = {words[0].rstrip(":"): int(words[1]) * KIB for words in lines if len(words) > 1}
    return Memory(total=values.get("MemTotal", 0), available=values.get("MemAvailable", 0))


def cards(root: Path = ROOT) -> tuple[Card, ...]:
    """Returns the physical Ethernet cards by name; bridges, taps and the like have no device behind them."""
    found = []
    for place in sorted((root / "sys/class/net").glob("*")):
        if (place / "device").exists() and _text(place / "type") == "1":  # ARPHRD_ETHER
            driver = place / "device/driver"
            name = driver.resolve().name if driver.exists() else ""
            up = _text(place / "operstate") == "up"
            mac = _text(place / "bonding_slave/perm_hwaddr") or _text(place / "address")
            found.append(Card(name=place.name, mac=mac, up=up, driver=name, over=tuple(_over(place))))
    return tuple(found)


def interfaces(root: Path = ROOT) -> tuple[str, ...]:
    """Returns the names of all network interfaces."""
    return tuple(sorted(place.name for place in (root / "sys/class/net").glob("*") if place.is_dir()))


def _over(place: Path) -> Iterator[str]:
    """The interfaces on top of one, however high (Documentation/ABI/testing/sysfs-class-net: upper_*)."""
    for upper in sorted(place.glob("upper_*")):
        name = upper.name.removeprefix("upper_")
        yield name
        yield from _over(place.parent / name)


def arp(root: Path = ROOT) -> dict[str, str]:
    """Returns IPv4 address to MAC address of every neighbour that has answered (/proc/net/arp)."""
    rows = (line.split() for line in _text(root / "proc/net/arp").splitlines()[1:])
    # Flag 0x2: the entry is complete (ATF_COM).
    return {row[0]: row[3] for row in rows if len(row) > 3 and int(row[2], 16) & 0x2}


def os_release(root: Path = ROOT) -> dict[str, str]:
    """Returns the pairs of os-release(5)."""
    pairs = (line.partition("=") for line in _text(root / "etc/os-release").splitlines())
    return {key: value.strip("\"'") for key, equals, value in pairs if equals}


def dated(path: Path) -> float:
    """Returns when a file was changed last, in seconds since 1970 UTC; 0 if it is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def handover_seconds(device: Path = Path("/dev/kmsg")) -> float | None:
    """Returns when the kernel started PID 1, in seconds since it started itself; None if its log does not say.

    Source: Documentation/ABI/testing/dev-kmsg: one record a read, "priority,number,microseconds,flags;text".
    """
    try:
        handle = os.open(device, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return next((when for when, text in _kernel_log(handle) if INIT_WORDS in text), None)
    finally:
        os.close(handle)


def _kernel_log(handle: int) -> Iterator[tuple[float, str]]:
    while True:
        try:
            raw = os.read(handle, KMSG_LIMIT)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EPIPE:  # records were overwritten meanwhile: the next read goes on after them
                return
            continue
        if not raw:
            return
        head, _, text = raw.decode(errors="replace").partition(";")
        fields = head.split(",")
        if len(fields) > 2 and fields[2].isdecimal():
            yield int(fields[2]) / 1_000_000, text


def boot_id(root: Path = ROOT) -> str:
    """Returns the kernel's name for this boot: other at every boot (random(4))."""
    return _text(root / "proc/sys/kernel/random/boot_id")


def cpus() -> int:
    """Returns how many CPUs this process may run on."""
    return len(os.sched_getaffinity(0))


def kernel_release() -> str:
    """Returns what `uname -r` says."""
    return os.uname().release


def lockdown(root: Path = ROOT) -> str:
    """Returns the kernel's lockdown mode: "none", "integrity", "confidentiality", or "" if it has none."""
    words = _text(root / "sys/kernel/security/lockdown").split()
    return next((word.strip("[]") for word in words if word.startswith("[")), "")


def modules_signed(root: Path = ROOT) -> bool:
    """Tells whether the kernel takes signed modules only."""
    return _text(root / "sys/module/module/parameters/sig_enforce") == "Y"


def has_kvm(root: Path = ROOT) -> bool:
    """Tells whether KVM is loaded. Its node in /dev says nothing: it is there before, to load KVM when it is opened."""
    return (root / "sys/class/misc/kvm").exists()


def has_tpm2(root: Path = ROOT) -> bool:
    """Tells whether the kernel drives a TPM 2.0."""
    return _text(root / "sys/class/tpm/tpm0/tpm_version_major") == "2"


def armed_watchdog(root: Path = ROOT) -> str:
    """Returns the name of the hardware watchdog that counts now, or "" if none does.

    watchdog0 is the one that systemd takes. Source: Documentation/ABI/testing/sysfs-class-watchdog.
    """
    place = root / "sys/class/watchdog/watchdog0"
    return _text(place / "identity") or place.name if _text(place / "state") == "active" else ""


def root_readonly(root: Path = ROOT) -> bool:
    """Tells whether the root file system is mounted read-only."""
    return bool(os.statvfs(root).f_flag & os.ST_RDONLY)


def bytes_written(disk: str, root: Path = ROOT) -> int:
    """Returns the bytes written to a disk since boot, by the kernel's own count; 0 if there is no such disk."""
    fields = _text(root / "sys/block" / disk / "stat").split()
    return int(fields[SECTORS_WRITTEN]) * SECTOR if len(fields) > SECTORS_WRITTEN else 0


def disk_of_partition(device: Path, root: Path = ROOT) -> str:
    """Returns the name of the whole disk that a partition is on ("sda" for /dev/sda4), or "" if it is unknown."""
    place = root / "sys/class/block" / device.resolve().name
    if (place / "partition").exists():
        return place.resolve().parent.name
    return place.name if place.exists() else ""


def _text(path: Path) -> str:
    """A pseudo file's text without its end of line; "" if it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
