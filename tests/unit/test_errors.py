"""The catalogue of errors: every code is unique, named after its family, explained, and leads somewhere."""

from __future__ import annotations

import ast
import inspect
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import flashvisor
from flashvisor import errors
from flashvisor.errors import FlashvisorError, UnknownKeyError, catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = sorted(Path(flashvisor.__file__).parent.rglob("*.py"))
PATTERN = re.compile(r"FV-([A-Z]+)-\d{3}")
FAMILIES = {
    "SITE": errors.SiteError,
    "USE": errors.UsageError,
    "HOST": errors.MachineError,
    "BUILD": errors.BuildError,
    "FLASH": errors.FlashError,
    "TRUST": errors.TrustError,
    "NODE": errors.NodeError,
    "GUEST": errors.GuestError,
    "LAB": errors.LabError,
}


def classes() -> list[type[FlashvisorError]]:
    """All error classes in errors.py, in the file's order."""
    return [
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, FlashvisorError) and value is not FlashvisorError
    ]


def test_every_class_is_a_family_or_has_a_code() -> None:
    families = {errors.InputError, *FAMILIES.values()}
    assert {kind for kind in classes() if not kind.code} == families


def test_codes_are_unique() -> None:
    counted = Counter(kind.code for kind in classes() if kind.code)
    assert [code for code, count in counted.items() if count > 1] == []
    assert set(counted) == set(catalogue())


@pytest.mark.parametrize("code", sorted(catalogue()))
def test_a_code_is_named_after_its_family(code: str) -> None:
    match = PATTERN.fullmatch(code)
    assert match
    assert issubclass(catalogue()[code], FAMILIES[match[1]])


@pytest.mark.parametrize("code", sorted(catalogue()))
def test_every_code_is_explained_in_its_own_words(code: str) -> None:
    kind = catalogue()[code]
    assert "__doc__" in vars(kind)
    assert inspect.cleandoc(kind.__doc__ or "").endswith(".")


def raises(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Calls of error classes in a module: class name, and whether `next_step` is given."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            yield name, any(word.arg == "next_step" for word in node.keywords)


def test_every_error_says_what_to_do_next() -> None:
    """Either the class gives advice, or each place that raises it does."""
    silent = {kind.__name__ for kind in catalogue().values() if not kind.advice}
    mute = [
        f"{path.name}: {name}"
        for path in SOURCES
        for name, has_step in raises(ast.parse(path.read_text()))
        if name in silent and not has_step
    ]
    assert mute == []


def test_an_error_as_people_read_it() -> None:
    error = UnknownKeyError("site.toml: x is not a key", evidence="one\ntwo", next_step="Remove it.")
    assert str(error) == "FV-SITE-002: site.toml: x is not a key\n  | one\n  | two\n  next: Remove it."
    assert UnknownKeyError("x").next_step == UnknownKeyError.advice
