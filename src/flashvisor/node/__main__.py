"""`python3 -m flashvisor.node`: the agent as systemd starts it, with nothing to parse in flash.

Owns signals and logging. The stage line comes first: whatever goes wrong after it is seen to be the agent's.
"""

# ruff: noqa: E402 - the clock is read before the imports that take their time on a slow processor
from __future__ import annotations

import gc

# Nothing that the imports make is ever garbage: looking for some takes a twentieth of their time.
gc.disable()

from flashvisor.host.clock import boot_seconds

STARTED = boot_seconds()

import logging
import signal
import sys
from pathlib import Path

from flashvisor.host.console import Console, console_devices
from flashvisor.node.agent import Agent
from flashvisor.node.settings import parse_arguments


def main() -> None:
    """Runs the agent until systemd ends it."""
    settings = parse_arguments(sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    console = Console((Path("/dev/stderr"),)) if settings.fake else Console(console_devices())
    with Agent(settings, console, started=STARTED) as agent:
        signal.signal(signal.SIGTERM, lambda _number, _frame: agent.stop())
        signal.signal(signal.SIGINT, lambda _number, _frame: agent.stop())
        try:
            agent.boot()
            gc.freeze()
            gc.enable()
            agent.attend()
        except Exception as error:
            # The journal has the traceback, and no API serves it: whoever stands before the server is told.
            console.say(f"flashvisor: the agent ran into a bug and is started again: {error!r}")
            raise


if __name__ == "__main__":
    main()
