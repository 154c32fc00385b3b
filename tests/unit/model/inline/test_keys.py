"""Key files become keys, and nothing else in the file moves."""

from __future__ import annotations

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashvisor.errors import WrongTypeError
from flashvisor.model.inline import inline_files

FILES = {"a.pub": "ssh-ed25519 AAAA a\n", "b.pub": "# mine\n\nssh-rsa BBBB b\r\nssh-rsa CCCC c\n"}


def read(name: str) -> str:
    return FILES[name]


def test_keys_take_the_place_of_files() -> None:
    text = '# head\n[guest.a.cloud_init]\nssh_key_files = [ # two\n  "a.pub",\n  "b.pub",\n]  # tail\nuser = "me"\n'
    result = inline_files(text, read)
    keys = '["ssh-ed25519 AAAA a", "ssh-rsa BBBB b", "ssh-rsa CCCC c"]'
    assert result == f'# head\n[guest.a.cloud_init]\nssh_keys = {keys}  # tail\nuser = "me"\n'


def test_each_file_is_read_once_and_every_guest_gets_its_own() -> None:
    asked = []

    def count(name: str) -> str:
        asked.append(name)
        return FILES[name]

    text = 'a = { ssh_key_files = ["a.pub"] }\nb = [{ ssh_key_files = ["a.pub", "b.pub"] }]\n'
    result = tomllib.loads(inline_files(text, count))
    assert result["a"] == {"ssh_keys": ["ssh-ed25519 AAAA a"]}
    assert len(result["b"][0]["ssh_keys"]) == 3
    assert sorted(asked) == ["a.pub", "b.pub"]


@pytest.mark.parametrize(
    "text",
    [
        'ssh_keys = ["x"]\n',
        "",
        "a = [",
        "ssh_key_files = 3\n",
        "ssh_key_files = [3]\n",
        '# ssh_key_files = ["missing.pub"]\na = 1\n',
    ],
)
def test_what_names_no_file_stays_as_it_is(text: str) -> None:
    assert inline_files(text, read) == text


def test_comments_stay() -> None:
    text = '# ssh_key_files = ["missing.pub"]\nssh_key_files = ["a.pub"]\n'
    assert inline_files(text, read) == '# ssh_key_files = ["missing.pub"]\nssh_keys = ["ssh-ed25519 AAAA a"]\n'


def test_both_keys_are_refused() -> None:
    with pytest.raises(WrongTypeError, match="stand in one table"):
        inline_files('ssh_keys = []\nssh_key_files = ["a.pub"]\n', read)


@pytest.mark.parametrize(
    "text",
    [
        '"ssh_key_files" = ["a.pub"]\n',
        'note = \'ssh_key_files = ["a.pub"]\'\nssh_key_files = ["a.pub"]\n',
        "note = '''\n# not a comment: ssh_key_files = []\n'''\n\"ssh_key_files\" = [\"a.pub\"]\n",
    ],
)
def test_what_cannot_be_replaced_safely_is_refused(text: str) -> None:
    with pytest.raises(WrongTypeError, match="cannot be replaced"):
        inline_files(text, read)


def test_a_readers_error_passes_through() -> None:
    with pytest.raises(KeyError):
        inline_files('ssh_key_files = ["none.pub"]', read)


@given(st.lists(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])), min_size=1))
def test_any_key_text_survives(lines: list[str]) -> None:
    result = inline_files('ssh_key_files = ["k"]', lambda _name: "\n".join(lines))
    wanted = [line.strip() for line in "\n".join(lines).splitlines()]
    assert tomllib.loads(result) == {"ssh_keys": [line for line in wanted if line and not line.startswith("#")]}
    assert json.loads(result.removeprefix("ssh_keys = ")) is not None
