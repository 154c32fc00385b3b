"""How the files that a key names become texts in the site file itself. Pure.

A site file is changed as text, for its comments and its layout to stay; parsing it again proves that it then says what
was meant, and nothing else.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flashvisor.errors import WrongTypeError

if TYPE_CHECKING:
    import re

Read = Callable[[str], str]


@dataclass(frozen=True)
class Kind:
    """A key whose value names files, and the key that takes their texts.

    Args:
        files: The key that names files.
        texts: The key that takes their texts.
        assignment: Finds it in a site file, and comments before it, so that what is written in them stays as it is.
        rewrite: Returns what takes a match's place.
        is_files: Whether a value names files; what has another type is `parse_site`'s to explain.
        resolve: Returns what such a value becomes.
        form: How it has to be written to be found.
    """

    files: str
    texts: str
    assignment: re.Pattern[str]
    rewrite: Callable[[re.Match[str], Read], str]
    is_files: Callable[[object], bool]
    resolve: Callable[[Any, Read], object]
    form: str


def replace(text: str, read: Read, source: str, kind: Kind) -> str:
    """Returns the site file with one kind of key replaced; see `inline_files`."""
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    wanted = _resolved(raw, read, source, kind)
    if wanted == raw:
        return text
    try:
        result = kind.assignment.sub(lambda match: kind.rewrite(match, read), text)
        same = tomllib.loads(result) == wanted
    except tomllib.TOMLDecodeError:
        same = False
    if not same:
        raise WrongTypeError(
            f"{source}: {kind.files} is written in a way that cannot be replaced",
            next_step=f"Write it as {kind.form}, and nowhere inside another text.",
        )
    return result


def quoted(text: str) -> str:
    """Returns a text as a TOML basic string."""
    # JSON's strings are such, but for DEL, which JSON leaves as it is and TOML takes only escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _resolved(value: Any, read: Read, source: str, kind: Kind) -> Any:  # noqa: ANN401 - TOML values
    """The parsed site with its files put in."""
    if isinstance(value, list):
        return [_resolved(item, read, source, kind) for item in value]
    if not isinstance(value, dict):
        return value
    result = {key: _resolved(item, read, source, kind) for key, item in value.items()}
    if kind.is_files(result.get(kind.files)):
        if kind.texts in result:
            raise WrongTypeError(
                f"{source}: {kind.texts} and {kind.files} stand in one table",
                next_step="Keep one of them; a short text can be put into a file, too.",
            )
        result[kind.texts] = kind.resolve(result.pop(kind.files), read)
    return result
