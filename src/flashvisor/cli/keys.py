"""`flashvisor keys`: the owner's keyring. Every server, client and image is the owner's by these keys."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

import click
import msgspec

from flashvisor.cli.output import print_fields, print_json, print_table
from flashvisor.cli.session import json_option
from flashvisor.trust import certificates
from flashvisor.trust.keyring import Keyring, default_directory

if TYPE_CHECKING:
    from pathlib import Path

PLAINLY = (
    "These keys are NOT encrypted. Whoever can read this directory, or a backup of it, owns your servers: can sign\n"
    "images that they start, and command them. Keep it on an encrypted disk, and a copy of it where you keep\n"
    "contracts: without it the servers can neither be commanded nor updated."
)


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate of the keyring; its private key lies beside it."""

    role: str
    file: str
    subject: str
    sha256: str
    valid_until: str


class KeyringReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `keys show --json` prints."""

    directory: str
    owner: str
    owner_guid: str
    encrypted: bool
    keys: tuple[Key, ...]


@click.group("keys")
def command() -> None:
    """Make and show the owner's keys ($FLASHVISOR_KEYS, else ~/.local/share/flashvisor/keys)."""


@command.command("init")
@click.option("--owner", default="", help="Who the servers belong to; your user name if not given.")
@json_option
def init(owner: str, as_json: bool) -> None:
    """Make a new keyring. One that exists is never touched."""
    keyring = Keyring.create(default_directory(), owner or getpass.getuser())
    _print(report(keyring), as_json=as_json)


@command.command("show")
@json_option
def show(as_json: bool) -> None:
    """Show the keyring, without its secrets."""
    _print(report(Keyring.open(default_directory())), as_json=as_json)


def report(keyring: Keyring) -> KeyringReport:
    """Returns what can be told of a keyring to anybody."""
    keys = (
        _key("owner's CA: admits servers and administrators", keyring.directory / "ca.pem"),
        _key("administrator's client certificate", keyring.admin.cert),
        _key("Secure Boot PK: changes KEK", keyring.platform_key.cert),
        _key("Secure Boot KEK: changes db", keyring.key_exchange_key.cert),
        _key("Secure Boot db: signs images", keyring.db.cert),
        _key("signs kernel modules", keyring.module_key),
    )
    return KeyringReport(
        directory=str(keyring.directory),
        owner=keyring.owner,
        owner_guid=str(keyring.owner_guid),
        encrypted=False,
        keys=keys,
    )


def _key(role: str, path: Path) -> Key:
    pem = path.read_bytes()
    return Key(
        role=role,
        file=path.name,
        subject=certificates.subject(pem),
        sha256=certificates.fingerprint(pem),
        valid_until=certificates.not_after(pem).date().isoformat(),
    )


def _print(keyring: KeyringReport, *, as_json: bool) -> None:
    if as_json:
        print_json(keyring)
        return
    print_fields([("directory", keyring.directory), ("owner", keyring.owner), ("owner's GUID", keyring.owner_guid)])
    click.echo()
    print_table(
        ["file", "what it does", "valid until", "SHA-256"],
        [[key.file, key.role, key.valid_until, key.sha256] for key in keyring.keys],
    )
    click.echo(f"\n{PLAINLY}")
