"""The appliance hello: built for real, opened, started the way a server starts it, and asked for its page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.cli.buildtools import open_cache, open_keyring
from flashvisor.image import appliance, catalogue
from tools.appliancekit import Parts, assert_nobody_can_log_in, take_apart
from tools.guestbench import boot, fetch

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.tools

ANSWER_LIMIT = 120.0  # seconds; 2.4 on an idle machine


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return take_apart("hello", tmp_path)


def test_hello_is_small(parts: Parts) -> None:
    assert (parts.boot.kernel.parent / "hello.efi").stat().st_size == parts.size < 8_000_000


def test_hello_answers_with_its_page_and_goes_when_asked(parts: Parts, tmp_path: Path) -> None:
    with boot(tmp_path, parts.hardware(), forwards=["tcp:80"]) as running:
        page, server = fetch(f"http://127.0.0.1:{running.ports['tcp:80']}/", limit=ANSWER_LIMIT)
        running.push_power_button(limit=ANSWER_LIMIT)
    version = catalogue.load("hello").version
    assert "<h1>Hello</h1>" in page
    assert f"<b>hello</b>, version {version}" in page
    assert server == f"hello/{version}"
    assert "panic" not in running.serial()


def test_nobody_can_type_a_command_in_it(parts: Parts) -> None:
    assert_nobody_can_log_in(parts)


def test_building_it_again_gives_the_same_file(parts: Parts, tmp_path: Path) -> None:
    again = appliance.build(open_cache(), open_keyring(), "hello", tmp_path / "again")
    assert again.path.read_bytes() == (tmp_path / "hello.efi").read_bytes()
    assert again.size == parts.size
