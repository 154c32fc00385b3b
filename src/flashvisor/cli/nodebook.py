"""Names for servers: which address `--node`, FLASHVISOR_NODE or the remembered default stand for.

Owns ~/.config/flashvisor/nodes.toml::

    default = "alpha"
    [node]
    alpha = "192.0.2.10:443"

Example::

    NodeBook.load().resolve(option="", environment=os.environ)
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flashvisor.api.address import Address, parse_address
from flashvisor.errors import NoNodeNamedError, SettingsFileError, UnknownNameError
from flashvisor.host.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = re.compile(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?")  # a server's name, model.site.Name
VARIABLE = "FLASHVISOR_NODE"


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file's shape."""

    default: str = ""
    node: dict[str, str] = {}


def default_path() -> Path:
    """~/.config/flashvisor/nodes.toml."""
    return Path.home() / ".config" / "flashvisor" / "nodes.toml"


@dataclass(frozen=True)
class NodeBook:
    """Servers' addresses by name, and the one that commands mean when none is named."""

    path: Path
    default: str = ""
    nodes: dict[str, Address] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> NodeBook:
        """Reads the file; an absent one is an empty book.

        Raises:
            SettingsFileError: it is not what flashvisor writes.
            AddressError: an address in it is not one.
        """
        if not path.exists():
            return cls(path)
        try:
            file = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _File)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
            raise SettingsFileError(f"{path}: {error}") from error
        return cls(path, file.default, {name: parse_address(text) for name, text in file.node.items()})

    def use(self, name: str, address: Address) -> NodeBook:
        """Remembers a server's address, writes the file, and makes the server the default.

        Raises:
            UnknownNameError: the name is not a server's name.
        """
        if not NAME.fullmatch(name):
            raise UnknownNameError(
                f"'{name}' cannot be a server's name",
                next_step="Use lower-case letters, digits and '-', at most 32 characters, a letter first.",
            )
        book = NodeBook(self.path, name, {**self.nodes, name: address})
        lines = [f"default = {json.dumps(name)}", "[node]"]
        # JSON strings are TOML basic strings here: names and addresses are plain ASCII.
        lines += [f"{key} = {json.dumps(value.authority)}" for key, value in sorted(book.nodes.items())]
        write_atomic(self.path, ("\n".join(lines) + "\n").encode(), mode=0o600)
        return book

    def resolve(self, option: str, environment: Mapping[str, str]) -> Address:
        """Returns the address of the server that a command means: the option's, the variable's, the default's.

        Args:
            option: What stood after --node: a remembered name or HOST[:PORT]; "" if nothing.
            environment: Where FLASHVISOR_NODE may stand, in the same form.

        Raises:
            NoNodeNamedError: none of the three names a server.
            AddressError: not a name in the book, and not an address.
        """
        wish = option or environment.get(VARIABLE, "") or self.default
        if not wish:
            raise NoNodeNamedError("no server was named")
        return self.nodes[wish] if wish in self.nodes else parse_address(wish)
