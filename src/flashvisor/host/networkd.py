"""systemd-networkd: puts its unit files into /run and has them read. Owns the files' place, not what they say.

Source: systemd.network(5), systemd.netdev(5), networkctl(1)::

    changed = install({"50-fv-inside.netdev": "..."}, UNITS)
    if changed:
        reload(UNITS)
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
STATE = Path("/run/systemd/netif/state")
UNREAD = "fv-unread"  # there while our files may differ from what networkd has read
DEVICE, NAME, RESOLVERS = ".netdev", "Name=", "DNS="
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


def outdated(files: Mapping[str, str], directory: Path) -> tuple[str, ...]:
    """Returns the interfaces that our files of now make, and these files make otherwise or not at all.

    networkd leaves an interface alone once it is there (docs/adr/0006): whoever changes one takes it away first.
    """
    old = installed(directory)
    changed = [text for name, text in old.items() if name.endswith(DEVICE) and files.get(name) != text]
    names = (line.removeprefix(NAME) for text in changed for line in text.splitlines() if line.startswith(NAME))
    return tuple(sorted(names))


def install(files: Mapping[str, str], directory: Path) -> bool:
    """Makes our files in a unit directory exactly these: others of ours are taken away, nobody else's are touched.

    Returns:
        Whether networkd has something to read: also when it did not come to that the last time.
    """
    for name in files:
        if OURS not in name or "/" in name:
            raise RuntimeError(f"'{name}' is not a name for one of our unit files")
    before = installed(directory)
    if before == dict(files):
        return (directory / UNREAD).exists()
    directory.mkdir(parents=True, exist_ok=True)
    (directory / UNREAD).touch()
    for name in before.keys() - files.keys():
        (directory / name).unlink()
    for name, text in files.items():
        if before.get(name) != text:
            write_atomic(directory / name, text.encode())
    return True


def reload(directory: Path) -> None:
    """Has networkd read its files again and reconfigure the links they match.

    Reload is SIGHUP (the unit is Type=notify-reload), which needs no D-Bus, unlike `networkctl reload`.

    Raises:
        CommandFailedError: systemd refused.
    """
    reload_or_restart(SERVICE)
    (directory / UNREAD).unlink(missing_ok=True)


def resolvers(state: Path = STATE) -> tuple[str, ...]:
    """Returns the name servers that the server's uplinks were told of or given; none if networkd knows none.

    Source: sd-network, network_get_dns: the state file that systemd-resolved reads as well.
    """
    try:
        lines = state.read_text().splitlines()
    except OSError:
        return ()
    found = (line.removeprefix(RESOLVERS).split() for line in lines if line.startswith(RESOLVERS))
    # An address may be followed by the name that a certificate would have.
    return tuple(text.partition("#")[0] for texts in found for text in texts)
