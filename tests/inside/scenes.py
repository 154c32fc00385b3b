"""What guests do under the real libvirt. Each scene is a function of the driver; its name is how a test calls it."""

from __future__ import annotations

import os
import re
import signal
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import libvirt

from flashvisor.guests.domain import Card, DirectKernel, Disk, DiskFormat, DomainSpec, domain_xml
from flashvisor.guests.libvirt_driver import LibvirtDriver
from flashvisor.host.run import run
from flashvisor.model.guest import GuestState

if TYPE_CHECKING:
    from collections.abc import Callable

    from flashvisor.guests.driver import GuestEvent

MEDIA = Path("/media")
LIMIT = 120.0  # seconds
HELLO = DomainSpec(
    name="hello",
    uuid=uuid.UUID(int=7),
    memory=64 << 20,
    cpus=1,
    boot=DirectKernel(str(MEDIA / "kernel"), str(MEDIA / "initrd"), "console=ttyS0"),
    console_socket="/run/console/hello.sock",
    console_log="/run/console/hello.log",
    emulator=str(MEDIA / "emulator"),
)
OTHER = replace(
    HELLO,
    name="other",
    uuid=uuid.UUID(int=8),
    console_socket="/run/console/other.sock",
    console_log="/run/console/other.log",
)
SCENES: dict[str, Callable[[Stage], None]] = {}


class Stage:
    """The real driver, and what it told."""

    def __init__(self, driver: LibvirtDriver) -> None:
        self.driver, self.events = driver, list[tuple[str, GuestState]]()
        driver.subscribe(self._hear)

    def _hear(self, event: GuestEvent) -> None:
        self.events.append((event.name, event.state))

    def up(self, spec: DomainSpec = HELLO) -> None:
        """Starts a guest and waits until its kernel speaks."""
        self.driver.start(spec)
        wait(lambda: "Linux version" in Path(spec.console_log).read_text(errors="replace"))

    def told(self, state: GuestState, name: str = "hello") -> None:
        """Waits for an event."""
        wait(lambda: (name, state) in self.events)


def scene(play: Callable[[Stage], None]) -> Callable[[Stage], None]:
    """Makes a function a scene."""
    SCENES[play.__name__] = play
    return play


def wait(true: Callable[[], bool]) -> None:
    """Returns when something is true."""
    end = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)


def emulated(xml: str) -> str:
    """A guest's XML as emulation takes it: another accelerator, and the CPU that it has. All else is as made."""
    xml = xml.replace('<domain type="kvm">', '<domain type="qemu">')
    xml = re.sub(r'<cpu mode="host-passthrough".*?</cpu>', '<cpu mode="maximum"/>', xml, flags=re.DOTALL)
    xml = re.sub(r"<memballoon[^>]*/>", '<memballoon model="none"/>', xml)
    return re.sub(r'<cpu mode="host-passthrough"[^>]*/>', '<cpu mode="maximum"/>', xml)


def play(name: str) -> None:
    """Plays a scene."""
    create = libvirt.virConnect.createXML

    def create_emulated(connection: Any, xml: str, flags: int = 0) -> Any:  # noqa: ANN401
        return create(connection, emulated(xml), flags)

    libvirt.virConnect.createXML = create_emulated
    with LibvirtDriver() as driver:
        SCENES[name](Stage(driver))


@scene
def from_start_to_forced_stop(stage: Stage) -> None:
    assert "QEMU 10.0" in stage.driver.version()
    stage.up()
    assert stage.driver.domains() == {"hello": GuestState.RUNNING}
    assert stage.driver.console_socket("hello") == Path(HELLO.console_socket)
    stage.driver.stop("hello", force=True)
    stage.told(GuestState.STOPPED)
    assert stage.driver.domains() == {}


@scene
def one_whose_qemu_is_killed_leaves_the_other_alone(stage: Stage) -> None:
    stage.up()
    stage.up(OTHER)
    os.kill(int(Path("/run/libvirt/qemu/other.pid").read_text()), signal.SIGKILL)
    stage.told(GuestState.CRASHED, "other")
    assert stage.driver.domains() == {"hello": GuestState.RUNNING}


@scene
def cards_in_vlans_are_taken(stage: Stage) -> None:
    """Defined and not started: what sets the tags is libvirt, on bridges that only the image's kernel can filter."""
    del stage
    cards = (
        Card("ub-lan", "52:54:00:00:00:01", "tap-hello-0", vlan=20),
        Card("ub-lan", "52:54:00:00:00:02", "tap-hello-1", trunk=(30, 40)),
        Card("br-inside", "52:54:00:00:00:03", "tap-hello-2"),
    )
    connection = libvirt.open("qemu:///system")
    domain = connection.defineXML(emulated(domain_xml(replace(HELLO, cards=cards))))
    tags = [re.findall(r"<tag id='(\d+)'", card) for card in domain.XMLDesc().split("<interface ")[1:]]
    assert tags == [["20"], ["1", "30", "40"], []], domain.XMLDesc()
    domain.undefine()
    connection.close()


@scene
def a_disk_without_room_pauses_the_guest_until_there_is_some(stage: Stage) -> None:
    place = Path("/run/full")
    place.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=2m", "full", place])
    disk = place / "data.raw"
    with disk.open("wb") as file:
        file.truncate(64 << 20)
    boot = DirectKernel(str(MEDIA / "kernel"), str(MEDIA / "keeping-initrd"), (MEDIA / "keeping-cmdline").read_text())
    keeping = replace(HELLO, boot=boot, disks=(Disk(str(disk), DiskFormat.RAW),), memory=128 << 20)
    stage.driver.start(keeping)
    stage.told(GuestState.PAUSED)
    assert stage.driver.stalled() == {"hello"}
    run(["mount", "-o", "remount,size=100m", place])
    stage.driver.resume("hello")
    wait(lambda: disk.stat().st_blocks * 512 > 2 << 20)
    assert stage.driver.domains() == {"hello": GuestState.RUNNING}
    assert stage.driver.stalled() == frozenset()
