"""What a server stands on: the real hypervisor, machine and network, or fakes of equal rank.

Owns which of them is taken. Only what is taken is imported: the start of a server counts every module, and the driver
comes first because its hypervisor takes longest to answer.

Example::

    driver = make_driver(settings)                  # begins to look for its hypervisor
    outside = find_outside(settings, driver)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from flashvisor.guests.driver import Driver
    from flashvisor.node.machine import Machine
    from flashvisor.node.probes import Asker, Ways
    from flashvisor.node.settings import Settings
    from flashvisor.node.slotwork import Slots


@dataclass(frozen=True)
class Outside:
    """What a server stands on.

    Args:
        driver: Its hypervisor.
        machine: Its disks, networks and power.
        asker: Makes who asks guests whether they are there.
        slots: Its flash, where that is not real.
    """

    driver: Driver
    machine: Machine
    asker: Callable[[Ways], Asker]
    slots: Slots | None = None


def make_driver(settings: Settings) -> Driver:
    """Returns the hypervisor's driver. It goes on trying to reach its hypervisor from the moment it is made."""
    if settings.fake:
        from flashvisor.guests.fake import FakeDriver

        return FakeDriver()
    from flashvisor.guests.libvirt_driver import LibvirtDriver

    return LibvirtDriver()


def find_outside(settings: Settings, driver: Driver) -> Outside:
    """Returns all that the server stands on."""
    if settings.fake:
        from flashvisor.node.fakemachine import FakeAsker, FakeMachine, blank_disk
        from flashvisor.node.fakeslots import FakeSlots

        fake = FakeMachine(blank_disk(serial) for serial in settings.fake_disks)
        return Outside(driver, fake, lambda ways: FakeAsker(ways, prompt=True), FakeSlots(prompt=True))
    from flashvisor.node.machine import RealMachine
    from flashvisor.node.probes import Prober

    machine = RealMachine(settings.state)
    return Outside(driver, machine, lambda ways: Prober(ways, machine.reachable))
