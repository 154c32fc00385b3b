"""A site's own files for an appliance, as an archive that goes behind its initramfs. Pure.

The kernel unpacks one archive after the other, so that a later file takes an earlier one's place::

    appended(size, {"/etc/site.d/site.conf": "cache-size=500"})

Source: Documentation/driver-api/early-userspace/buffer-format.rst ("newc").
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MAGIC = "070701"
WORD = 4  # bytes that an archive, a name and a file's content are aligned to
FILE_MODE, DIRECTORY_MODE = 0o100644, 0o40755
END = "TRAILER!!!"


def appended(size: int, files: Mapping[str, str]) -> bytes:
    """Returns what to put behind an initramfs of `size` bytes: the files, by absolute path, owned by root.

    The same files give the same bytes.
    """
    parents = {parent for path in files for parent in PurePosixPath(path).parents if parent.name}
    entries = [_entry(str(path), DIRECTORY_MODE, b"") for path in sorted(parents)]
    entries += [_entry(path, FILE_MODE, text.encode()) for path, text in sorted(files.items())]
    return b"\0" * (-size % WORD) + b"".join([*entries, _entry(END, 0, b"")])


def _entry(path: str, mode: int, content: bytes) -> bytes:
    name = path.lstrip("/").encode() + b"\0"
    ino, owner, links, time, device, check = 0, 0, 1, 0, 0, 0
    fields = [ino, mode, owner, owner, links, time, len(content), device, device, device, device, len(name), check]
    head = (MAGIC + "".join(f"{field:08X}" for field in fields)).encode() + name
    return _padded(head) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % WORD)
