"""The contract, kept by the fake and by the real driver on a simulated libvirt."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from flashvisor.guests.domain import Bios, DomainSpec
from flashvisor.guests.driver import DiskFault
from flashvisor.guests.fake import FakeDriver
from flashvisor.guests.libvirt_driver import LibvirtDriver
from sim.drivercontract import DriverContract, Rig
from sim.libvirtsim import LibvirtSim

if TYPE_CHECKING:
    from collections.abc import Iterator

SPEC = DomainSpec(
    name="web",
    uuid=uuid.UUID(int=7),
    memory=64 << 20,
    cpus=1,
    boot=Bios(),
    console_socket="/run/flashvisor/console/web.sock",
)


class TestFake(DriverContract):
    @pytest.fixture
    def rig(self) -> Rig:
        driver = FakeDriver()
        return Rig(driver, SPEC, driver.crash, lambda: driver, driver.fail_disk, driver.bite, driver.agents.add)


class TestLibvirtOnASimulator(DriverContract):
    @pytest.fixture
    def rig(self) -> Iterator[Rig]:
        sim = LibvirtSim()
        drivers = [LibvirtDriver(libvirt=sim)]

        def again() -> LibvirtDriver:
            drivers.append(LibvirtDriver(libvirt=sim))
            return drivers[-1]

        def fail_disk(name: str, fault: DiskFault) -> None:
            sim.fail_disk(name, fault.path, "enospc" if fault.full else "message")

        def bite(name: str) -> None:
            sim.bite(name, 2)

        yield Rig(drivers[0], SPEC, sim.panic, again, fail_disk, bite, sim.agents.add)
        for driver in drivers:
            driver.close()
