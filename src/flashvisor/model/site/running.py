"""When a guest of `[guest.NAME]` runs: its turn at the start, what follows a crash, how it is asked whether it answers.

Example::

    autostart = { order = 10, delay = "5s", after = ["db"], wait = "answered" }
    on_crash = "restart"
    restarts = { max = 5, within = "10m" }
    probe = { http = "/health", port = 8080, on_fail = "restart" }
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from flashvisor.model.site.words import Duration, Name, Port, Table

Count = Annotated[int, Meta(ge=1, le=100, description="a whole number, 1 to 100")]


class OnCrash(StrEnum):
    """What happens to a guest that crashed: its kernel panicked, or QEMU died. A guest that shut down stays down.

    `keep` leaves a guest whose kernel panicked as it was, with its CPUs stopped, until it is started or stopped by
    hand. Of a QEMU that died nothing is left to be kept.
    """

    RESTART = "restart"
    STOP = "stop"
    KEEP = "keep"


class Wait(StrEnum):
    """What a guest waits for of those named in `after`. One that has nothing to answer with answers once it runs."""

    STARTED = "started"
    ANSWERED = "answered"


class OnFail(StrEnum):
    """What happens to a guest that does not answer: people are told, or it is also started anew."""

    TELL = "tell"
    RESTART = "restart"


class Autostart(Table, frozen=True, kw_only=True):
    """A guest's turn when the server starts its guests.

    Args:
        order: Guests with a lower number are started first, or have failed to. Without it, a guest waits for none.
        delay: How long it is still held back once nobody is waited for any more.
        after: Guests that must be there before it starts.
        wait: What counts as being there.
    """

    order: Annotated[int, Meta(ge=0, le=9999, description="a whole number, 0 to 9999")] | None = None
    delay: Duration = "0s"
    after: tuple[Name, ...] = ()
    wait: Wait = Wait.ANSWERED


class Restarts(Table, frozen=True, kw_only=True):
    """How often a guest is started anew within a while; then it is left as it is, and people are told."""

    max: Count
    within: Duration = "10m"


class Probe(Table, frozen=True, kw_only=True):
    """How a guest is asked whether it answers: exactly one of `tcp`, `http`, `serial` and `agent`.

    Args:
        tcp: A port that accepts connections.
        http: A path that is asked for on `port`, and answered with the status `expect`.
        serial: A regular expression that some line of its serial port matches, once after each start.
        agent: QEMU's guest agent runs in it.
        interval: Between two questions, once it has answered for the first time.
        timeout: For one answer.
        failures: How many questions in a row must have failed until it counts as not answering.
        start_period: How long it may take to answer for the first time.
        on_fail: What follows.
    """

    tcp: Port | None = None
    http: str | None = None
    port: Port | None = None
    expect: Annotated[int, Meta(ge=100, le=599, description="an HTTP status, 100 to 599")] | None = None
    serial: str | None = None
    agent: bool = False
    interval: Duration = "10s"
    timeout: Duration = "2s"
    failures: Count = 3
    start_period: Duration = "5m"
    on_fail: OnFail = OnFail.TELL
