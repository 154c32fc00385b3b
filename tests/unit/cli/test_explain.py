"""The catalogue as `flashvisor explain` shows it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from flashvisor.cli.explain import explain
from flashvisor.errors import DuplicateMacError, catalogue

if TYPE_CHECKING:
    from collections.abc import Callable

    from unit.cli.conftest import Ran


def test_one_code(flashvisor: Callable[..., Ran]) -> None:
    ran = flashvisor("explain", "fv-site-005")
    assert ran.stdout == (
        "FV-SITE-005: Duplicate mac\n\n"
        "Two network cards have the same MAC address. They would take each other's packets.\n\n"
        f"Next: {DuplicateMacError.advice}\n"
        "Exit status 2, HTTP status 422.\n"
    )


def test_all_codes(flashvisor: Callable[..., Ran]) -> None:
    rows = json.loads(flashvisor("explain", "--json").stdout)
    assert [row["code"] for row in rows] == sorted(catalogue())
    listed = flashvisor("explain").stdout
    assert all(code in listed for code in catalogue())


def test_an_unknown_code(flashvisor: Callable[..., Ran]) -> None:
    ran = flashvisor("explain", "FV-NOPE-001")
    assert ran.status == 2
    assert "FV-USE-001: there is no error code 'FV-NOPE-001'" in ran.stderr


@pytest.mark.parametrize("code", sorted(catalogue()))
def test_every_row_says_something(code: str) -> None:
    row = explain(catalogue()[code])
    assert row.title[0].isupper()
    assert "error" not in row.title.lower().split()
    assert len(row.meaning) > 20
    assert row.advice
    assert 2 <= row.exit_status <= 9
