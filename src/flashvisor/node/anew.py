"""Guests that are ended only to be started anew: what they wait for will never come to the process that waits.

Owns that nobody else starts or stops them meanwhile. Does not own why (storagekeeper.py)::

    with held(keeper, names):
        for name in names:
            end_anew(keeper, driver, name)
        ...                                # their storage is unmounted, checked, mounted
    # the keeper starts them again
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from flashvisor.errors import GuestStateError
from flashvisor.node.keeper import FORCE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flashvisor.guests.driver import Driver
    from flashvisor.node.keeper import Keeper


@contextmanager
def held(keeper: Keeper, names: Iterable[str]) -> Iterator[None]:
    """Keeps all others, the keeper too, from starting or stopping these guests of the site."""
    taken = sorted(names)
    try:
        with ExitStack() as stack:
            for name in taken:
                stack.enter_context(keeper.record(name).busy)
            yield
    finally:
        for name in taken:
            keeper.look_again(name)


def end_anew(keeper: Keeper, driver: Driver, name: str) -> None:
    """Ends a held guest by force; one that has ended is fine. The keeper starts it again, unless it shall rest.

    Raises:
        GuestStateError: not even force ended it.
        HypervisorError: the hypervisor refused.
    """
    record = keeper.record(name)
    if name not in keeper.running():
        return
    record.anew = True
    try:
        driver.stop(name, force=True)
        ended = record.gone.wait(FORCE_LIMIT) or name not in keeper.running()
    finally:
        record.anew = False
    if not ended:
        raise GuestStateError(f"guest {name} did not end within {FORCE_LIMIT:.0f} s, even by force")
