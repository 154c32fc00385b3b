"""Appliances' recipes, their command lines, and the limit on their size."""

from __future__ import annotations

import msgspec
import pytest

from flashvisor.errors import ComponentTooLargeError, UnknownNameError
from flashvisor.image import catalogue
from flashvisor.model.sitecheck.guest import MIN_MEMORY
from flashvisor.model.size import parse_size

RECIPE = """\
summary = "a test"
version = "7"
serves = "nothing"
memory = "64MiB"
programs = ["/usr/bin/true"]
service = ["/usr/bin/true", "--help"]
[text]
"/etc/motd" = '''

@NAME@ @VERSION@ @NAME@'''
"/etc/plain" = "me@example.com"
"""
# Issue 4 names them; `hello` is issue 2's.
NAMES = {"hello", "web", "dns", "ntp", "proxy", "cache", "mqtt", "syslog"}


def test_name_and_version_are_put_into_texts() -> None:
    recipe = catalogue.parse("probe", RECIPE)
    assert catalogue.filled(recipe) == {"/etc/motd": "probe 7 probe", "/etc/plain": "me@example.com"}


def test_a_recipe_with_an_unknown_key_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="progams"):
        catalogue.parse("probe", 'progams = ["/usr/bin/true"]\n' + RECIPE)


@pytest.mark.parametrize("name", ["goodbye", "../hello", ""])
def test_an_unknown_name_is_told_with_those_that_exist(name: str) -> None:
    with pytest.raises(UnknownNameError, match="hello"):
        catalogue.load(name)


def test_the_catalogue_holds_what_was_promised() -> None:
    assert set(catalogue.names()) == NAMES


def test_the_service_stands_behind_the_kernels_own_words() -> None:
    words, _, service = catalogue.cmdline(catalogue.parse("probe", RECIPE)).partition(" -- ")
    assert service == "/usr/bin/true --help"
    assert words == "console=ttyS0 ip=dhcp quiet panic=1 rdinit=/init"


def test_user_data_and_the_kernels_settings_are_words_before_it() -> None:
    recipe = catalogue.parse("probe", 'user = 33\nkeeps = "x"\nkernel = ["sysctl.a=1"]\n' + RECIPE)
    assert catalogue.cmdline(recipe).partition("rdinit=/init ")[2] == (
        "sysctl.a=1 sysctl.net.ipv4.ip_unprivileged_port_start=0 user=33 data=/data -- /usr/bin/true --help"
    )


@pytest.mark.parametrize("name", catalogue.names())
def test_every_shipped_recipe_can_start(name: str) -> None:
    recipe = catalogue.load(name)
    assert recipe.service[0] in recipe.programs
    line = catalogue.cmdline(recipe)
    # Linux passes on no more than that: COMMAND_LINE_SIZE of x86, MAX_INIT_ARGS of init/main.c.
    assert len(line) < 2048
    assert len(recipe.service) < 32
    assert not any(word in line for word in ("@", '"', "'"))
    assert all(" " not in word for word in recipe.service)
    assert not any("@NAME@" in text or "@VERSION@" in text for text in catalogue.filled(recipe).values())
    assert parse_size(recipe.memory) >= MIN_MEMORY
    assert recipe.limit <= 10_000_000


@pytest.mark.parametrize("name", sorted(NAMES - {"hello"}))
def test_a_site_can_replace_the_settings_of_every_one(name: str) -> None:
    texts = catalogue.filled(catalogue.load(name))
    assert catalogue.SETTINGS in texts
    directory = catalogue.SETTINGS.rpartition("/")[0]
    assert any(directory in text for path, text in texts.items() if path != catalogue.SETTINGS)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_user_by_name_is_in_its_passwd(name: str) -> None:
    """Who starts as root becomes somebody whom the C library must find."""
    recipe = catalogue.load(name)
    if recipe.user:
        assert "/etc/passwd" not in recipe.text
    else:
        assert len(recipe.text["/etc/passwd"].split()) > 1


def test_an_appliance_may_just_fill_its_limit() -> None:
    assert catalogue.check_size(catalogue.load("web"), 10_000_000) == 10_000_000
    assert catalogue.check_size(catalogue.load("hello"), 8_000_000) == 8_000_000


def test_a_byte_more_is_an_error_that_names_it() -> None:
    with pytest.raises(
        ComponentTooLargeError, match=r"appliance 'hello': expected at most 8,000,000 bytes, got 8,000,001"
    ):
        catalogue.check_size(catalogue.load("hello"), 8_000_001)
