"""New flash in place of a lost one: which disk may become it, and burning it with an image and this server's memory.

Owns the rules and the order. Does not own what is written (flash/streamburn.py, flash/carryover.py), nor the flash
that runs (flashkeeper.py)::

    new = NewFlash(keeper, machine, wish)
    new.media()
    burning = new.begin("sdb", None, size)
    for chunk in chunks:
        burning.take(chunk)
    for news in burning.finish(): ...
    burning.close()
"""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

from flashvisor.api.types import BurnNews, BurnReport, Medium
from flashvisor.errors import BadRequestError, BusyError, DeviceError, FlashvisorError, FlashWorksError
from flashvisor.flash.burn import check_target
from flashvisor.flash.carryover import carry_over, differences
from flashvisor.flash.layout import DEVICE_SIZE, STATE
from flashvisor.flash.ramdevice import RamDevice
from flashvisor.flash.ring import Ring
from flashvisor.flash.streamburn import StreamBurn
from flashvisor.host.block import BlockFile
from flashvisor.node.enrolment import refused_slots
from flashvisor.node.storage import names_disk, use_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flashvisor.host.block import DiskFacts
    from flashvisor.node.flashkeeper import FlashKeeper
    from flashvisor.node.machine import Machine
    from flashvisor.node.plan import Desired
    from flashvisor.node.storage import DataDisk

log = logging.getLogger(__name__)

FLASH_LIMIT = 20.0  # seconds until a burnt device's partitions must have appeared
NOT_YET = "the server has not found its memory on the device yet: take the old device out, or put the new one in again"
STORAGE = "storage "  # begins the use of a disk that holds a storage of ours (node/storage.py)


class NewFlash:
    """Burns a new flash device for a server whose flash is lost. One burn at a time.

    Args:
        keeper: The running flash.
        machine: Tells which disks there are.
        wish: The site in force: its data disks are never taken.
    """

    def __init__(self, keeper: FlashKeeper, machine: Machine, wish: Callable[[], Desired | None]) -> None:
        self._keeper, self._machine, self._wish = keeper, machine, wish
        self._busy = threading.Lock()

    def media(self) -> tuple[Medium, ...]:
        """Returns all disks, with why one is not taken."""
        return tuple(
            Medium(
                name=disk.name,
                serial=disk.serial,
                model=disk.model,
                size=disk.size,
                removable=disk.removable,
                refusal=_refusal(disk, data, self._wish()),
            )
            for disk, data in self._disks()
        )

    def begin(self, name: str, serial: str | None, size: int) -> Burning:
        """Opens a disk for a flash image that is about to come. The caller closes what it gets.

        Args:
            name: The kernel's name for the disk.
            serial: Its serial number; needed if it does not say that it is removable.
            size: Bytes of the image.

        Raises:
            BusyError: another burn is under way.
            FlashWorksError: the server's flash works.
            DeviceError: there is no such disk, or it is not meant. Nothing was written.
            BadRequestError: the image has another size than a flash image.
        """
        with ExitStack() as stack:
            if not self._busy.acquire(blocking=False):
                raise BusyError("the server is busy with burning a flash device")
            stack.callback(self._busy.release)
            if self._keeper.look(closely=True):
                raise FlashWorksError("this server's flash works")
            if size != DEVICE_SIZE:
                raise BadRequestError(f"expected a flash image of {DEVICE_SIZE} bytes, got {size}")
            disk, data = next((pair for pair in self._disks() if pair[0].name == name), (None, None))
            if disk is None:
                raise DeviceError(f"this server has no disk '{name}'", next_step="Call again without its name.")
            check_medium(disk, data, self._wish(), serial)
            log.warning("burning %s in place of the lost flash", disk.path)
            target = stack.enter_context(BlockFile(disk.path, write=True))
            return Burning(disk, target, self._keeper, self._machine, stack.pop_all())

    def _disks(self) -> list[tuple[DiskFacts, DataDisk | None]]:
        held = {disk.device: disk for disk in self._machine.disks()}
        return [(disk, held.get(str(disk.path))) for disk in self._machine.media()]


class Burning:
    """A burn under way.

    Args:
        disk: What is burned.
        target: It, open for writing.
        keeper: The running flash: lost.
        machine: Waits for the new partitions.
        stack: Closes the target and ends the burn.
    """

    def __init__(
        self, disk: DiskFacts, target: BlockFile, keeper: FlashKeeper, machine: Machine, stack: ExitStack
    ) -> None:
        self._disk, self._target, self._keeper, self._machine = disk, target, keeper, machine
        self._stack = stack
        self._burn = StreamBurn(target, DEVICE_SIZE)

    def take(self, chunk: bytes) -> None:
        """Takes the image's next bytes; raises as `StreamBurn.take`."""
        self._burn.take(chunk)

    def finish(self) -> Iterator[BurnNews]:
        """Writes this server's memory, reads all back, and takes the device for the server's flash.

        Raises:
            BadRequestError: the image is not whole.
            LayoutError: the image does not say what its slots hold.
            DeviceFaultyError: the device failed, or gave back other bytes than were written.
        """
        mine, brought = self._keeper.ring, Ring.open(self._burn.state)
        with self._keeper.lock:
            memory = RamDevice(STATE.size)
            ring = carry_over(mine, brought, memory)
        self._burn.complete(memory)
        for count in self._burn.compare():
            yield BurnNews(compared=count)
        self._target.reread_table()
        self._target.close()
        self._keeper.become(ring)
        works = self._machine.wait_for_flash(self._disk.path, self._keeper.look, FLASH_LIMIT)
        report = BurnReport(
            device=str(self._disk.path),
            size=DEVICE_SIZE,
            sha256=self._burn.sha256,
            in_use=works,
            notes=(*differences(mine, brought), *(self._refused_by_firmware() if works else (NOT_YET,))),
        )
        log.warning("%s is burnt%s", self._disk.path, ", and this server's flash now" if works else "")
        yield BurnNews(done=report)

    def _refused_by_firmware(self) -> tuple[str, ...]:
        try:
            slots = refused_slots(self._machine)
        except FlashvisorError as error:
            return (f"whether the firmware will start the image is not known: {error.what}",)
        if not slots:
            return ()
        return (
            f"Secure Boot is on, and the image in {' and '.join(slots)} is not signed with a key of this server's "
            "firmware: it will not start; burn one that is, before the server goes down",
        )

    def close(self) -> None:
        """Lets go of the device; may be called again."""
        self._stack.close()


def check_medium(disk: DiskFacts, data: DataDisk | None, wish: Desired | None, serial: str | None) -> None:
    """Refuses a disk that must not become flash. Pure.

    Args:
        disk: What the kernel knows of it.
        data: What is on it, if it was looked at.
        wish: The site in force.
        serial: As for `check_target`.

    Raises:
        DeviceError: it is a data disk, or `check_target` refuses it.
    """
    use = use_of(data) if data else ""
    if use.startswith(STORAGE):
        raise DeviceError(f"{disk.path} is a data disk: it holds {use}", next_step="Name another device.")
    wished = wish.site.storage if wish else {}
    named = [name for name, storage in wished.items() if data and names_disk(storage, data)]
    if named:
        raise DeviceError(f"{disk.path} is the data disk of storage {named[0]}", next_step="Name another device.")
    check_target(disk, DEVICE_SIZE, serial)


def _refusal(disk: DiskFacts, data: DataDisk | None, wish: Desired | None) -> str:
    try:
        check_medium(disk, data, wish, None)
    except DeviceError as error:
        return error.what
    return ""
