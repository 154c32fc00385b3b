"""The catalogue as `flashvisor appliance` shows it. Building one is tests/tools' business."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from flashvisor.image import catalogue

if TYPE_CHECKING:
    from collections.abc import Callable

    from unit.cli.conftest import Ran


def test_all_are_listed_with_what_they_serve_and_need(flashvisor: Callable[..., Ran]) -> None:
    rows = json.loads(flashvisor("appliance", "list", "--json").stdout)
    assert [row["name"] for row in rows] == catalogue.names()
    listed = flashvisor("appliance", "list").stdout
    for row in rows:
        assert row["serves"] in listed
        assert row["memory"] in listed


def test_settings_are_shown_as_they_would_be_replaced(flashvisor: Callable[..., Ran]) -> None:
    shown = flashvisor("appliance", "show", "ntp").stdout
    assert shown.startswith("# /etc/site.d/site.conf\n# Debian's own choice of servers.")
    assert shown.endswith("\nallow all\n")
    assert "pidfile" not in shown
    assert "# /etc/chrony.conf\npidfile" in flashvisor("appliance", "show", "ntp", "--all").stdout
    report = json.loads(flashvisor("appliance", "show", "ntp", "--json").stdout)
    assert report["files"][report["settings"]] in shown


def test_an_appliance_without_settings_shows_none(flashvisor: Callable[..., Ran]) -> None:
    assert flashvisor("appliance", "show", "hello").stdout == "hello takes no settings\n"


def test_an_unknown_name_is_told_before_anything_is_built(flashvisor: Callable[..., Ran]) -> None:
    for verb in ("show", "build"):
        ran = flashvisor("appliance", verb, "goodbye")
        assert ran.status == 2
        assert "there is no appliance 'goodbye'" in ran.stderr
