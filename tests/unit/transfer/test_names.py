"""Names for what is imported fit a site file, whatever they are made of."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashvisor.transfer.names import disk_name, file_name, plain_name, shown, slug, unique

NAME = re.compile(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?")  # model.site.words.Name


@given(st.text())
def test_any_text_becomes_a_name(text: str) -> None:
    assert NAME.fullmatch(slug(text))
    assert len(slug(text, limit=12)) <= 12
    for index in (0, 1, 99):
        assert NAME.fullmatch(disk_name(slug(text), index))


@pytest.mark.parametrize(
    ("text", "name"),
    [("Web Server (old)", "web-server-old"), ("---", "guest"), ("2nd", "g2nd"), ("äö", "guest"), ("x" * 99, "x" * 32)],
)
def test_a_name_keeps_what_it_can(text: str, name: str) -> None:
    assert slug(text) == name


def test_names_of_files_and_urls() -> None:
    assert plain_name("/srv/Debian 13.qcow2.xz") == "debian-13"
    assert plain_name("https://user:pw@example.com/a/disk%20one.OVA?token=1") == "disk-one"
    assert plain_name("https://example.com/") == "image"
    assert shown("https://user:pw@example.com/a/x.ova?token=1#y") == "https://example.com/a/x.ova"
    assert shown("/srv/x.ova") == "x.ova"
    assert file_name("https://example.com/a/..%2f..%2fetc%2fpasswd") == "passwd"
    assert file_name("https://example.com/a/.hidden;x") == "hidden-x"
    assert file_name("https://example.com") == "download"


def test_a_name_that_is_taken_gets_a_number() -> None:
    assert unique("web", set()) == "web"
    assert unique("web", {"web", "web-2"}) == "web-3"
    assert len(unique("x" * 32, {"x" * 32})) == 32
