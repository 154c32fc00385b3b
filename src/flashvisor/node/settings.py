"""Where the agent finds and puts things: read once from its arguments, passed down as one value.

In flash it runs without arguments; tests and demos point it elsewhere.

Example::

    settings = parse_arguments(["--fake-driver", "--state", "ring.img", "--root", "node", "--port", "8443"])
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

STATE_DEVICE = Path("/dev/disk/by-partlabel/fv-state")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The agent's surroundings. `fake` runs it on an ordinary machine: no libvirt, no disks, no network is touched.

    Args:
        state: The state ring: a partition, or a file with `fake`.
        data: Holds storage/NAME; data disks are mounted beneath.
        run: Is emptied by a reboot (tmpfs): sockets, keys on their way to the TLS library, what is in force.
        address: Where the API listens; "::" is every address, IPv4 included.
        port: The API's TCP port.
        fake: Use the fake driver and the fake machine.
        fake_disks: Serial numbers of the fake machine's disks.
    """

    state: Path = STATE_DEVICE
    data: Path = Path("/var/lib/flashvisor")
    run: Path = Path("/run/flashvisor")
    address: str = "::"
    port: int = 443
    fake: bool = False
    fake_disks: tuple[str, ...] = ()

    def storage(self, name: str) -> Path:
        """Returns where a storage is mounted."""
        return self.data / "storage" / name

    @property
    def volatile(self) -> Path:
        """Holds images and guests of a site without storage: in RAM, gone after a reboot."""
        return self.data / "ram"

    @property
    def update(self) -> Path:
        """Holds an image while it comes in: in RAM, and still there after a new start of the agent alone."""
        return self.run / "update"

    @property
    def consoles(self) -> Path:
        """Holds the guests' console sockets."""
        return self.run / "console"

    @property
    def memory_copy(self) -> Path:
        """Holds what the server remembers while its flash is lost, for an agent that starts again."""
        return self.run / "memory.ring"


def parse_arguments(arguments: Sequence[str]) -> Settings:
    """Returns the settings that arguments ask for.

    Raises:
        SystemExit: they are wrong (argparse explains them).
    """
    if not arguments:
        return Settings()
    # Imported here, for it takes long on a slow processor, and in flash there is nothing to parse.
    import argparse

    parser = argparse.ArgumentParser(prog="python3 -m flashvisor.node", description="The flashvisor agent.")
    parser.add_argument("--fake-driver", action="store_true", help="run without libvirt, disks or networks")
    parser.add_argument("--fake-disk", action="append", default=[], help="serial number of a fake data disk")
    parser.add_argument("--state", type=Path, default=STATE_DEVICE, help="the state ring: a partition or a file")
    parser.add_argument("--root", type=Path, help="a directory for all that the agent writes")
    parser.add_argument("--address", default="::", help="where the API listens")
    parser.add_argument("--port", type=int, default=443, help="the API's TCP port")
    given = parser.parse_args(arguments)
    default = Settings()
    return Settings(
        state=given.state,
        data=given.root / "data" if given.root else default.data,
        run=given.root / "run" if given.root else default.run,
        address=given.address,
        port=given.port,
        fake=given.fake_driver,
        fake_disks=tuple(given.fake_disk),
    )
