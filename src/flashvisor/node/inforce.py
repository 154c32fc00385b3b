"""What is in force on this server now, kept where a reboot forgets it and a restart of the agent does not.

Owns one file under /run. With it, a restarted agent knows which guests run as the site says, and finds an
unconfirmed site that it has to take back.

Example::

    desired = read_in_force(path)
    write_in_force(path, config)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flashvisor.host.files import write_atomic
from flashvisor.model.record import Config
from flashvisor.model.sitefile import check_site, parse_site
from flashvisor.node.plan import Desired

if TYPE_CHECKING:
    from pathlib import Path


def desired_of(config: Config) -> Desired:
    """Returns the site of a generation.

    Raises:
        SiteError: its text is not a site of this version.
    """
    source = f"site generation {config.generation}"
    site = parse_site(config.site_toml, source)
    check_site(site, source)
    return Desired(site=site, images=config.images)


def write_in_force(path: Path, config: Config | None) -> None:
    """Notes what is in force; None for nothing."""
    if config is None:
        path.unlink(missing_ok=True)
    else:
        write_atomic(path, msgspec.json.encode(config), mode=0o600)


def read_in_force(path: Path) -> Config | None:
    """Returns what is in force; None right after boot, or when the note cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Config)
    except (OSError, msgspec.MsgspecError):
        return None
