"""Reads recipe/root.toml into types. Owns the recipe's shape, not what is made of it (root.py).

Example::

    recipe = load()
    recipe.component[0].limit
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path

import msgspec
from msgspec import Struct

RECIPE = Path(str(files("flashvisor.image").joinpath("recipe")))


class Component(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of the ledger. `limit` is bytes in the finished file."""

    name: str
    limit: int
    from_: str = msgspec.field(name="from", default="")
    programs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


class Python(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Python modules that tracing does not find: `extra` by name, `whole` packages of wheels."""

    extra: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()


class Recipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of root.toml."""

    component: tuple[Component, ...]
    links: dict[str, str]
    python: Python

    def limits(self) -> dict[str, int]:
        """Component name to bytes."""
        return {component.name: component.limit for component in self.component}


def load() -> Recipe:
    """Returns the recipe. A mistake in it is a bug of ours, so msgspec's own error is left to pass."""
    return msgspec.convert(tomllib.loads((RECIPE / "root.toml").read_text()), Recipe)
