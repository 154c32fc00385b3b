"""Sites whose guests wait for each other, as hypothesis makes them.

Example::

    @given(graphs())
    def test(graph: Graph) -> None:
        site = site_of(graph)
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from flashvisor.model.site import Site
from flashvisor.model.sitefile import parse_site

HEAD = 'schema = 1\n[node]\nname = "alpha"\n[image.hello]\nfile = "x"\n'


@dataclass(frozen=True)
class Turn:
    """One guest's turn."""

    after: frozenset[str] = frozenset()
    order: int | None = None
    wait: str = "answered"


Graph = dict[str, Turn]


def site_of(graph: Graph) -> Site:
    """The site with these guests, not checked."""
    return parse_site(HEAD + "".join(guest_text(name, turn) for name, turn in graph.items()))


def guest_text(name: str, turn: Turn) -> str:
    """One guest of a site file."""
    order = "" if turn.order is None else f", order = {turn.order}"
    after = ", ".join(f'"{other}"' for other in sorted(turn.after))
    table = f'{{ after = [{after}], wait = "{turn.wait}"{order} }}'
    return f'[guest.{name}]\nimage = "hello"\nmemory = "64MiB"\nautostart = {table}\n'


@st.composite
def graphs(draw: st.DrawFn, *, rings: bool = True) -> Graph:
    """Some guests. Without rings, each waits only for those before it, and orders do not fall."""
    names = [f"g{index}" for index in range(draw(st.integers(1, 6)))]
    graph, least = {}, 0
    for index, name in enumerate(names):
        others = names if rings else names[:index]
        after = draw(st.frozensets(st.sampled_from(others), max_size=3)) if others else frozenset()
        order = draw(st.none() | st.integers(0 if rings else least, 3))
        least = least if order is None else order
        graph[name] = Turn(after, order, draw(st.sampled_from(["answered", "started"])))
    return graph
