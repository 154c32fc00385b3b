"""Files named in `files_from` become texts, and nothing else in the site file moves."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashvisor.errors import WrongTypeError
from flashvisor.model.inline import inline_files

FILES = {"a.conf": 'say "hello"\n\ttwice\n', "b.conf": "é\x7f"}


def read(name: str) -> str:
    return FILES[name]


def test_a_table_on_one_line() -> None:
    text = '# head\n[guest.web]\nfiles_from = { "/a" = "a.conf", "/b" = "b.conf" }  # tail\nmemory = "1GiB"\n'
    result = inline_files(text, read)
    assert result.startswith("# head\n[guest.web]\nfiles = {")
    assert result.endswith('}  # tail\nmemory = "1GiB"\n')
    assert tomllib.loads(result)["guest"]["web"]["files"] == {"/a": FILES["a.conf"], "/b": FILES["b.conf"]}


def test_a_table_of_its_own() -> None:
    text = (
        '[guest.web.files_from] # mine\n# first\n"/a" = "a.conf"\n\n  "/b" = \'b.conf\'\n# next\n[guest.two]\nx = 1\n'
    )
    result = inline_files(text, read)
    assert result.startswith('[guest.web.files] # mine\n# first\n"/a" = "say')
    assert result.endswith("# next\n[guest.two]\nx = 1\n")
    assert tomllib.loads(result)["guest"]["web"]["files"] == {"/a": FILES["a.conf"], "/b": FILES["b.conf"]}


def test_several_guests_and_an_empty_table_at_the_end() -> None:
    text = '[guest.a.files_from]\n"/a" = "a.conf"\n[guest.b]\nfiles_from = {}\n[guest.c.files_from]'
    guests = tomllib.loads(inline_files(text, read))["guest"]
    assert guests == {"a": {"files": {"/a": FILES["a.conf"]}}, "b": {"files": {}}, "c": {"files": {}}}


@pytest.mark.parametrize(
    "text",
    [
        'files = { "/a" = "x" }\n',
        "",
        "a = [",
        "files_from = 3\n",
        'files_from = { "/a" = 3 }\n',
        '# files_from = { "/a" = "missing" }\na = 1\n',
    ],
)
def test_what_names_no_file_stays_as_it_is(text: str) -> None:
    assert inline_files(text, read) == text


@pytest.mark.parametrize(
    "text",
    [
        '[guest.a]\nfiles_from."/a" = "a.conf"\n',
        'a = { b = { "files_from" = { "/a" = "a.conf" } } }\n',
        'x = \'files_from = { "/a" = "b.conf" }\'\nfiles_from = { "/a" = "a.conf" }\n',
    ],
)
def test_what_cannot_be_replaced_is_said(text: str) -> None:
    with pytest.raises(WrongTypeError, match="cannot be replaced") as caught:
        inline_files(text, read)
    assert "files_from = {" in caught.value.next_step


def test_both_keys_are_refused() -> None:
    with pytest.raises(WrongTypeError, match="files and files_from"):
        inline_files('files = { "/b" = "x" }\nfiles_from = { "/a" = "a.conf" }\n', read)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.booleans())
def test_any_text_arrives_as_it_is(content: str, own_table: bool) -> None:
    site = '[a.files_from]\n"/a" = "f"\n' if own_table else '[a]\nfiles_from = { "/a" = "f" }\n'
    result = inline_files(site, {"f": content}.__getitem__)
    assert tomllib.loads(result) == {"a": {"files": {"/a": content}}}
