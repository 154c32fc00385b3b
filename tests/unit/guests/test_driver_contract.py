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
        return Rig(driver, SPEC, driver.crash, lambda: driver, driver.fail_disk)


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

        # libvirt tells a panic twice: as a crash, and as the stop that follows (on_crash = destroy).
        yield Rig(drivers[0], SPEC, lambda name: sim.end(name, (8, 0), (5, 2)), again, fail_disk)
        for driver in drivers:
            driver.close()
