"""Puts the texts of files into a site file, so that what a server gets is complete. Pure, given a reader.

Owns which keys of a site name files on the administrator's machine: each kind has a file here. The site file's layout
and comments stay: only these assignments are replaced (mechanism.py)::

    text = inline_files(path.read_text(), lambda name: (path.parent / name).read_text(), str(path))
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from flashvisor.model.inline.keys import KEYS
from flashvisor.model.inline.mechanism import replace
from flashvisor.model.inline.tables import TABLES

if TYPE_CHECKING:
    from flashvisor.model.inline.mechanism import Read


def inline_files(text: str, read: Read, source: str = "site.toml") -> str:
    """Replaces every `ssh_key_files` by `ssh_keys`, and every `files_from` by `files`, with the files' texts.

    Args:
        text: The site file. Text that is not TOML is returned as it is: `parse_site` explains that better.
        read: Gives the text of a file that the site names, asked once for each; its own errors pass through.
        source: The file's name, for messages.

    Returns:
        The same site in which no file is named any more.

    Raises:
        WrongTypeError: both keys of a kind stand in one table, or an assignment is written in a way that cannot be
            replaced.
    """
    read = functools.cache(read)
    for kind in (KEYS, TABLES):
        text = replace(text, read, source, kind)
    return text
