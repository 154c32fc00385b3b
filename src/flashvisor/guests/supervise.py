"""When a guest is started, told to stop, or left alone. Pure: the agent carries decisions out and keeps the clock.

Owns the wish for each guest, how it changes, and how long a crashed guest waits. A guest that shuts itself down stays
down until it is started by hand or the server starts anew::

    wish = next_wish(Wish.REST, Cause.SITE)                      # Wish.RUN
    decide(wish, None, History(), now)                           # Decision(Action.START, now)
    history = note_start(History(), now)
    history = note_end(history, now + 2)                         # it crashed after 2 s
    decide(wish, None, history, now + 2)                         # Decision(Action.WAIT, now + 3): in 1 s
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from flashvisor.model.duration import parse_duration
from flashvisor.model.guest import GuestState
from flashvisor.model.site import OnCrash, Restarts

FIRST_DELAY = 1.0  # seconds
LONGEST_DELAY = 60.0  # seconds
STEADY = 300.0  # seconds: a guest that ran that long starts with the first delay again
FAULTS_KEPT = 101  # one more than `restarts.max` may be


class Wish(Enum):
    """What is wanted of a guest."""

    RUN = auto()
    REST = auto()
    RENEW = auto()  # to end, and to run again: it does not answer
    KEEP = auto()  # to stay as it is: it crashed


class Cause(Enum):
    """What can change the wish."""

    SITE = auto()  # the server started, or a site was applied: the guest has `autostart`
    STARTED_BY_HAND = auto()
    STOPPED_BY_HAND = auto()
    SHUT_DOWN = auto()  # the guest ended itself cleanly
    CRASHED_RESTART = auto()  # it crashed, and the site says on_crash = "restart"
    CRASHED_STOP = auto()  # it crashed, and the site says on_crash = "stop", or it crashed too often
    CRASHED_KEEP = auto()  # it crashed, and is kept because the site says on_crash = "keep"
    SILENT = auto()  # it does not answer, and the site says on_fail = "restart"


class Action(Enum):
    """What the agent does now."""

    START = auto()
    PRESS_BUTTON = auto()
    FORCE_STOP = auto()
    WAIT = auto()  # nothing until `due`, or until an event if that is None
    NOTHING = auto()


@dataclass(frozen=True)
class Decision:
    """An action, and when to decide again at the latest, in seconds of the same clock as `now`; None: on events."""

    action: Action
    due: float | None = None


@dataclass(frozen=True)
class History:
    """What happened to a guest since the server started.

    Args:
        failures: Crashes and failed starts in a row, none of them after a steady run.
        started: When it was started last, in seconds; None while it is down.
        ended: When it ended last, in seconds.
        force_at: When a guest that was told to stop is stopped by force, in seconds; None if it was not told.
        faults: When it crashed or fell silent, in seconds, newest last; a start by hand forgives all.
    """

    failures: int = 0
    started: float | None = None
    ended: float | None = None
    force_at: float | None = None
    faults: tuple[float, ...] = ()


# The one table of wishes. A crash while the guest shall rest changes nothing.
WISHES: dict[tuple[Wish, Cause], Wish] = {
    (Wish.REST, Cause.SITE): Wish.RUN,
    (Wish.REST, Cause.STARTED_BY_HAND): Wish.RUN,
    (Wish.REST, Cause.STOPPED_BY_HAND): Wish.REST,
    (Wish.REST, Cause.SHUT_DOWN): Wish.REST,
    (Wish.REST, Cause.CRASHED_RESTART): Wish.REST,
    (Wish.REST, Cause.CRASHED_STOP): Wish.REST,
    (Wish.RUN, Cause.SITE): Wish.RUN,
    (Wish.RUN, Cause.STARTED_BY_HAND): Wish.RUN,
    (Wish.RUN, Cause.STOPPED_BY_HAND): Wish.REST,
    (Wish.RUN, Cause.SHUT_DOWN): Wish.REST,
    (Wish.RUN, Cause.CRASHED_RESTART): Wish.RUN,
    (Wish.RUN, Cause.CRASHED_STOP): Wish.REST,
    (Wish.REST, Cause.CRASHED_KEEP): Wish.REST,
    (Wish.RUN, Cause.CRASHED_KEEP): Wish.KEEP,
    (Wish.REST, Cause.SILENT): Wish.REST,
    (Wish.RUN, Cause.SILENT): Wish.RENEW,
    (Wish.RENEW, Cause.SITE): Wish.RENEW,
    (Wish.RENEW, Cause.STARTED_BY_HAND): Wish.RENEW,
    (Wish.RENEW, Cause.STOPPED_BY_HAND): Wish.REST,
    (Wish.RENEW, Cause.SHUT_DOWN): Wish.RUN,
    (Wish.RENEW, Cause.CRASHED_RESTART): Wish.RUN,
    (Wish.RENEW, Cause.CRASHED_STOP): Wish.RUN,
    (Wish.RENEW, Cause.CRASHED_KEEP): Wish.KEEP,
    (Wish.RENEW, Cause.SILENT): Wish.RENEW,
    (Wish.KEEP, Cause.SITE): Wish.RUN,
    (Wish.KEEP, Cause.STARTED_BY_HAND): Wish.RUN,
    (Wish.KEEP, Cause.STOPPED_BY_HAND): Wish.REST,
    (Wish.KEEP, Cause.SHUT_DOWN): Wish.REST,  # somebody else ended it
    (Wish.KEEP, Cause.CRASHED_RESTART): Wish.REST,
    (Wish.KEEP, Cause.CRASHED_STOP): Wish.REST,
    (Wish.KEEP, Cause.CRASHED_KEEP): Wish.KEEP,
    (Wish.KEEP, Cause.SILENT): Wish.KEEP,
}

# What follows from wish and state, before delays and grace are counted. None: no domain exists.
ACTIONS: dict[tuple[Wish, GuestState | None], Action] = {
    (Wish.RUN, None): Action.START,
    (Wish.RUN, GuestState.STOPPED): Action.START,
    (Wish.RUN, GuestState.CRASHED): Action.START,
    (Wish.RUN, GuestState.RUNNING): Action.NOTHING,
    (Wish.RUN, GuestState.PAUSED): Action.NOTHING,  # a full disk: a problem for people, not for a restart
    (Wish.RUN, GuestState.STOPPING): Action.NOTHING,  # it is started again when it has ended
    (Wish.REST, None): Action.NOTHING,
    (Wish.REST, GuestState.STOPPED): Action.NOTHING,
    (Wish.REST, GuestState.CRASHED): Action.NOTHING,
    (Wish.REST, GuestState.RUNNING): Action.PRESS_BUTTON,
    (Wish.REST, GuestState.PAUSED): Action.FORCE_STOP,  # it cannot hear its button
    (Wish.REST, GuestState.STOPPING): Action.WAIT,
    (Wish.RENEW, None): Action.START,
    (Wish.RENEW, GuestState.STOPPED): Action.START,
    (Wish.RENEW, GuestState.CRASHED): Action.START,
    (Wish.RENEW, GuestState.RUNNING): Action.PRESS_BUTTON,
    (Wish.RENEW, GuestState.PAUSED): Action.NOTHING,  # who stands still cannot answer: it is no fault of its own
    (Wish.RENEW, GuestState.STOPPING): Action.WAIT,
    (Wish.KEEP, None): Action.NOTHING,
    (Wish.KEEP, GuestState.STOPPED): Action.NOTHING,
    (Wish.KEEP, GuestState.CRASHED): Action.NOTHING,
    (Wish.KEEP, GuestState.RUNNING): Action.NOTHING,
    (Wish.KEEP, GuestState.PAUSED): Action.NOTHING,
    (Wish.KEEP, GuestState.STOPPING): Action.NOTHING,
    (Wish.KEEP, GuestState.KEPT): Action.NOTHING,
    # What a crash left behind is in the way of a start, and of an end.
    (Wish.RUN, GuestState.KEPT): Action.FORCE_STOP,
    (Wish.REST, GuestState.KEPT): Action.FORCE_STOP,
    (Wish.RENEW, GuestState.KEPT): Action.FORCE_STOP,
}


def next_wish(wish: Wish, cause: Cause) -> Wish:
    """Returns the wish after something happened."""
    return WISHES[wish, cause]


def end_cause(state: GuestState, on_crash: OnCrash) -> Cause:
    """Returns what an ended guest's last state is the cause of.

    Args:
        state: STOPPED or CRASHED.
        on_crash: The site's word for this guest.
    """
    if state is GuestState.STOPPED:
        return Cause.SHUT_DOWN
    # Whoever has ended cannot be kept any more.
    return Cause.CRASHED_RESTART if on_crash is OnCrash.RESTART else Cause.CRASHED_STOP


def decide(wish: Wish, observed: GuestState | None, history: History, now: float) -> Decision:
    """Returns what to do with a guest now.

    Args:
        wish: What is wanted.
        observed: What the driver sees; None when no domain exists.
        history: What happened to the guest.
        now: Seconds of a clock that only grows.
    """
    action = ACTIONS[wish, observed]
    if action is Action.START:
        due = start_due(history)
        return Decision(Action.START) if due is None or now >= due else Decision(Action.WAIT, due)
    if action in (Action.PRESS_BUTTON, Action.WAIT) and history.force_at is not None:
        force = now >= history.force_at
        return Decision(Action.FORCE_STOP) if force else Decision(Action.WAIT, history.force_at)
    return Decision(action)


def start_due(history: History) -> float | None:
    """Returns when a guest may be started again, in seconds: 1, 2, 4, … 60 s after its last end; None: at once."""
    if not history.failures or history.ended is None:
        return None
    # The exponent is cut first: a guest that fails for months must not make a number without end.
    doublings = min(history.failures - 1, 16)
    return history.ended + min(LONGEST_DELAY, FIRST_DELAY * (1 << doublings))


def note_start(history: History, now: float) -> History:
    """Returns the history after a successful start."""
    return replace(history, started=now, force_at=None)


def note_stop_asked(history: History, now: float, grace: float) -> History:
    """Returns the history after the power button was pressed; `grace` in seconds until force."""
    return replace(history, force_at=now + grace)


def note_end(history: History, now: float, *, clean: bool = False) -> History:
    """Returns the history after a guest ended, or could not be started.

    Args:
        history: What happened before.
        now: Seconds.
        clean: It was stopped or shut itself down: the next start does not wait.
    """
    steady = history.started is not None and now - history.started >= STEADY
    before = 0 if steady else history.failures
    return replace(history, failures=0 if clean else before + 1, started=None, ended=now, force_at=None)


def note_fault(history: History, now: float) -> History:
    """Returns the history after a crash, or after a guest fell silent that is then started anew."""
    return replace(history, faults=(*history.faults, now)[-FAULTS_KEPT:])


def forgive(history: History) -> History:
    """Returns the history after a start by hand: people know what they do, and counting begins anew."""
    return replace(history, faults=())


def is_spent(history: History, limit: Restarts | None, now: float) -> bool:
    """Returns whether the fault noted last is one too many: `limit.max` restarts were not enough."""
    if limit is None:
        return False
    within = parse_duration(limit.within)
    return sum(now - when < within for when in history.faults) > limit.max
