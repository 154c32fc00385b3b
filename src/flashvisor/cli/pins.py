"""What servers' TPMs said when they were attested first: the key, and the firmware that was measured.

Owns ~/.config/flashvisor/attested.json, by the server's address, as SSH keeps known hosts::

    pins = Pins.load(default_path())
    pins.known("192.0.2.10:443")        # Pin(key=..., firmware=...), or None
    pins.remember("192.0.2.10:443", Pin(key="000b…", firmware={"0": ("ab…",)}))
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import Struct

from flashvisor.errors import UnreadableFileError
from flashvisor.host.files import write_atomic


class Pin(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One server: the name of its TPM's key, and the digests of its firmware's events by PCR. All hex."""

    key: str
    firmware: dict[str, tuple[str, ...]]


def default_path() -> Path:
    """~/.config/flashvisor/attested.json."""
    return Path.home() / ".config" / "flashvisor" / "attested.json"


@dataclass(frozen=True)
class Pins:
    """All servers that were attested, by address."""

    path: Path
    servers: dict[str, Pin]

    @classmethod
    def load(cls, path: Path) -> Pins:
        """Reads the file; an absent one knows nobody.

        Raises:
            UnreadableFileError: it is not what flashvisor writes.
        """
        if not path.exists():
            return cls(path, {})
        try:
            return cls(path, msgspec.json.decode(path.read_bytes(), type=dict[str, Pin]))
        except msgspec.MsgspecError as error:
            advice = "Correct it or move it away; without it, the next attest of each server counts as its first."
            raise UnreadableFileError(f"{path}: {error}", next_step=advice) from error

    def known(self, address: str) -> Pin | None:
        """Returns what was remembered of a server."""
        return self.servers.get(address)

    def remember(self, address: str, pin: Pin) -> None:
        """Writes down what a server's TPM said."""
        whole = msgspec.json.encode({**self.servers, address: pin}, order="deterministic")
        write_atomic(self.path, msgspec.json.format(whole, indent=1), mode=0o600)
