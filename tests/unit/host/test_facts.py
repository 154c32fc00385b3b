"""Facts, from a /proc and /sys of our own making."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.host import facts

if TYPE_CHECKING:
    from pathlib import Path


def put(root: Path, name: str, text: str | bytes) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def test_memory_is_bytes(tmp_path: Path) -> None:
    put(tmp_path, "proc/meminfo", "MemTotal:  2048 kB\nMemFree: 1 kB\nMemAvailable: 1024 kB\nHugePages_Total: 0\n")
    assert facts.memory(tmp_path) == facts.Memory(total=2 << 20, available=1 << 20)


def test_only_physical_ethernet_cards_count(tmp_path: Path) -> None:
    for name, kind in (("eth0", "1"), ("br-inside", "1"), ("lo", "772"), ("ib0", "32")):
        put(tmp_path, f"sys/class/net/{name}/type", f"{kind}\n")
        put(tmp_path, f"sys/class/net/{name}/address", "52:54:00:00:00:01\n")
        put(tmp_path, f"sys/class/net/{name}/operstate", "up\n")
    for name in ("eth0", "ib0"):
        (tmp_path / f"sys/class/net/{name}/device").mkdir()
    (tmp_path / "sys/bus/drivers/igb").mkdir(parents=True)
    (tmp_path / "sys/class/net/eth0/device/driver").symlink_to(tmp_path / "sys/bus/drivers/igb")
    assert facts.cards(tmp_path) == (facts.Card(name="eth0", mac="52:54:00:00:00:01", up=True, driver="igb"),)


def test_interfaces(tmp_path: Path) -> None:
    (tmp_path / "sys/class/net/br-inside/bridge").mkdir(parents=True)
    (tmp_path / "sys/class/net/eth0").mkdir()
    put(tmp_path, "sys/class/net/bonding_masters", "bo-lan\n")
    assert facts.interfaces(tmp_path) == ("br-inside", "eth0")


def test_a_card_in_a_bond_keeps_its_own_address_and_knows_what_is_over_it(tmp_path: Path) -> None:
    for name in ("eth0", "bo-lan", "ub-lan", "uv-7"):
        put(tmp_path, f"sys/class/net/{name}/address", "52:54:00:00:00:01\n")
        put(tmp_path, f"sys/class/net/{name}/type", "1\n")
    put(tmp_path, "sys/class/net/eth0/bonding_slave/perm_hwaddr", "52:54:00:00:00:02\n")
    (tmp_path / "sys/class/net/eth0/device").mkdir()
    for below, above in (("eth0", "bo-lan"), ("bo-lan", "ub-lan"), ("ub-lan", "uv-7")):
        (tmp_path / f"sys/class/net/{below}/upper_{above}").symlink_to(f"../{above}")
    card = facts.cards(tmp_path)[0]
    assert (card.mac, card.over) == ("52:54:00:00:00:02", ("bo-lan", "ub-lan", "uv-7"))


def test_only_neighbours_that_answered(tmp_path: Path) -> None:
    head = "IP address  HW type  Flags  HW address  Mask  Device\n"
    rows = "10.77.0.10 0x1 0x2 52:54:00:00:00:01 * br-inside\n10.77.0.11 0x1 0x0 00:00:00:00:00:00 * br-inside\n"
    put(tmp_path, "proc/net/arp", head + rows)
    assert facts.arp(tmp_path) == {"10.77.0.10": "52:54:00:00:00:01"}


def test_kvm_is_there_once_it_is_registered_and_not_by_its_node(tmp_path: Path) -> None:
    put(tmp_path, "dev/kvm", "")
    assert not facts.has_kvm(tmp_path)
    (tmp_path / "sys/class/misc/kvm").mkdir(parents=True)
    assert facts.has_kvm(tmp_path)


def test_os_release(tmp_path: Path) -> None:
    put(tmp_path, "etc/os-release", 'IMAGE_ID=flashvisor\nIMAGE_VERSION="0.1.0"\n# comment\n')
    assert facts.os_release(tmp_path) == {"IMAGE_ID": "flashvisor", "IMAGE_VERSION": "0.1.0"}


def test_lockdown_and_signatures(tmp_path: Path) -> None:
    assert (facts.lockdown(tmp_path), facts.modules_signed(tmp_path), facts.has_tpm2(tmp_path)) == ("", False, False)
    put(tmp_path, "sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
    put(tmp_path, "sys/module/module/parameters/sig_enforce", "Y\n")
    put(tmp_path, "sys/class/tpm/tpm0/tpm_version_major", "2\n")
    assert facts.lockdown(tmp_path) == "integrity"
    assert facts.modules_signed(tmp_path)
    assert facts.has_tpm2(tmp_path)


def test_bytes_written_are_the_kernels_count(tmp_path: Path) -> None:
    put(tmp_path, "sys/block/sda/stat", "   1  2  3  4  5  6  7  8  9 10 11\n")
    assert facts.bytes_written("sda", tmp_path) == 7 * 512
    assert facts.bytes_written("sdb", tmp_path) == 0


def test_the_disk_of_a_partition(tmp_path: Path) -> None:
    disk = tmp_path / "sys/devices/sda"
    put(tmp_path, "sys/devices/sda/sda4/partition", "4\n")
    (tmp_path / "sys/class/block").mkdir(parents=True)
    (tmp_path / "sys/class/block/sda4").symlink_to(disk / "sda4")
    (tmp_path / "sys/class/block/sda").symlink_to(disk)
    assert facts.disk_of_partition(tmp_path / "dev/sda4", tmp_path) == "sda"
    assert facts.disk_of_partition(tmp_path / "dev/sda", tmp_path) == "sda"
    assert facts.disk_of_partition(tmp_path / "dev/sdb1", tmp_path) == ""


def test_when_the_kernel_handed_over(tmp_path: Path) -> None:
    put(tmp_path, "kmsg", "6,700,1618033,-;Run /sbin/init as init process\n SUBSYSTEM=x\n")
    assert facts.handover_seconds(tmp_path / "kmsg") == 1.618033
    put(tmp_path, "other", "6,1,5,-;hello\n")
    assert facts.handover_seconds(tmp_path / "other") is None
    assert facts.handover_seconds(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("state", "identity", "armed"),
    [("active", "i6300ESB timer", "i6300ESB timer"), ("active", "", "watchdog0"), ("inactive", "iTCO_wdt", "")],
)
def test_only_a_watchdog_that_counts_is_armed(tmp_path: Path, state: str, identity: str, armed: str) -> None:
    assert facts.armed_watchdog(tmp_path) == ""
    put(tmp_path, "sys/class/watchdog/watchdog0/state", f"{state}\n")
    put(tmp_path, "sys/class/watchdog/watchdog0/identity", f"{identity}\n")
    assert facts.armed_watchdog(tmp_path) == armed
