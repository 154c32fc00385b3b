"""systemd-networkd: puts its unit files into /run and has them read. Owns the files' place, not what they say.

Source: systemd.network(5), systemd.netdev(5), networkctl(1)::

    changed = install({"50-fv-inside.netdev": "..."}, UNITS)
    if changed:
        reload()
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.host.files import write_atomic
from flashvisor.host.run import run
from flashvisor.host.systemd import reload_or_restart

if TYPE_CHECKING:
    from collections.abc import Mapping

UNITS = Path("/run/systemd/network")
SERVICE = "systemd-networkd.service"
OURS = "-fv-"  # part of the name of every file that this module writes, and of no other


def version() -> str:
    """Returns the first line of `networkctl --version`.

    Raises:
        ToolMissingError: networkctl is not installed.
    """
    return run(["networkctl", "--version"]).stdout.partition("\n")[0]


def installed(directory: Path) -> dict[str, str]:
    """Returns name to text of our files in a unit directory."""
    return {path.name: path.read_text() for path in sorted(directory.glob(f"*{OURS}*"))}


def install(files: Mapping[str, str], directory: Path) -> bool:
    """Makes our files in a unit directory exactly these: others of ours are taken away, nobody else's are touched.

    Returns:
        Whether anything changed.
    """
    for name in files:
        if OURS not in name or "/" in name:
            raise RuntimeError(f"'{name}' is not a name for one of our unit files")
    before = installed(directory)
    if before == dict(files):
        return False
    for name in before.keys() - files.keys():
        (directory / name).unlink()
    for name, text in files.items():
        if before.get(name) != text:
            write_atomic(directory / name, text.encode())
    return True


def reload() -> None:
    """Has networkd read its files again and reconfigure the links they match.

    Reload is SIGHUP (the unit is Type=notify-reload), which needs no D-Bus, unlike `networkctl reload`.

    Raises:
        CommandFailedError: systemd refused.
    """
    reload_or_restart(SERVICE)
