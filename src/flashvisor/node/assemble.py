"""Puts a server's parts together: the one place that knows which class stands for which contract.

Example::

    with ExitStack() as stack:
        outside = find_outside(settings, make_driver(settings))
        parts = assemble(Context(settings, outside, stack, timeline, problems, wake, power))   # None: nobody's server
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashvisor.errors import RingCorruptError
from flashvisor.host.systemd import Power
from flashvisor.node.carryout import Hands
from flashvisor.node.consolehub import ConsoleHub
from flashvisor.node.flashkeeper import FlashKeeper
from flashvisor.node.keeper import Keeper
from flashvisor.node.keeper import Tools as KeeperTools
from flashvisor.node.newflash import NewFlash
from flashvisor.node.reconcile import Clocks, Reconciler
from flashvisor.node.report import Sources
from flashvisor.node.running import FAKE, look
from flashvisor.node.service import FlashSide, Service
from flashvisor.node.slotkeeper import SlotKeeper
from flashvisor.node.slotwork import Tools
from flashvisor.node.state import NodeState
from flashvisor.node.storagekeeper import StorageKeeper
from flashvisor.node.storagekeeper import Surroundings as StorageSurroundings
from flashvisor.node.updates import Surroundings, Updates
from flashvisor.node.wearkeeper import WearKeeper

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from flashvisor.guests.driver import Driver
    from flashvisor.model.record import Identity
    from flashvisor.node.machine import Machine
    from flashvisor.node.outside import Outside
    from flashvisor.node.problems import Problems
    from flashvisor.node.settings import Settings
    from flashvisor.node.slotwork import Slots
    from flashvisor.node.timeline import Timeline


@dataclass(frozen=True)
class Context:
    """What the parts get from the agent.

    Args:
        settings: Where things are.
        outside: What the server stands on.
        stack: Closes what is opened here.
        timeline: The boot's stages.
        problems: What is wrong.
        wake: Called when there is something new to wait for.
        power: Carries a reboot or power-off out; returns at once.
        say: Tells the consoles.
    """

    settings: Settings
    outside: Outside
    stack: ExitStack
    timeline: Timeline
    problems: Problems
    wake: Callable[[], None]
    power: Callable[[Power], None]
    say: Callable[[str], None]


@dataclass(frozen=True)
class Parts:
    """What a claimed server consists of."""

    identity: Identity
    flash: FlashKeeper
    state: NodeState
    machine: Machine
    driver: Driver
    keeper: Keeper
    reconciler: Reconciler
    slots: Slots
    service: Service
    wear: WearKeeper
    storages: StorageKeeper


def assemble(context: Context) -> Parts | None:
    """Opens the state ring and builds all that stands on it.

    Returns:
        The parts; None if no identity is in flash: the server is unclaimed.

    Raises:
        DeviceError, LayoutError, FlashLostError: the state ring cannot be opened.
    """
    settings, stack = context.settings, context.stack
    machine, driver = context.outside.machine, context.outside.driver
    wear = WearKeeper(machine, context.problems, keep=settings.run / "wear.json")
    flash = stack.enter_context(
        FlashKeeper(settings.state, context.problems, copy=settings.memory_copy, book=wear.book)
    )
    state = NodeState(flash.ring, flash.lock)
    wear.take_up(state)
    wear.lost = lambda: flash.lost
    identity = state.identity()
    if state.lost:
        what = f"{len(state.lost)} records of the server's memory are lost; the newest intact ones are used"
        context.problems.tell("memory", RingCorruptError(what, evidence="\n".join(state.lost)))
    if identity is None:
        return None
    hub = stack.enter_context(ConsoleHub())
    keeper = stack.enter_context(Keeper(KeeperTools(driver, context.timeline, hub), context.outside.asker))
    hands = Hands(machine, keeper, context.problems, settings)
    reconciler = Reconciler(state, hands, Clocks(), context.wake)
    tools = Tools(
        run=settings.run,
        problems=context.problems,
        say=context.say,
        restart=lambda: context.power(Power.REBOOT),
        book=wear.book_slot,
        writing=wear.writing,
    )
    slots = context.outside.slots or SlotKeeper(state, machine, keeper, tools)
    flash.on_back = lambda: _take_up(wear, state, slots)
    surroundings = Surroundings(settings.update, identity.owner_ca_pem, look=(lambda: FAKE) if settings.fake else look)
    updates = Updates(state, slots, surroundings)
    storages = stack.enter_context(StorageKeeper(StorageSurroundings(hands, reconciler, driver)))
    sources = Sources(
        identity.node_name, machine, driver, reconciler, context.timeline, context.problems, state, wear, storages
    )
    new_flash = NewFlash(flash, machine, lambda: reconciler.now.desired if reconciler.now else None)
    return Parts(
        identity=identity,
        flash=flash,
        state=state,
        machine=machine,
        driver=driver,
        keeper=keeper,
        reconciler=reconciler,
        slots=slots,
        service=Service(
            sources,
            keeper,
            hub,
            FlashSide(updates, new_flash, wipe=lambda: _wipe(state, wear)),
            on_power=context.power,
        ),
        wear=wear,
        storages=storages,
    )


def _take_up(wear: WearKeeper, state: NodeState, slots: Slots) -> None:
    """Another device, or the same one again: the kernel counts it from 0, and its slots may hold other bytes."""
    wear.take_up(state, anew=True)
    slots.forget()


def _wipe(state: NodeState, wear: WearKeeper) -> None:
    """Forgets all that was the owner's; how worn the device is stays true for the next one."""
    state.wipe()
    wear.keep_sums_only()
