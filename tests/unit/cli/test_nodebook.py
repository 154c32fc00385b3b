"""Which server a command means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.api.address import Address
from flashvisor.cli.nodebook import NodeBook
from flashvisor.errors import AddressError, NoNodeNamedError, SettingsFileError, UnknownNameError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def book(tmp_path: Path) -> NodeBook:
    return (
        NodeBook.load(tmp_path / "config" / "nodes.toml").use("beta", Address("b")).use("alpha", Address("::1", 8443))
    )


def test_what_was_written_is_read_again(book: NodeBook) -> None:
    again = NodeBook.load(book.path)
    assert again == book
    assert again.default == "alpha"
    assert again.nodes == {"alpha": Address("::1", 8443), "beta": Address("b")}


def test_option_before_variable_before_default(book: NodeBook) -> None:
    variable = {"FLASHVISOR_NODE": "beta"}
    assert book.resolve("c:1", variable) == Address("c", 1)
    assert book.resolve("", variable) == Address("b")
    assert book.resolve("", {}) == Address("::1", 8443)


def test_nothing_named(tmp_path: Path) -> None:
    with pytest.raises(NoNodeNamedError):
        NodeBook.load(tmp_path / "absent.toml").resolve("", {})


def test_neither_a_name_nor_an_address(book: NodeBook) -> None:
    with pytest.raises(AddressError):
        book.resolve("no such node", {})


@pytest.mark.parametrize("name", ["", "Alpha", "a b", "1a", 'x"y'])
def test_names_that_would_break_the_file(book: NodeBook, name: str) -> None:
    before = book.path.read_bytes()
    with pytest.raises(UnknownNameError):
        book.use(name, Address("c"))
    assert book.path.read_bytes() == before


@pytest.mark.parametrize("text", ["default =", "defualt = 'a'", "node = 3", "[node]\na = 1", "\xff"])
def test_a_damaged_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "nodes.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsFileError, match=r"nodes\.toml"):
        NodeBook.load(path)
