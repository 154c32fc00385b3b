"""`ssh_key_files`, a list of files, becomes `ssh_keys`, a list of their lines."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

from flashvisor.model.inline.mechanism import Kind, quoted

if TYPE_CHECKING:
    from flashvisor.model.inline.mechanism import Read

FILES, TEXTS = "ssh_key_files", "ssh_keys"


def _rewrite(match: re.Match[str], read: Read) -> str:
    if match[2] is None:
        return match[0]
    names = tomllib.loads(f"files = {match[2]}")["files"]
    if not _is_files(names):
        return match[0]
    return f"{TEXTS}{match[1]}[{', '.join(quoted(line) for line in _lines(names, read))}]"


def _is_files(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _lines(names: list[str], read: Read) -> list[str]:
    """The keys in files: one a line, without comments (authorized_keys(5))."""
    lines = (line.strip() for name in names for line in read(name).splitlines())
    return [line for line in lines if line and not line.startswith("#")]


KEYS = Kind(
    files=FILES,
    texts=TEXTS,
    assignment=re.compile(rf"^[ \t]*#.*$|\b{FILES}(\s*=\s*)(\[[^\[\]]*\])", re.MULTILINE),
    rewrite=_rewrite,
    is_files=_is_files,
    resolve=_lines,
    form=f'{FILES} = ["FILE", …]',
)
