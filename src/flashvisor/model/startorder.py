"""In which order guests start, as the site file says it. Pure.

Owns who comes before whom. Does not own whose turn it is (guests/turns.py)::

    waves(site) == (("db",), ("cache", "web"))      # stop in the opposite order
    ring(site) == ("db", "web", "db")               # db waits for web, and web for db

Source: graphlib of Python's standard library.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from flashvisor.model.duration import parse_duration
from flashvisor.model.site import Autostart, Wait

if TYPE_CHECKING:
    from collections.abc import Collection

    from flashvisor.model.site import Guest, Site


def turn(guest: Guest) -> Autostart:
    """Returns a guest's turn; one that says nothing of it waits for nobody."""
    return guest.autostart if isinstance(guest.autostart, Autostart) else Autostart()


def turn_in_words(guest: Guest) -> str:
    """Returns what a guest's start waits for, for people; "" if for nothing."""
    mine = turn(guest)
    verb = {Wait.ANSWERED: "answer", Wait.STARTED: "run"}[mine.wait] + ("s" if len(mine.after) == 1 else "")
    words = [f"in order {mine.order}" if mine.order is not None else ""]
    words.append(f"once {' and '.join(mine.after)} {verb}" if mine.after else "")
    words.append(f"{mine.delay} later" if parse_duration(mine.delay) else "")
    return ", ".join(filter(None, words))


def lower(site: Site, name: str) -> frozenset[str]:
    """Returns the guests whose `order` is lower than this one's; none for a guest without order."""
    mine = turn(site.guest[name]).order
    if mine is None:
        return frozenset()
    orders = ((other, turn(guest).order) for other, guest in site.guest.items())
    return frozenset(other for other, order in orders if order is not None and order < mine)


def waves(site: Site) -> tuple[tuple[str, ...], ...]:
    """Returns all guests in the order in which they start: each comes after all that it waits for.

    Args:
        site: A site without rings, as `check_site` accepts it.
    """
    sorter = _sorter(site)
    sorter.prepare()
    found = []
    while sorter.is_active():
        ready = sorter.get_ready()
        sorter.done(*ready)
        found.append(tuple(sorted(ready)))
    return tuple(found)


def stop_order(site: Site | None, names: Collection[str]) -> tuple[tuple[str, ...], ...]:
    """Returns these guests in the order in which they stop: each before those that it waited for at its start."""
    ordered = [tuple(name for name in wave if name in names) for wave in reversed(waves(site) if site else ())]
    strangers = tuple(sorted(set(names) - {name for wave in ordered for name in wave}))
    return tuple(wave for wave in (strangers, *ordered) if wave)


def ring(site: Site) -> tuple[str, ...]:
    """Returns guests that wait for each other: each for the next, and the last is the first again. () for none."""
    try:
        _sorter(site).prepare()
    except CycleError as error:
        return tuple(reversed(error.args[1]))
    return ()


def _sorter(site: Site) -> TopologicalSorter[str]:
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for name in sorted(site.guest):
        named = (other for other in turn(site.guest[name]).after if other in site.guest)
        sorter.add(name, *sorted({*named, *lower(site, name)}))
    return sorter
