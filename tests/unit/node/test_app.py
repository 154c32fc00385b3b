"""Every route of the table is served, and nothing else."""

from __future__ import annotations

import re
from typing import Any, cast

import pytest
from starlette.routing import Route as WebRoute
from starlette.routing import WebSocketRoute

from flashvisor.api.routes import ALL, Route
from flashvisor.node.app import make_app
from flashvisor.node.service import Service


def served() -> set[tuple[str, str]]:
    found = set()
    for route in make_app(cast("Service", None)).routes:
        if isinstance(route, WebSocketRoute):
            found.add(("WS", route.path))
        elif isinstance(route, WebRoute):
            found |= {(method, route.path) for method in route.methods or ()}
    return found


@pytest.mark.parametrize("route", ALL, ids=lambda route: route.name)
def test_every_route_of_the_table_is_served(route: Route[Any]) -> None:
    assert (route.method, route.template) in served()


def test_nothing_else_is_served() -> None:
    table = {(route.method, route.template) for route in ALL}
    # Starlette answers HEAD wherever it answers GET (RFC 9110, 9.3.2).
    assert {pair for pair in served() if pair[0] != "HEAD"} == table


def test_placeholders_are_plain() -> None:
    names = {name for route in ALL for name in re.findall(r"{(\w+)}", route.template)}
    assert names <= {"generation", "name", "sha256"}
