"""The agent: from the kernel's hand-over to a server that answers and runs its guests.

Owns the boot as a list of steps, and the wait for what comes after it. A step that fails becomes a problem in plain
words, on the consoles and in the report, and the next step follows.

Example::

    with Agent(settings, console) as agent:
        agent.boot()
        agent.attend()          # until `stop` is called
"""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

from flashvisor import __version__
from flashvisor.errors import FlashvisorError, HypervisorError, LayoutError, NoUplinkError, UnclaimedError
from flashvisor.host import clock, facts, systemd, uevent
from flashvisor.node.outside import find_outside, make_driver
from flashvisor.node.problems import Problems
from flashvisor.node.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from flashvisor.guests.driver import Driver
    from flashvisor.host.console import Console
    from flashvisor.host.systemd import Power
    from flashvisor.node.assemble import Parts
    from flashvisor.node.reconcile import Reconciler
    from flashvisor.node.server import ApiServer
    from flashvisor.node.settings import Settings

T = TypeVar("T")

log = logging.getLogger(__name__)

STATE_LIMIT = 30.0  # seconds until the flash must have appeared; USB takes some
UPLINK_LIMIT = 20.0  # seconds until a missing address is told; it is waited for all the same
DISK_LIMIT = 15.0  # seconds until a missing data disk is told
KVM_LIMIT = 10.0  # seconds until the hypervisor is asked for although KVM is missing
LIBVIRT_LIMIT = 60.0  # seconds until a missing hypervisor is told
LIBVIRT_INTERVAL = 0.1  # seconds between two looks for it


class Agent:
    """One server's agent.

    Args:
        settings: Where things are.
        console: Shows stages and problems.
        started: When the agent started, in seconds since the kernel did; now if None.
    """

    def __init__(self, settings: Settings, console: Console, *, started: float | None = None) -> None:
        self._started = clock.boot_seconds() if started is None else started
        self._settings, self._console = settings, console
        settings.run.mkdir(parents=True, exist_ok=True)
        self.timeline = Timeline(console.say, clock.boot_seconds, keep=settings.run / "timeline.json")
        self.problems = Problems(console.say)
        self.api: ApiServer | None = None
        self.parts: Parts | None = None
        self._stack = ExitStack()
        self._stopping = False
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._idle.set()

    def __enter__(self) -> Agent:
        """Tells that the kernel has handed over and the agent has started."""
        handover = facts.handover_seconds()
        if handover is not None:
            self.timeline.reach("kernel", handover)
        self.timeline.reach("agent", self._started)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the API and lets go of everything. Guests run on."""
        self._stack.close()

    def boot(self) -> None:
        """Brings the server up, step by step."""
        driver = self._stack.enter_context(make_driver(self._settings))
        libvirt = _in_thread("libvirt", lambda: self._find_libvirt(driver))
        parts = self._step("state", lambda: self._open_state(driver))
        if parts is None:
            if not self.problems.about("state"):
                self._wait_for_owner()
            self._listen_to_button()
            return
        self.parts = parts
        if self._step("slots", parts.slots.settle, shown=False):
            self._listen_to_button()
            return
        self._step("memory", parts.machine.trim_reserve, shown=False)
        parts.reconciler.boot_network()
        told = threading.Event()
        _in_thread("uplink", lambda: self._wait_for_uplink(parts, told))
        api = _in_thread("serve", lambda: self._serve(parts))
        if parts.reconciler.boot_storage(DISK_LIMIT):
            self.timeline.reach("storage")
        libvirt.join()
        if self.timeline.when("libvirt") is not None:
            self._step("guests left", parts.keeper.find_again, shown=False)
        api.join()
        told.wait()
        first = self.timeline.when("ready") is None
        if self.api:
            ready = self.timeline.reach("ready")
            if first:
                self._step("boot record", lambda: self._note_boot(parts, ready), shown=False)
        self._listen_to_button()
        # What an ordinary machine plugs in is not ours.
        if not self._settings.fake:
            _in_thread("flash", parts.flash.watch)
        self._step("guests", parts.reconciler.boot_guests, shown=False)
        parts.storages.start()
        if self.api and first:
            # Once a boot, and after the guests: they wait for nothing that can come later.
            self._step("ledger of wear", parts.wear.save, shown=False)

    def attend(self) -> None:
        """Waits, and takes back what nobody confirms, until `stop`.

        systemd counts from here on, not during `boot`, whose waits have their own limits: an agent that does not come
        round within WatchdogSec is ended and started again, and finds its guests running.
        """
        interval = systemd.watchdog_interval()
        systemd.notify("READY=1")
        while not self._stopping:
            self._wake.wait(self._pause(interval))
            self._wake.clear()
            systemd.notify("WATCHDOG=1")
            self._take_back()
        self._idle.wait()

    def stop(self) -> None:
        """Ends `attend`. May be called from a signal handler or another thread."""
        self._stopping = True
        self._wake.set()

    def _pause(self, interval: float | None) -> float | None:
        """Seconds until the loop has something to do; None if it has nothing until it is woken."""
        pauses = [] if interval is None else [interval]
        # While it is being looked at, the end of that wakes the loop.
        due = self.parts.reconciler.due if self.parts and self._idle.is_set() else None
        if due is not None:
            pauses.append(max(0.0, due - clock.monotonic()))
        return min(pauses, default=None)

    def _take_back(self) -> None:
        """Lets the reconciler look at its clock. In a thread: the way back waits for guests that shut down."""
        if not self.parts or not self._idle.is_set():
            return
        reconciler = self.parts.reconciler
        # Read once: other threads change it.
        due = reconciler.due
        if due is not None and clock.monotonic() >= due:
            self._idle.clear()
            _in_thread("tick", lambda: self._tick(reconciler))

    def _tick(self, reconciler: Reconciler) -> None:
        try:
            reconciler.tick()
        finally:
            self._idle.set()
            self._wake.set()

    def _step(self, name: str, call: Callable[[], T], *, shown: bool = True) -> T | None:
        """Takes one step: its stage is reached if it succeeds, its problem is told if it fails."""
        try:
            result = call()
        except FlashvisorError as error:
            self.problems.tell(name, error)
            return None
        if shown:
            self.timeline.reach(name)
        return result

    def _open_state(self, driver: Driver) -> Parts | None:
        # Imported before the wait: the flash appears meanwhile.
        from flashvisor.node.assemble import Context, assemble

        settings = self._settings
        outside = find_outside(settings, driver)
        _in_thread("imports", _import_api)
        places = (settings.state, settings.memory_copy)
        if not settings.fake:
            uevent.wait_until(lambda: any(place.exists() for place in places), STATE_LIMIT)
        if not any(place.exists() for place in places):
            raise LayoutError(f"the flash's state partition {settings.state} is not there after {STATE_LIMIT:.0f} s")
        return assemble(
            Context(
                settings,
                outside,
                self._stack,
                self.timeline,
                self.problems,
                self._wake.set,
                self._power,
                self._console.say,
            )
        )

    def _wait_for_owner(self) -> None:
        from flashvisor.node.slotkeeper import SETTLED

        self.problems.tell("owner", UnclaimedError("this server is unclaimed: it has no owner, and serves nobody"))
        # Nothing is to be proved to anybody: no timer resets it. Unless an image on trial cannot read who owns it.
        if not self.problems.about("memory"):
            (self._settings.run / SETTLED).touch()

    def _serve(self, parts: Parts) -> None:
        self._step("api", lambda: self._open_api(parts))
        if self.api:
            # Not later: the check of a large data disk may take longer than a server has to prove its health.
            self._step("commit", parts.slots.healthy, shown=False)

    def _open_api(self, parts: Parts) -> None:
        from flashvisor.node.app import make_app
        from flashvisor.node.server import ApiServer
        from flashvisor.node.tls import server_context

        context = server_context(parts.identity, self._settings.run / "tls")
        server = ApiServer(make_app(parts.service), context, address=self._settings.address, port=self._settings.port)
        self.api = self._stack.enter_context(server)

    def _wait_for_uplink(self, parts: Parts, told: threading.Event) -> None:
        limit = UPLINK_LIMIT
        while not parts.machine.wait_for_uplink(limit):
            self.problems.tell("uplink", NoUplinkError(f"no network card has an address after {limit:.0f} s"))
            told.set()
            limit = 3600.0
        self.problems.clear("uplink")
        self.timeline.reach("network")
        told.set()

    def _find_libvirt(self, driver: Driver) -> None:
        self._step("libvirt", lambda: self._wait_for_driver(driver))

    def _wait_for_driver(self, driver: Driver) -> None:
        # libvirt examines QEMU when it is asked for the first time, and fails without KVM, which udev loads.
        if not self._settings.fake:
            uevent.wait_until(facts.has_kvm, KVM_LIMIT)
        last = ""
        for _ in clock.ticks(LIBVIRT_INTERVAL, LIBVIRT_LIMIT):
            try:
                driver.version()
            except HypervisorError as error:
                last = str(error)
            else:
                return
        raise HypervisorError(f"the hypervisor does not answer after {LIBVIRT_LIMIT:.0f} s", evidence=last)

    def _listen_to_button(self) -> None:
        # The button of a machine that the agent only visits is not ours.
        if not self._settings.fake:
            _in_thread("button", self._obey_button)

    def _obey_button(self) -> None:
        # Imported after the start, which counts every module.
        from flashvisor.host import powerbutton

        for _ in powerbutton.presses(powerbutton.devices()):
            log.info("the power button was pressed")
            self._power(systemd.Power.POWEROFF)

    def _power(self, action: Power) -> None:
        self._console.say(f"flashvisor: {action} was asked for; guests are being stopped")
        _in_thread("power", lambda: self._go_down(action))

    def _go_down(self, action: Power) -> None:
        parts = self.parts
        if parts:
            self._step("stop guests", lambda: self._stop_guests(parts), shown=False)
        # An unclaimed server has no guests, and goes down all the same.
        power = parts.machine.power if parts else systemd.power
        self._step("power", lambda: power(action), shown=False)

    def _stop_guests(self, parts: Parts) -> None:
        parts.keeper.stop_all()
        self._console.say("flashvisor: all guests are stopped")

    def _note_boot(self, parts: Parts, ready: float) -> None:
        from flashvisor.model.record import Boot
        from flashvisor.node.report import image_id

        boot = Boot(
            when=clock.wall(),
            image_id=image_id(),
            version=__version__,
            slot=parts.slots.runs(),
            ready_s=round(ready, 2),
        )
        parts.state.note_boot(boot)


def _import_api() -> None:
    """Loads the API's modules, the agent's heaviest, while others work: the flash is found, the networks are set up."""
    import flashvisor.node.app
    import flashvisor.node.server
    import flashvisor.node.tls  # noqa: F401 - for its effect on sys.modules


def _in_thread(name: str, call: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=call, name=name, daemon=True)
    thread.start()
    return thread
