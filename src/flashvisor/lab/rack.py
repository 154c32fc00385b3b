"""The rack: the virtual servers under one directory, and the switch that joins them.

Owns which servers there are; each lies whole in its own directory (disks, variables, logs, state). Changes are made
under the rack's lock, so two commands at once wait for each other::

    rack = Rack(default_root())
    server = rack.up(ServerSpec(name="alpha", flash=Path("build/kvm/flash.img")))
    rack.down("alpha")      # or rack.down_all(): nothing is left running, nothing is left behind
"""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flashvisor.errors import (
    CommandLineError,
    RackStateError,
    ServerExistsError,
    UnknownServerError,
    UnreadableFileError,
)
from flashvisor.host import sockets
from flashvisor.host.files import MIB, bytes_on_disk, copy_sparse, need_space
from flashvisor.host.locks import exclusive
from flashvisor.lab.machine import API_PORT, SERVER_FILE, Paths
from flashvisor.lab.power import power_on, stop_processes
from flashvisor.lab.server import Server
from flashvisor.lab.state import RackState, ServerState, read_rack, read_server, read_servers, write
from flashvisor.model.site.words import Name

if TYPE_CHECKING:
    from flashvisor.lab.machine import ServerSpec

LOGS = 64 * MIB  # bytes to be free beside the flash device: logs, variables, TPM, a data disk's first blocks
RACK_FILE = "rack.json"
HALF_MADE = ".new-"  # and the server's name: no name of a server starts with a dot


def default_root() -> Path:
    """Returns the rack's directory: $FLASHVISOR_LAB, or ~/.local/state/flashvisor/lab."""
    named = os.environ.get("FLASHVISOR_LAB")
    return Path(named) if named else Path.home() / ".local/state/flashvisor/lab"


class Rack:
    """The servers under `root`, which is made when the first one comes."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._lock = self.root / "lock"

    def up(self, spec: ServerSpec) -> Server:
        """Puts a new server into the rack and powers it on. Nothing is left of it when that fails.

        Raises:
            CommandLineError: its name cannot be one.
            UnreadableFileError: its flash image or firmware cannot be read.
            ServerExistsError: there is one of that name.
            NoSpaceError: the disk is too full.
            ServerDiedError: it did not start.
        """
        check_name(spec.name)
        sources = [path for path in (spec.flash, spec.firmware_vars, spec.system_disk) if path]
        for path in sources:
            if not os.access(path, os.R_OK) or not path.is_file():
                raise UnreadableFileError(f"{path}, which {spec.name} is to be made with, is not a file I can read")
        with exclusive(self._lock):
            paths = Paths(self.root / spec.name)
            if paths.state.exists():
                raise ServerExistsError(f"{spec.name} is in the rack already, in {paths.directory}")
            need_space(self.root, sum(map(bytes_on_disk, sources)) + LOGS, f"server {spec.name}")
            try:
                power_on(paths, self._furnish(spec, paths))
            except BaseException:
                self._remove(paths)
                raise
        return Server(paths.directory, self._lock)

    def list(self) -> tuple[Server, ...]:
        """Returns all servers, by name.

        Raises:
            RackStateError: the file of one of them is damaged.
        """
        return tuple(Server(self.root / state.spec.name, self._lock) for state in read_servers(self.root))

    def get(self, name: str) -> Server:
        """Returns one server.

        Raises:
            UnknownServerError: there is none of that name.
        """
        if not self._has(name):
            raise UnknownServerError(f"no server '{name}' is in the rack {self.root}")
        return Server(self.root / name, self._lock)

    def down(self, name: str) -> None:
        """Pulls a server's plug and takes it out of the rack, with all its disks.

        Raises:
            UnknownServerError: there is none of that name.
        """
        with exclusive(self._lock):
            if not self._has(name):
                raise UnknownServerError(f"no server '{name}' is in the rack {self.root}")
            self._remove(Paths(self.root / name))

    def down_all(self) -> tuple[str, ...]:
        """Takes all servers out, also those whose files are damaged, and what a killed command left half-made.

        Returns:
            Their names. Directories that are no servers were not touched.
        """
        if not self.root.is_dir():
            return ()
        with exclusive(self._lock):
            names = tuple(sorted(path.parent.name for path in self.root.glob(f"[!.]*/{SERVER_FILE}")))
            for name in names:
                self._remove(Paths(self.root / name))
            for half in self.root.glob(f"{HALF_MADE}*"):
                shutil.rmtree(half)
            # The lock stays: somebody may wait for it.
            (self.root / RACK_FILE).unlink(missing_ok=True)
        return names

    def _has(self, name: str) -> bool:
        return "/" not in name and Paths(self.root / name).state.is_file()

    def _furnish(self, spec: ServerSpec, paths: Paths) -> ServerState:
        # Under another name first: what has a server's name is a whole server, even if this command is killed.
        half = Paths(self.root / f"{HALF_MADE}{spec.name}")
        shutil.rmtree(half.directory, ignore_errors=True)
        half.directory.mkdir(parents=True)
        copy_sparse(spec.flash, half.flash)
        if spec.write_log:
            half.write_log.touch()
        shutil.copyfile(spec.firmware_vars, half.firmware_vars)
        if spec.system_disk:
            copy_sparse(spec.system_disk, half.data_disk(0))
        for number, size in enumerate(spec.data_disks):
            with half.data_disk(number).open("ab") as disk:
                disk.truncate(size)
        taken = {port for state in read_servers(self.root) for port in state.forwards.values()}
        state = ServerState(spec=spec, switch=self._switch(), forwards={API_PORT: sockets.free_port(taken)})
        write(half.state, state)
        half.directory.rename(paths.directory)
        return state

    def _switch(self) -> str:
        path = self.root / RACK_FILE
        if path.exists():
            return read_rack(path).switch
        # Any group of 239.255/16, which never leaves the site (RFC 2365), and it stays on the loopback interface.
        group = f"239.255.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}"
        state = RackState(switch=f"{group}:{sockets.free_port()}")
        write(path, state)
        return state.switch

    def _remove(self, paths: Paths) -> None:
        state = None
        with suppress(RackStateError):  # without it, the pid files still name what runs
            state = read_server(paths.state)
        stop_processes(paths, state)
        for directory in (paths.directory, self.root / f"{HALF_MADE}{paths.directory.name}"):
            if directory.exists():
                shutil.rmtree(directory)


def check_name(name: str) -> None:
    """Checks a server's name: it becomes a directory's and a host's.

    Raises:
        CommandLineError: it cannot be one.
    """
    try:
        msgspec.convert(name, Name)
    except msgspec.ValidationError as error:
        raise CommandLineError(f"'{name}' is no name for a server: lower-case letters, digits and - only") from error
