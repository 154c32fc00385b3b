"""The running flash: its state ring, that it is there, and what happens when it is not.

A server needs its flash to start and to remember, not to run: all that it remembers is in RAM as well. So a flash that
was pulled or that fails is a problem in plain words, and nothing else stops. The same device is taken up again when it
comes back, and so is a new one that was burned with this server's memory (newflash.py)::

    with FlashKeeper(settings.state, problems, copy=settings.memory_copy) as keeper:
        state = NodeState(keeper.ring, keeper.lock)
        keeper.watch()          # never returns
"""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

from flashvisor.errors import DeviceError, DeviceFaultyError, FlashLostError, FlashvisorError, FlashWorksError
from flashvisor.flash.carryover import copy, is_memory_of
from flashvisor.flash.ring import Book, Ring, unheard
from flashvisor.host import block, uevent
from flashvisor.host.block import BlockFile
from flashvisor.host.files import replacing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from flashvisor.node.problems import Problems

T = TypeVar("T")

log = logging.getLogger(__name__)

ABOUT = "flash"
COPY_MODE = 0o600  # it holds the server's private key
LOOK = 4096  # bytes that are read to see whether the flash still answers
LOST = (
    "the flash was pulled or died: guests go on, but nothing new can be remembered; put in a new device and run "
    "`flashvisor burn --via NODE IMAGE`"
)
STRANGE = "the flash was pulled or died, and the device that is there now does not hold this server's memory"
BACK = "this server's flash works again: the old device came back while a new one was burned"


class FlashPort:
    """The flash as the state ring sees it: a FlashDevice that may be gone for a while. Used under the keeper's lock."""

    def __init__(self, on_fault: Callable[[DeviceFaultyError], None]) -> None:
        self._on_fault = on_fault
        self.device: BlockFile | None = None
        self.size = 0

    def read(self, offset: int, length: int) -> bytes:
        """Returns bytes; raises FlashLostError."""
        return self._ask(lambda device: device.read(offset, length))

    def write(self, offset: int, data: bytes) -> None:
        """Writes bytes; raises FlashLostError."""
        self._ask(lambda device: device.write(offset, data))

    def flush(self) -> None:
        """Returns when all would survive a cut of power; raises FlashLostError."""
        self._ask(lambda device: device.flush())

    def _ask(self, call: Callable[[BlockFile], T]) -> T:
        if self.device is None:
            raise FlashLostError("the server's flash was pulled or died: nothing was written")
        try:
            return call(self.device)
        except DeviceFaultyError as error:
            self._on_fault(error)
            raise FlashLostError("the server's flash does not answer", evidence=error.what) from error


class FlashKeeper:
    """Holds the flash's state ring open. A context manager.

    Args:
        path: The state ring's partition: where it is now, whichever device that is.
        problems: Hears when the flash is lost and when it is back.
        copy: A file in RAM for what must outlive the agent while the flash is lost.
        book: Hears what the ring writes; see `Ring.open`.

    Attributes:
        lock: Whoever appends to the ring holds it.
        on_back: Called when a device was taken up while the server runs: the kernel counts what it writes anew.

    Raises:
        DeviceError, LayoutError, FlashLostError: (on entering) the ring cannot be opened.
    """

    def __init__(self, path: Path, problems: Problems, *, copy: Path, book: Book = unheard) -> None:
        self._path, self._problems, self._copy, self._book = path, problems, copy, book
        self._stack = ExitStack()
        self._port = FlashPort(self._lose)
        self._refused = ""
        self._ring: Ring | None = None
        self.lock = threading.Lock()
        self.on_back: Callable[[], None] = lambda: None

    def __enter__(self) -> FlashKeeper:
        """Opens the ring. Where an agent before this one left a copy, the flash was lost: it must hold the same."""
        lost = self._copy.exists()
        self._open(self._copy if lost else self._path)
        self._ring = Ring.open(self._port, book=self._book)
        if lost:
            self._let_go()
            self._take_up()
            if self.lost and not self._problems.about(ABOUT):
                self._tell(LOST)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the device."""
        self._let_go()

    @property
    def ring(self) -> Ring:
        """The server's memory. It can be read at any time; appending raises FlashLostError while the flash is lost."""
        if self._ring is None:
            raise RuntimeError("FlashKeeper is used outside its `with` block")
        return self._ring

    @property
    def lost(self) -> bool:
        """Whether the flash is gone or failed."""
        return self._port.device is None

    def watch(self) -> None:
        """Looks after each news of udev, for ever."""
        for _ in uevent.news():
            try:
                self.look()
            except (OSError, FlashvisorError):  # the next news finds somebody who listens
                log.exception("the flash could not be looked after")

    def look(self, *, closely: bool = False) -> bool:
        """Looks whether the flash went or came back.

        Args:
            closely: Also read from it: a device may die without leaving.

        Returns:
            Whether the flash works now.
        """
        with self.lock:
            device = self._port.device
            if device and not device.present:
                self._lose(DeviceFaultyError(f"{self._path} is not there any more"))
            elif device and closely:
                self._read_anew(device)
            elif not device:
                self._take_up()
            works = not self.lost
        if works and not device:
            self.on_back()
        return works

    def become(self, ring: Ring) -> None:
        """Takes for this server's memory what a new device was burned with. The flash is taken up when it is there.

        Raises:
            FlashWorksError: the old device came back meanwhile.
        """
        with self.lock:
            if not self.lost:
                raise FlashWorksError(BACK, next_step="Take the new device out: the server must not start with both.")
            self.ring.continue_as(ring)
            self._refused = ""
            self._keep_copy()

    def _read_anew(self, device: BlockFile) -> None:
        device.forget_cache()
        try:
            self._port.read(0, LOOK)
        except FlashLostError as error:
            log.info("%s", error.evidence)

    def _open(self, path: Path) -> None:
        device = self._stack.enter_context(BlockFile(path, write=True))
        self._port.device, self._port.size = device, device.size

    def _let_go(self) -> None:
        self._port.device = None
        self._stack.close()

    def _lose(self, error: DeviceFaultyError) -> None:
        self._let_go()
        # A device that failed is not tried again before it was pulled: reading may work where writing does not.
        self._refused = block.identity(self._path)
        log.error("the flash is lost: %s", error.what)
        self._tell(LOST)
        self._keep_copy()

    def _take_up(self) -> None:
        found = block.identity(self._path)
        if not found:
            self._refused = ""
        if found == self._refused:
            return
        try:
            with BlockFile(self._path) as device:
                there = Ring.open(device)
            if not is_memory_of(there, self.ring):
                self._refused = found
                self._tell(STRANGE)
                return
            self._open(self._path)
            # The same records, but after an agent's restart the ring in RAM is a copy, which lies otherwise.
            self.ring.continue_as(there)
        except DeviceError as error:
            log.info("the flash cannot be opened yet: %s", error.what)  # udev may still be at work on it
        except FlashvisorError as error:
            self._refused = found
            log.warning("the flash cannot be read: %s", error.what)
        else:
            self._copy.unlink(missing_ok=True)
            self._problems.clear(ABOUT, words="the flash is there again")
            log.warning("the flash is there again")

    def _tell(self, what: str) -> None:
        self._problems.tell(ABOUT, FlashLostError(what))

    def _keep_copy(self) -> None:
        if self._ring is None:
            return
        try:
            with (
                replacing(self._copy, mode=COPY_MODE, size=self._port.size) as half,
                BlockFile(half, write=True) as file,
            ):
                copy(self._ring, file)
        except (OSError, FlashvisorError) as error:
            log.warning("an agent that starts anew will not know this server: %s", error)
