"""What the node's tools say, read from their text; and files and sockets of our own in place of the system's."""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import DeviceError
from flashvisor.host import blkid, e2fs, journal, mount, netlink, networkd, nft, qemu_img, sysctl, systemd, uevent
from flashvisor.host.console import Console, console_devices
from flashvisor.host.netlink import Address

if TYPE_CHECKING:
    from pathlib import Path


def test_blkid_names_a_file_system_before_a_partition_table() -> None:
    assert blkid.parse_export("DEVNAME=/dev/sdb\nLABEL=fv-main\nTYPE=ext4\n") == blkid.Signature("ext4", "fv-main")
    assert blkid.parse_export("PTUUID=1\nPTTYPE=gpt\n") == blkid.Signature("gpt")
    assert blkid.parse_export("") is None


def test_mountinfo_with_optional_fields_and_spaces() -> None:
    text = (
        "36 35 98:0 / /var/lib rw shared:1 master:2 - ext4 /dev/nvme0n1 rw\n"
        "37 35 98:0 / /mnt/a\\040b rw - ext4 /dev/sdb rw\nnonsense\n"
    )
    assert mount.parse_mountinfo(text) == {"/var/lib": "/dev/nvme0n1", "/mnt/a b": "/dev/sdb"}


def test_journal_lines_of_every_form() -> None:
    text = (
        '{"__MONOTONIC_TIMESTAMP":"3500000","_SYSTEMD_UNIT":"a.service","PRIORITY":"4","MESSAGE":"hm"}\n'
        '{"__MONOTONIC_TIMESTAMP":"1","SYSLOG_IDENTIFIER":"kernel","MESSAGE":[104,105,255]}\n'
        "no json\n"
        '{"MESSAGE":null}\n'
    )
    first, second, third = journal.parse(text)
    assert first == journal.Entry(seconds=3.5, unit="a.service", priority=4, text="hm")
    assert (second.unit, second.text, second.priority) == ("kernel", "hi\ufffd", 6)
    assert third.text == ""


def test_addresses_in_the_kernels_own_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "if_indextoname", {2: "eth0"}.__getitem__)
    local = struct.pack("=HH4s", 8, netlink.IFA_LOCAL, socket.inet_aton("192.0.2.10"))
    peer = struct.pack("=HH4s", 8, netlink.IFA_ADDRESS, socket.inet_aton("192.0.2.1"))
    body = netlink.IFADDR.pack(socket.AF_INET, 24, 0, 0, 2) + peer + local
    assert netlink.parse_address(body) == Address(interface="eth0", text="192.0.2.10/24", wide=True)
    tentative = netlink.IFADDR.pack(socket.AF_INET, 24, netlink.IFA_F_TENTATIVE, 0, 2) + local
    assert netlink.parse_address(tentative) is None
    link = netlink.IFADDR.pack(socket.AF_INET, 24, 0, 253, 2) + local
    assert netlink.parse_address(link) == Address(interface="eth0", text="192.0.2.10/24", wide=False)
    assert netlink.parse_address(b"") is None


def test_netlink_messages_end_where_they_lie() -> None:
    whole = netlink.HEADER.pack(18, 20, 0, 0, 0) + b"ab\0\0" + netlink.HEADER.pack(16, 3, 0, 0, 0)
    assert list(netlink.messages(whole)) == [(20, b"ab"), (3, b"")]
    assert list(netlink.messages(netlink.HEADER.pack(0, 20, 0, 0, 0))) == []


def test_the_loopback_has_an_address_and_waiting_for_it_ends_at_once() -> None:
    assert "127.0.0.1/8" in {address.text for address in netlink.addresses()}
    assert netlink.wait_for_address(lambda found: any(each.interface == "lo" for each in found), limit=0)
    assert not netlink.wait_for_address(lambda _: False, limit=0)


def test_lost_netlink_news_are_news_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def recv(self, _size: int) -> bytes:
            raise OSError(errno.ENOBUFS, "lost")

    uevent.drop_news(Full())  # type: ignore[arg-type]
    with pytest.raises(OSError, match="other"):
        uevent.drop_news(type("Bad", (), {"recv": lambda *_: (_ for _ in ()).throw(OSError(5, "other"))})())


def test_waiting_for_a_device_ends_at_once_or_at_its_limit() -> None:
    assert uevent.wait_until(lambda: True, limit=0)
    assert not uevent.wait_until(lambda: False, limit=0)


def test_news_of_udev_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[socket.socket] = []
    news = uevent.news()
    monkeypatch.setattr(uevent, "drop_news", heard.append)
    next(news)
    assert heard == [], "it listens before it waits: what happens meanwhile is not missed"
    next(news)
    assert len(heard) == 1
    news.close()


def test_networkd_files_are_made_exactly_ours(tmp_path: Path) -> None:
    (tmp_path / "80-theirs.network").write_text("theirs")
    (tmp_path / "50-fv-old.network").write_text("old")
    wish = {"50-fv-inside.netdev": "a", "50-fv-inside.network": "b"}
    assert networkd.install(wish, tmp_path)
    assert networkd.installed(tmp_path) == wish
    assert (tmp_path / "80-theirs.network").exists()
    with pytest.raises(RuntimeError):
        networkd.install({"80-theirs.network": ""}, tmp_path)


def test_networkd_reads_what_it_was_not_told_of_the_last_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wish = {"50-fv-inside.network": "b"}
    assert networkd.install(wish, tmp_path)
    assert networkd.install(wish, tmp_path), "the agent may have been killed between writing and reloading"
    FakeTools(tmp_path, monkeypatch).add("systemctl")
    networkd.reload(tmp_path)
    assert not networkd.install(wish, tmp_path)


def test_interfaces_that_change_are_named(tmp_path: Path) -> None:
    old = {
        "30-fv-bo-lan.netdev": "[NetDev]\nName=bo-lan\nKind=bond\n",
        "33-fv-uv-7.netdev": "# On Name=bo-lan\n[NetDev]\nName=uv-7\nKind=vlan\n",
        "50-fv-br-a.netdev": "[NetDev]\nName=br-a\nKind=bridge\n",
        "50-fv-br-a.network": "[Match]\nName=br-a\n",
    }
    networkd.install(old, tmp_path)
    assert networkd.outdated(old, tmp_path) == ()
    new = old | {"33-fv-uv-7.netdev": old["33-fv-uv-7.netdev"].replace("bo-lan", "ub-lan"), "50-fv-br-a.network": ""}
    del new["30-fv-bo-lan.netdev"]
    assert networkd.outdated(new, tmp_path) == ("bo-lan", "uv-7")


def test_name_servers_of_the_uplinks(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert networkd.resolvers(state) == ()
    state.write_text(
        "# This is private data. Do not parse.\nOPER_STATE=routable\nDNS=192.0.2.53#dns.example 2001:db8::53\n"
    )
    assert networkd.resolvers(state) == ("192.0.2.53", "2001:db8::53")


def test_a_kernel_parameter_is_written_only_when_it_differs(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    path = tmp_path / "net/ip_forward"
    path.write_text("0\n")
    sysctl.write("net/ip_forward", "1", tmp_path)
    assert path.read_text() == "1"
    path.write_text("1\n")
    sysctl.write("net/ip_forward", "1", tmp_path)
    assert path.read_text() == "1\n"
    with pytest.raises(DeviceError, match="net/none"):
        sysctl.write("net/none", "1", tmp_path)


@pytest.mark.parametrize(
    ("total", "kib"), [(3_007_676 << 10, 6937), (256 << 30, 65_536), (1 << 20, 128), (1 << 44, 262_144)]
)
def test_the_kernels_own_reserve_grows_with_the_root_of_its_memory(total: int, kib: int) -> None:
    assert sysctl.min_free(total) == kib


def test_systemd_is_told_over_its_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        systemd.notify("READY=1")
        assert manager.recv(100) == b"READY=1"
    monkeypatch.delenv("NOTIFY_SOCKET")
    systemd.notify("READY=1")


@pytest.mark.parametrize(
    ("limit", "process", "seconds"),
    [("60000000", "", 30.0), ("60000000", "me", 30.0), ("60000000", "1", None), ("0", "", None), ("", "", None)],
)
def test_systemd_wants_to_hear_twice_as_often_as_its_limit(
    monkeypatch: pytest.MonkeyPatch, limit: str, process: str, seconds: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", limit)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if process == "me" else process)
    assert systemd.watchdog_interval() == seconds


def test_every_console_of_the_kernel_hears(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "sys/class/tty/console").mkdir(parents=True)
    (tmp_path / "sys/class/tty/console/active").write_text("tty0 ttyS0\n")
    assert console_devices(tmp_path) == (tmp_path / "dev/console", tmp_path / "dev/tty0")
    (tmp_path / "sys/class/tty/console/active").write_text("ttyS0\n")
    assert console_devices(tmp_path) == (tmp_path / "dev/console",)
    (tmp_path / "dev/tty0").touch()
    (tmp_path / "dev/console").touch()
    assert console_devices(tmp_path) == (tmp_path / "dev/console", tmp_path / "dev/tty0")
    Console([*console_devices(tmp_path), tmp_path / "dev/gone"]).say("hello")
    assert (tmp_path / "dev/console").read_bytes() == b"hello\r\n"
    assert (tmp_path / "dev/tty0").read_bytes() == b"hello\r\n"


@pytest.mark.parametrize("label", ["", "x" * 17, "a b"])
def test_a_label_that_ext4_cannot_hold_is_a_bug(tmp_path: Path, label: str) -> None:
    with pytest.raises(RuntimeError):
        e2fs.make_ext4(tmp_path / "disk", label=label)


class FakeTools:
    """Programs on PATH that note how they were called."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._directory = directory
        monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")

    def add(self, name: str, answer: str = "") -> None:
        tool = self._directory / name
        tool.write_text(
            f'#!/bin/sh\necho "$@" >> {self._directory}/calls\ncat >> {self._directory}/in\necho "{answer}"\n'
        )
        tool.chmod(0o755)

    def calls(self) -> str:
        return (self._directory / "calls").read_text()


def test_nft_loads_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = FakeTools(tmp_path, monkeypatch)
    tools.add("nft", "nftables v1.1.3")
    nft.load("table inet x {}\n")
    assert tools.calls() == "-f -\n"
    assert (tmp_path / "in").read_text() == "table inet x {}\n"
    assert nft.version() == "nftables v1.1.3"


def test_systemctl_needs_no_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = FakeTools(tmp_path, monkeypatch)
    tools.add("systemctl")
    systemd.power(systemd.Power.POWEROFF)
    networkd.reload(tmp_path)
    assert tools.calls().splitlines() == [
        "--no-block --job-mode=replace-irreversibly start poweroff.target",
        "reload-or-restart systemd-networkd.service",
    ]


def test_an_images_format_is_given_and_never_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = FakeTools(tmp_path, monkeypatch)
    tools.add("qemu-img", '{\\"format\\": \\"raw\\", \\"virtual-size\\": 512, \\"filename\\": \\"x\\"}')
    assert qemu_img.info(tmp_path / "x", kind="raw").virtual_size == 512
    assert "-f raw" in tools.calls()
