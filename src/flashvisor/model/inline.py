"""Puts the text of key files into a site file, so that what a server gets is complete. Pure, given a reader.

Owns `ssh_key_files`. The site file's layout and comments stay: only these assignments are replaced::

    text = inline_files(path.read_text(), lambda name: (path.parent / name).read_text(), str(path))
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

FILES_KEY = "ssh_key_files"
TEXT_KEY = "ssh_keys"
# A comment is matched first, from the start of its line, so that what is written in it stays as it is.
ASSIGNMENT = re.compile(rf"^[ \t]*#.*$|\b{FILES_KEY}(\s*=\s*)(\[[^\[\]]*\])", re.MULTILINE)


def inline_files(text: str, read: Callable[[str], str], source: str = "site.toml") -> str:
    """Replaces every `ssh_key_files = [...]` by `ssh_keys = [...]` with the files' lines.

    Args:
        text: The site file. Text that is not TOML is returned as it is: `parse_site` explains that better.
        read: Gives the text of a file that the site names; its own errors pass through.
        source: The file's name, for messages.

    Returns:
        The same site in which no file is named any more.

    Raises:
        WrongTypeError: both keys stand in one table, or the assignment is written in a way that cannot be replaced.
    """
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    read = functools.cache(read)
    wanted = _replaced(raw, read, source)
    if wanted == raw:
        return text
    result = ASSIGNMENT.sub(lambda match: _keys(match, read), text)
    # The text was changed as text: parsing it again proves that it says what was meant, and nothing else.
    try:
        same = tomllib.loads(result) == wanted
    except tomllib.TOMLDecodeError:
        same = False
    if not same:
        raise WrongTypeError(
            f"{source}: {FILES_KEY} is written in a way that cannot be replaced",
            next_step=f'Write it as {FILES_KEY} = ["FILE", …], and nowhere inside another text.',
        )
    return result


def _keys(match: re.Match[str], read: Callable[[str], str]) -> str:
    if match[2] is None:
        return match[0]
    try:
        names = tomllib.loads(f"files = {match[2]}")["files"]
    except tomllib.TOMLDecodeError:
        return match[0]
    if not _is_files(names):
        return match[0]
    # JSON's strings are TOML basic strings, as long as nothing is escaped to surrogates.
    return f"{TEXT_KEY}{match[1]}{json.dumps(_lines(names, read), ensure_ascii=False)}"


def _lines(names: list[str], read: Callable[[str], str]) -> list[str]:
    """The keys in files: one a line, without comments (authorized_keys(5))."""
    lines = (line.strip() for name in names for line in read(name).splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _is_files(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _replaced(value: Any, read: Callable[[str], str], source: str) -> Any:  # noqa: ANN401 - TOML values
    """The parsed site with its key files replaced; wrong types are left for `parse_site` to explain."""
    if isinstance(value, list):
        return [_replaced(item, read, source) for item in value]
    if not isinstance(value, dict):
        return value
    result = {key: _replaced(item, read, source) for key, item in value.items()}
    if _is_files(result.get(FILES_KEY)):
        if TEXT_KEY in result:
            raise WrongTypeError(
                f"{source}: {TEXT_KEY} and {FILES_KEY} stand in one table",
                next_step="Keep one of them; a key's text can be put into a file, one key a line.",
            )
        result[TEXT_KEY] = _lines(result.pop(FILES_KEY), read)
    return result
