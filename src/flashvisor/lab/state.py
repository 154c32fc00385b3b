"""What the lab remembers between two commands: a file for the rack and one for each server.

Owns the files' shape. Written whole or not at all; a file of another shape is an error, never a guess::

    state = read_server(paths.state)
    write_server(paths.state, replace(state, forwards={**state.forwards, 22: 20022}))
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from flashvisor.errors import RackStateError
from flashvisor.host.files import write_atomic
from flashvisor.host.processes import ProcessMark
from flashvisor.lab.machine import SERVER_FILE, Accel, ServerSpec

if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")


class RackState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rack's switch: multicast group and UDP port, as GROUP:PORT."""

    switch: str


class Power(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server that was powered on: its QEMU, on what, and when, in seconds of CLOCK_MONOTONIC of that boot."""

    qemu: ProcessMark
    accel: Accel
    since: float


class ServerState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One server. `forwards` are TCP ports of 127.0.0.1 by the server's port; `power` is None when it was put off."""

    spec: ServerSpec
    switch: str
    forwards: dict[int, int]
    power: Power | None = None


def read_rack(path: Path) -> RackState:
    """Reads the rack's file.

    Raises:
        RackStateError: it is not one.
    """
    return _read(path, RackState)


def read_server(path: Path) -> ServerState:
    """Reads a server's file.

    Raises:
        RackStateError: it is not one.
    """
    return _read(path, ServerState)


def read_servers(root: Path) -> list[ServerState]:
    """Reads all servers of a rack, by name.

    Raises:
        RackStateError: the file of one of them is damaged.
    """
    return [read_server(path) for path in sorted(root.glob(f"[!.]*/{SERVER_FILE}"))]


def write(path: Path, state: RackState | ServerState) -> None:
    """Replaces a state file."""
    write_atomic(path, msgspec.json.format(msgspec.json.encode(state, enc_hook=_encode)) + b"\n")


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind, dec_hook=_decode)
    except (OSError, msgspec.MsgspecError) as error:
        raise RackStateError(f"{path} cannot be read: {error}") from error


def _encode(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"a state file holds no {type(value).__name__}")


def _decode(kind: type[Any], value: object) -> Path:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"a state file holds no {kind.__name__}")
