"""Listings of archives: lines as `ls -ln` writes them, as cpio and unsquashfs print them.

Example::

    parse("-rwsr-xr-x 0/0 9 2026-01-01 00:00 squashfs-root/bin/su", SQUASHFS).mode == 0o104755
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass

MODE = r"(?P<mode>[-a-zA-Z]{10})"
SIZE = r"(?P<size>\d+|\d+, *\d+)"  # bytes, or a device's two numbers
# cpio(1) --list --verbose --numeric-uid-gid; unsquashfs(1) -lln.
CPIO = re.compile(rf"{MODE} +\d+ +(?P<owner>\d+) +(?P<group>\d+) +{SIZE} \w{{3}} [ \d]\d [ \d:]{{5}} (?P<path>.+)")
SQUASHFS = re.compile(rf"{MODE} (?P<owner>\d+)/(?P<group>\d+) +{SIZE} [-\d]{{10}} [\d:]{{5}} (?P<path>.+)")
TYPES = {
    "-": stat.S_IFREG, "d": stat.S_IFDIR, "l": stat.S_IFLNK, "b": stat.S_IFBLK, "c": stat.S_IFCHR, "p": stat.S_IFIFO,
    "s": stat.S_IFSOCK,
}  # fmt: skip
# Where the three "x" stand in a mode's ten letters, with the bit that another letter there means.
SPECIAL = {3: stat.S_ISUID, 6: stat.S_ISGID, 9: stat.S_ISVTX}


@dataclass(frozen=True)
class Listed:
    """A line of a listing.

    Args:
        path: As the archive names it.
        mode: Type and permission bits, as in stat(2).
        owner: Number of the user.
        group: Number of the group.
        size: Bytes; 0 for a device.
        target: Where a link leads; "" for everything else.
    """

    path: str
    mode: int
    owner: int
    group: int
    size: int
    target: str = ""


def parse(line: str, form: re.Pattern[str]) -> Listed:
    """Reads a line.

    Raises:
        ValueError: it is not a line of that form.
    """
    match = form.fullmatch(line)
    if match is None:
        raise ValueError(f"'{line}' is not a line of a listing")
    mode = mode_bits(match["mode"])
    path, _, target = match["path"].partition(" -> ") if stat.S_ISLNK(mode) else (match["path"], "", "")
    size = 0 if "," in match["size"] else int(match["size"])
    return Listed(path, mode, int(match["owner"]), int(match["group"]), size, target)


def mode_bits(text: str) -> int:
    """Returns the bits that ten letters such as "-rwsr-xr-x" stand for: stat.filemode, the other way round.

    Raises:
        ValueError: a letter means nothing where it stands.
    """
    mode = TYPES.get(text[0], 0)
    for place, letter in enumerate(text[1:], start=1):
        bit = 1 << (9 - place)
        if letter == "rwx"[(place - 1) % 3]:
            mode |= bit
        elif letter in "st" and place in SPECIAL:
            mode |= bit | SPECIAL[place]
        elif letter in "ST" and place in SPECIAL:
            mode |= SPECIAL[place]
        elif letter != "-":
            raise ValueError(f"'{text}' is not a mode")
    if stat.filemode(mode) != text:
        raise ValueError(f"'{text}' is not a mode")
    return mode
