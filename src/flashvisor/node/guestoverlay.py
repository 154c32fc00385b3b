"""A guest's own initramfs: the appliance's, with the site's files behind it.

Owns the file `initrd-DIGEST` among the guest's own. An appliance's own image is never changed::

    files = with_files(store.boot_files(sha256), guest.files, Path("…/guests/web"))
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from flashvisor.guests.overlay import appended
from flashvisor.host.files import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from flashvisor.node.images import BootFiles

PREFIX = "initrd-"
DIGITS = 12  # hex digits of a digest in names


def with_files(boot: BootFiles, files: Mapping[str, str], own: Path) -> BootFiles:
    """Returns what to start, and makes it if it is not there.

    Args:
        boot: What the appliance starts from.
        files: Texts by absolute path in the guest; with none of them, nothing is made.
        own: The guest's own directory.
    """
    identity = repr((str(boot.initrd), sorted(files.items())))
    path = own / f"{PREFIX}{hashlib.sha256(identity.encode()).hexdigest()[:DIGITS]}"
    # With a dot before it: what a cut of power left half-written.
    for old in (*own.glob(f"{PREFIX}*"), *own.glob(f".{PREFIX}*")):
        if old != path or not files:
            old.unlink()
    if not files:
        return boot
    if not path.exists():
        with replacing(path) as new:
            if boot.initrd:
                shutil.copyfile(boot.initrd, new)
            with new.open("ab") as file:
                file.write(appended(file.tell(), files))
    return replace(boot, initrd=path)
