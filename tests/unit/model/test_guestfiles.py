"""A guest's own files in the site file: paths, texts of several lines, limits."""

from __future__ import annotations

import json

import pytest

from flashvisor.errors import ConflictError, SiteError, WrongTypeError
from flashvisor.model.sitecheck.files import FILES_LIMIT
from flashvisor.model.sitefile import check_site, parse_site, site_schema

SITE = """\
schema = 1
[node]
name = "alpha"
[image.web]
file = "web.efi"
[guest.web]
image = "web"
memory = "64MiB"
"""


def check(line: str) -> dict[str, str]:
    site = parse_site(SITE + line)
    check_site(site)
    return site.guest["web"].files


def failure(line: str) -> SiteError:
    with pytest.raises(SiteError) as caught:
        check(line)
    return caught.value


def test_texts_may_have_lines_and_tabs() -> None:
    assert check('files = { "/etc/site.d/site.conf" = "a\\n\\tb é\\n", "/x" = "" }') == {
        "/etc/site.d/site.conf": "a\n\tb é\n",
        "/x": "",
    }


def test_without_the_key_there_are_none() -> None:
    assert check("") == {}


@pytest.mark.parametrize(
    "path", ["", "/", "etc/a", "/etc/", "/a//b", "/a/../b", "/..", "/.", "/a b", "/é", "/a\\n", "/" + "a" * 255]
)
def test_paths_are_absolute_and_plain(path: str) -> None:
    error = failure(f'files = {{ "{path}" = "x" }}')
    assert isinstance(error, WrongTypeError)
    assert "the name must be" in error.what


@pytest.mark.parametrize("path", ["/init", "/a/..b", "/a/.b", "/srv/www/app-1.2_x@y+z.css"])
def test_ordinary_paths_pass(path: str) -> None:
    assert check(f'files = {{ "{path}" = "x" }}') == {path: "x"}


@pytest.mark.parametrize("text", ["\\u0000", "\\u007f", "\\r\\n", "\\u2028"])
def test_what_is_no_text_is_refused(text: str) -> None:
    assert "printable text" in failure(f'files = {{ "/a" = "{text}" }}').what


def test_other_keys_still_take_one_line_only() -> None:
    assert "one line of printable text" in failure('files_from = { "/a" = "b\\nc" }').what


def test_a_file_has_a_limit() -> None:
    text = "x" * 16_384
    assert check(f'files = {{ "/a" = "{text}" }}') == {"/a": text}
    assert "16384" in failure(f'files = {{ "/a" = "{text}x" }}').what


def test_all_files_together_have_one_in_bytes() -> None:
    quarter = "é" * (FILES_LIMIT // 8)
    pairs = ", ".join(f'"/{name}" = "{quarter}"' for name in "abcd")
    check(f"files = {{ {pairs} }}")
    assert "expected at most 65,536 bytes together, got 65,537" in failure(f'files = {{ {pairs}, "/e" = "x" }}').what


def test_a_file_is_no_directory() -> None:
    error = failure('files = { "/a" = "x", "/a/b/c" = "y", "/ab" = "z" }')
    assert isinstance(error, ConflictError)
    assert 'guest.web.files: "/a" is a file, and the directory of "/a/b/c"' in error.what
    assert error.evidence == ""


def test_names_of_files_do_not_reach_a_server() -> None:
    error = failure('files_from = { "/a" = "a.conf" }')
    assert isinstance(error, WrongTypeError)
    assert "files_from: expected to be replaced by files" in error.what


def test_the_schema_says_what_a_path_is() -> None:
    schema = json.loads(json.dumps(site_schema()))
    files = schema["$defs"]["Guest"]["properties"]["files"]
    assert files["propertyNames"]["maxLength"] == 255
    assert files["additionalProperties"]["maxLength"] == 16_384
