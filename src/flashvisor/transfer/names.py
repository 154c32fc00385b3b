"""Names for what is imported: short, lower-case, as a site file takes them. Pure.

Example::

    slug("Web Server (old)") == "web-server-old"
    plain_name("https://example.com/debian-13.qcow2.xz") == "debian-13"
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

LIMIT = 32  # characters: model.site.words.Name
NETWORK_LIMIT = 12  # characters: model.site.words.NetworkName
NAME_LIMIT = 100  # characters of a file name
ENDINGS = frozenset({".gz", ".xz", ".zst", ".qcow2", ".img", ".raw", ".vmdk", ".vhd", ".vhdx", ".vdi", ".ova", ".ovf"})


def slug(text: str, *, limit: int = LIMIT, otherwise: str = "guest") -> str:
    """Returns a name made of what letters and digits a text has, at most `limit` characters."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not name:
        return otherwise
    if not name[0].isalpha():
        name = f"{otherwise[0]}{name}"
    return name[:limit].rstrip("-")


def disk_name(guest: str, index: int) -> str:
    """Returns the name of a guest's disk number `index` (from 0); the first has the guest's."""
    ending = f"-disk{index + 1}" if index else ""
    return f"{guest[: LIMIT - len(ending)].rstrip('-')}{ending}"


def unique(name: str, taken: set[str]) -> str:
    """Returns the name, or the next that is free with a number behind it."""
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name[: LIMIT - len(str(number)) - 1]}-{number}"
    return found


def plain_name(source: str) -> str:
    """Returns the last part of a path or URL without the endings that tell a format."""
    place = unquote(urlsplit(source).path) if is_url(source) else source
    name = PurePosixPath(place).name
    while PurePosixPath(name).suffix.lower() in ENDINGS:
        name = PurePosixPath(name).stem
    return slug(name, otherwise="image")


def is_url(source: str) -> bool:
    """Tells whether a source is to be downloaded."""
    return source.lower().startswith(("http://", "https://"))


def shown(source: str) -> str:
    """Returns a source as records keep it: a file's name, or a URL without what could be a secret.

    Names may hold bytes that are no UTF-8; records, which are JSON, may not.
    """
    if not is_url(source):
        return PurePosixPath(source).name.encode(errors="replace").decode()
    parts = urlsplit(source)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"


def file_name(url: str) -> str:
    """Returns a name for a downloaded file: the URL's last part, as far as it is harmless."""
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)[:NAME_LIMIT].lstrip(".") or "download"
