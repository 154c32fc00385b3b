"""Reading site files: what is right becomes a Site, all that is wrong is told at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashvisor.errors import SiteError, SiteSyntaxError, UnknownKeyError, WrongTypeError
from flashvisor.model import sitefile
from flashvisor.model.problem import Problems
from flashvisor.model.site import Autostart, Firmware, Site, Wait
from flashvisor.model.sitefile import parse_site, site_schema

HEAD = 'schema = 1\nnode = { name = "alpha" }\n'
GUEST = HEAD + '[guest.web]\nimage = "hello"\nmemory = "64MiB"\n'


def failure(text: str) -> SiteError:
    with pytest.raises(SiteError) as caught:
        parse_site(text)
    return caught.value


def test_reads_a_site() -> None:
    site = parse_site(GUEST + 'firmware = "bios"\ncpus = 2\nnics = [{ network = "inside" }]\n')
    guest = site.guest["web"]
    assert (guest.image, guest.cpus, guest.firmware) == ("hello", 2, Firmware.BIOS)
    assert guest.nics[0].network == "inside"
    assert guest.autostart


def test_the_example_is_a_site() -> None:
    text = (Path(__file__).parents[3] / "examples" / "site.toml").read_text()
    site = parse_site(text)
    assert sorted(site.guest) == ["debian", "hello"]
    assert site.storage["main"].serial == "lab-data0"


def test_syntax_errors_name_line_and_column() -> None:
    error = failure(HEAD + "[guest.web\n")
    assert isinstance(error, SiteSyntaxError)
    assert "site.toml" in error.what
    assert "line 3" in error.what
    assert error.evidence.splitlines() == ["[guest.web", "          ^"]


def test_syntax_errors_at_the_end_have_no_line_to_show() -> None:
    assert failure("a =").evidence == ""


@pytest.mark.parametrize(
    ("text", "path", "step"),
    [
        (GUEST + 'memroy = "1GiB"', "guest.web.memroy is not a key", "Did you mean 'memory'?"),
        (GUEST + "nics = [{ netwrk = 1, network = 'a' }]", "guest.web.nics[0].netwrk", "Did you mean 'network'?"),
        (HEAD + "[netwrok.a]\n", "netwrok is not a key", "Did you mean 'network'?"),
        (HEAD + '"a b" = 1\n', '"a b" is not a key', "Known here: bond, guest, image, network, node, schema, storage."),
    ],
)
def test_unknown_keys_are_named_in_full(text: str, path: str, step: str) -> None:
    error = failure(text)
    assert isinstance(error, UnknownKeyError)
    assert path in error.what
    assert error.next_step == step


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cpus = 0", "guest.web.cpus: expected a whole number, 1 to 255, got 0"),
        ('cpus = "2"', 'guest.web.cpus: expected a whole number, 1 to 255, got "2"'),
        ("cpus = true", "guest.web.cpus: expected a whole number, 1 to 255, got true"),
        ("cpus = 1979-05-27", "guest.web.cpus: expected a whole number, 1 to 255, got 1979-05-27"),
        ('firmware = "efi"', 'guest.web.firmware: expected one of "bios", "uefi", got "efi"'),
        ('disk = "4 gigs"', 'guest.web.disk: expected a whole number and a unit, as in "512MiB" or "4GiB", got'),
        ("autostart = 1", "guest.web.autostart: expected true or false, got 1"),
        ("nics = 3", "guest.web.nics: expected an array, got 3"),
        ("nics = [3]", "guest.web.nics[0]: expected a table, got 3"),
        ("nics = [{}]", "guest.web.nics[0].network is missing"),
        ("forwards = [{ port = 0, to = 80 }]", "guest.web.forwards[0].port: expected a port number, 1 to 65535, got 0"),
        ("cloud_init = { ssh_keys = [1] }", "guest.web.cloud_init.ssh_keys[0]: expected text in quotes, got 1"),
        ("cloud_init = []", "guest.web.cloud_init: expected a table, got []"),
        ('storage = "Main"', "guest.web.storage: expected at most 32 lower-case letters, digits, -, got"),
        ('storage = "a\\n"', "guest.web.storage: expected one line of printable text"),
    ],
)
def test_wrong_values_say_expected_and_got(line: str, message: str) -> None:
    error = failure(GUEST + line)
    assert isinstance(error, WrongTypeError)
    assert message in error.what


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a" * 33, "a\\n"])
def test_names_of_tables_are_checked_too(name: str) -> None:
    error = failure(HEAD + f'[image."{name}"]\nfile = "x"\n')
    assert isinstance(error, WrongTypeError)
    assert "the name must be" in error.what


def test_network_names_leave_room_for_the_bridge() -> None:
    assert "at most 12" in failure(HEAD + '[network.abcdefghijklm]\nsubnet = "10.0.0.0/24"\n').what
    parse_site(HEAD + '[network.abcdefghijkl]\nsubnet = "10.0.0.0/24"\n')


def test_tables_of_names_must_be_tables() -> None:
    assert "guest: expected tables of the form [guest.NAME], got 4" in failure(HEAD + "guest = 4").what


def test_all_problems_are_told_at_once() -> None:
    error = failure("schema = 2\n[guest.web]\nmemroy = 1\ncpus = 0\n")
    told = f"{error.what}\n{error.evidence}"
    for part in ("schema:", "guest.web.memroy", "guest.web.cpus", "guest.web.memory is missing", "node is missing"):
        assert part in told
    assert "(and 5 more)" in error.what
    assert len(error.evidence.splitlines()) == 5
    assert isinstance(error, WrongTypeError)


def test_the_source_is_named() -> None:
    with pytest.raises(SiteError, match=r"^FV-SITE-003: rack/a\.toml: schema is missing"):
        parse_site("node = { name = 'a' }", "rack/a.toml")


def test_long_values_are_cut() -> None:
    error = failure(GUEST + f'disk = "{"9" * 5000}"')
    assert len(error.what) < 200


def test_no_problem_raises_nothing() -> None:
    Problems("x").raise_any()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes() | st.dates() | st.times(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["schema", "node", "guest", "name", "image", "nics", "network", "memory", "a", "é"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["schema", "node", "guest", "image", "storage", "network"]), values))
def test_any_values_are_a_site_or_a_site_error(raw: dict[str, Any]) -> None:
    # The walk must find a problem wherever msgspec finds one, and no other.
    found = Problems("x")
    sitefile._table(raw, Site, "", found)
    try:
        msgspec.convert(raw, Site, strict=True)
    except msgspec.ValidationError:
        assert found.items
    else:
        assert not [problem for problem in found.items if "printable" not in problem.what]


@given(st.text())
def test_any_text_is_a_site_or_a_site_error(text: str) -> None:
    with pytest.raises(SiteError):
        parse_site(text)


def test_deep_nesting_is_no_bug() -> None:
    assert isinstance(failure("a = " + "[" * 100_000), SiteSyntaxError)


def test_the_schema_is_json_and_closed() -> None:
    schema = json.loads(json.dumps(site_schema()))
    assert schema["$schema"].startswith("https://json-schema.org/")
    guest = schema["$defs"]["Guest"]
    assert guest["additionalProperties"] is False
    assert guest["required"] == ["image", "memory"]
    assert guest["properties"]["cpus"]["maximum"] == 255


def test_a_start_is_a_word_or_a_table() -> None:
    short = parse_site(GUEST + "autostart = false").guest["web"].autostart
    assert short is False
    long = parse_site(GUEST + 'autostart = { order = 10, after = ["web"] }').guest["web"].autostart
    assert isinstance(long, Autostart)
    assert (long.order, long.after, long.delay, long.wait) == (10, ("web",), "0s", Wait.ANSWERED)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("autostart = { order = -1 }", "guest.web.autostart.order: expected a whole number, 0 to 9999, got -1"),
        (
            "autostart = { delay = 30 }",
            "guest.web.autostart.delay: expected a whole number and a unit (ms, s, m or",
        ),
        ('autostart = { wait = "up" }', 'guest.web.autostart.wait: expected one of "started", "answered", got "up"'),
        ("autostart = { oder = 1 }", "guest.web.autostart.oder is not a key"),
        ('on_crash = "ask"', 'guest.web.on_crash: expected one of "restart", "stop", "keep", got "ask"'),
        ("restarts = {}", "guest.web.restarts.max is missing"),
        ("restarts = { max = 0 }", "guest.web.restarts.max: expected a whole number, 1 to 100, got 0"),
        ('probe = "tcp"', 'guest.web.probe: expected a table, got "tcp"'),
        ('probe = { http = "/", expect = 42 }', "guest.web.probe.expect: expected an HTTP status, 100 to 599, got 42"),
    ],
)
def test_what_is_wrong_with_a_start_is_named_in_full(line: str, message: str) -> None:
    assert message in failure(GUEST + line).what
