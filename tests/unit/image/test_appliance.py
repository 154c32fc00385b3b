"""Appliances' recipes, and the limit on their size."""

from __future__ import annotations

import msgspec
import pytest

from flashvisor.errors import ComponentTooLargeError, UnknownNameError
from flashvisor.image import appliance

RECIPE = """\
summary = "a test"
version = "7"
serves = "nothing"
cmdline = "quiet"
programs = ["/usr/bin/true"]
[text]
"/etc/motd" = "@NAME@ @VERSION@ @NAME@"
"/etc/plain" = "me@example.com"
"""


def test_name_and_version_are_put_into_texts() -> None:
    recipe = appliance.parse("probe", RECIPE)
    assert appliance.filled(recipe) == {"/etc/motd": "probe 7 probe", "/etc/plain": "me@example.com"}


def test_a_recipe_with_an_unknown_key_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="progams"):
        appliance.parse("probe", 'progams = ["/usr/bin/true"]\n' + RECIPE)


@pytest.mark.parametrize("name", ["goodbye", "../hello", ""])
def test_an_unknown_name_is_told_with_those_that_exist(name: str) -> None:
    with pytest.raises(UnknownNameError, match="hello"):
        appliance.load(name)


@pytest.mark.parametrize("name", appliance.names())
def test_every_shipped_recipe_can_start_alone(name: str) -> None:
    recipe = appliance.load(name)
    words = recipe.cmdline.partition(" -- ")[0].split()
    inits = [word.removeprefix("rdinit=") for word in words if word.startswith("rdinit=")]
    assert len(inits) == 1
    assert inits[0] in recipe.programs
    assert {"console=ttyS0", "ip=dhcp"} <= set(words)
    assert not any("@NAME@" in text or "@VERSION@" in text for text in appliance.filled(recipe).values())


def test_hello_is_among_them() -> None:
    assert "hello" in appliance.names()


def test_an_appliance_may_just_fill_its_limit() -> None:
    assert appliance.check_size("probe", appliance.APPLIANCE_LIMIT) == 8_000_000


def test_a_byte_more_is_an_error_that_names_it() -> None:
    with pytest.raises(
        ComponentTooLargeError, match=r"appliance 'probe': expected at most 8,000,000 bytes, got 8,000,001"
    ):
        appliance.check_size("probe", appliance.APPLIANCE_LIMIT + 1)
