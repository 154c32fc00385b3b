"""`files_from`, a table of files by their paths in a guest, becomes `files`, a table of their texts."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

from flashvisor.model.inline.mechanism import Kind, quoted

if TYPE_CHECKING:
    from flashvisor.model.inline.mechanism import Read

FILES, TEXTS = "files_from", "files"


def _rewrite(match: re.Match[str], read: Read) -> str:
    if match["head"] is not None:
        lines = match["body"].splitlines(keepends=True)
        return f"{match['head']}{TEXTS}{match['tail']}" + "".join(_line(line, read) for line in lines)
    if match["table"] is not None:
        names = tomllib.loads(f"table = {match['table']}")["table"]
        if _is_files(names):
            return f"{TEXTS}{match['equals']}{{ {', '.join(_pairs(names, read))} }}"
    return match[0]


def _line(line: str, read: Read) -> str:
    names = tomllib.loads(line)
    return "\n".join([*_pairs(names, read), ""]) if names and _is_files(names) else line


def _pairs(names: dict[str, str], read: Read) -> list[str]:
    return [f"{quoted(path)} = {quoted(text)}" for path, text in _texts(names, read).items()]


def _is_files(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) for name in value.values())


def _texts(names: dict[str, str], read: Read) -> dict[str, str]:
    return {path: read(name) for path, name in names.items()}


TABLES = Kind(
    files=FILES,
    texts=TEXTS,
    assignment=re.compile(
        rf"^[ \t]*\#.*$"
        rf"|^(?P<head>[ \t]*\[[^\[\]\n]*\.[ \t]*){FILES}(?P<tail>[ \t]*\][^\n]*\n?)(?P<body>(?:(?![ \t]*\[)[^\n]*\n?)*)"
        rf"|\b{FILES}(?P<equals>[ \t]*=[ \t]*)(?P<table>\{{[^{{}}\n]*\}})",
        re.MULTILINE,
    ),
    rewrite=_rewrite,
    is_files=_is_files,
    resolve=_texts,
    form=f'{FILES} = {{ "/in/guest" = "FILE" }} on one line, or as a table of its own',
)
