"""Puts the text of files into a site file's `files_from` tables. Pure, given a reader.

Owns `files_from`, whose values are files on the administrator's machine; they become `files`, whose values are
texts, before anything is sent. Layout and comments stay, as with key files (inline.py)::

    text = inline_tables(path.read_text(), lambda name: (path.parent / name).read_text(), str(path))
"""

from __future__ import annotations

import functools
import json
import re
import tomllib
from typing import TYPE_CHECKING, Any

from flashvisor.errors import WrongTypeError

if TYPE_CHECKING:
    from collections.abc import Callable

FROM_KEY = "files_from"
FILES_KEY = "files"
# A comment is matched first, from the start of its line, so that what is written in it stays as it is.
TABLE = re.compile(
    rf"^[ \t]*\#.*$"
    rf"|^(?P<head>[ \t]*\[[^\[\]\n]*\.[ \t]*){FROM_KEY}(?P<tail>[ \t]*\][^\n]*\n?)(?P<body>(?:(?![ \t]*\[)[^\n]*\n?)*)"
    rf"|\b{FROM_KEY}(?P<equals>[ \t]*=[ \t]*)(?P<table>\{{[^{{}}\n]*\}})",
    re.MULTILINE,
)


def inline_tables(text: str, read: Callable[[str], str], source: str = "site.toml") -> str:
    """Replaces every `files_from` table by `files` with the files' texts.

    Args:
        text: The site file. Text that is not TOML is returned as it is: `parse_site` explains that better.
        read: Gives the text of a file that the site names; its own errors pass through.
        source: The file's name, for messages.

    Raises:
        WrongTypeError: both keys stand in one table, or a table is written in a way that cannot be replaced.
    """
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    read = functools.cache(read)
    wanted = _replaced(raw, read, source)
    if wanted == raw:
        return text
    # The text was changed as text: parsing it again proves that it says what was meant, and nothing else.
    try:
        result = TABLE.sub(lambda match: _table(match, read), text)
        same = tomllib.loads(result) == wanted
    except tomllib.TOMLDecodeError:
        same = False
    if not same:
        raise WrongTypeError(
            f"{source}: {FROM_KEY} is written in a way that cannot be replaced",
            next_step=f'Write it as {FROM_KEY} = {{ "/in/guest" = "FILE" }} on one line, or as a table of its own.',
        )
    return result


def _table(match: re.Match[str], read: Callable[[str], str]) -> str:
    if match["head"] is not None:
        lines = match["body"].splitlines(keepends=True)
        return f"{match['head']}{FILES_KEY}{match['tail']}" + "".join(_line(line, read) for line in lines)
    if match["table"] is not None:
        names = tomllib.loads(f"table = {match['table']}")["table"]
        if _is_names(names):
            return f"{FILES_KEY}{match['equals']}{{ {', '.join(_pairs(names, read))} }}"
    return match[0]


def _line(line: str, read: Callable[[str], str]) -> str:
    names = tomllib.loads(line)
    return "\n".join([*_pairs(names, read), ""]) if names and _is_names(names) else line


def _pairs(names: dict[str, str], read: Callable[[str], str]) -> list[str]:
    return [f"{_string(path)} = {_string(read(name))}" for path, name in names.items()]


def _is_names(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) for name in value.values())


def _string(text: str) -> str:
    # JSON's strings are TOML basic strings, but for DEL, which JSON leaves as it is and TOML takes only escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _replaced(value: Any, read: Callable[[str], str], source: str) -> Any:  # noqa: ANN401 - TOML values
    """The parsed site with its files put in; wrong types are left for `parse_site` to explain."""
    if isinstance(value, list):
        return [_replaced(item, read, source) for item in value]
    if not isinstance(value, dict):
        return value
    result = {key: _replaced(item, read, source) for key, item in value.items()}
    names = result.get(FROM_KEY)
    if _is_names(names):
        if FILES_KEY in result:
            raise WrongTypeError(
                f"{source}: {FILES_KEY} and {FROM_KEY} stand in one table",
                next_step="Keep one of them; a short text can be put into a file, too.",
            )
        result[FILES_KEY] = {path: read(name) for path, name in result.pop(FROM_KEY).items()}
    return result
