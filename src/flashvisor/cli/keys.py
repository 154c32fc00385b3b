"""`flashvisor keys`: the owner's keyring. Every server, client and image is the owner's by these keys."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from flashvisor.cli import passphrase
from flashvisor.cli.output import print_fields, print_json, print_table
from flashvisor.cli.session import json_option
from flashvisor.errors import BackupExistsError, CommandLineError, KeyringExistsError, UnreadableFileError
from flashvisor.host import clock
from flashvisor.host.files import write_directory_once, write_once
from flashvisor.trust import backup as backups
from flashvisor.trust import certificates, keystore, publickeys
from flashvisor.trust.keymaker import new_secret
from flashvisor.trust.keyring import Keyring, default_directory
from flashvisor.trust.keystore import State
from flashvisor.trust.roles import ROLES, TUF

if TYPE_CHECKING:
    from flashvisor.trust.keystore import StoredKey

PLAINLY = (
    "These keys are NOT encrypted. Whoever can read this directory, or a copy of it, owns your servers: can sign\n"
    "images that they start, and command them. `flashvisor keys passphrase` encrypts them. Keep a backup where you\n"
    "keep contracts (`flashvisor keys backup FILE`): without it the servers can neither be commanded nor updated."
)
LOCKED = (
    "Private keys are encrypted. Keep a backup where you keep contracts (`flashvisor keys backup FILE`), and the\n"
    "passphrase elsewhere: without both, the servers can neither be commanded nor updated."
)
SWEEP = "`flashvisor keys upgrade` deletes them."
BACKUP_PROMPT = "Passphrase for the backup"

unencrypted_option = click.option(
    "--unencrypted", is_flag=True, help="Ask for no passphrase: private keys are readable to whoever has the file."
)


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key of the keyring. `sha256` is of the certificate, or of the bare public key; those have no subject or end."""

    role: str
    does: str
    state: State
    subject: str
    sha256: str
    valid_until: str


class KeyringReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `keys show --json` prints. `leftovers` are files of the first form beside today's: plain private keys.

    `root_version` is that of the newest TUF root; 0 if none was made yet.
    """

    directory: str
    owner: str
    owner_guid: str
    encrypted: bool
    leftovers: tuple[str, ...]
    tuf_thresholds: dict[str, int]
    root_version: int
    keys: tuple[Key, ...]


@click.group("keys")
def command() -> None:
    """Make, show and keep the owner's keys ($FLASHVISOR_KEYS, else ~/.local/share/flashvisor/keys)."""


@command.command("init")
@click.option("--owner", default="", help="Who the servers belong to; your user name if not given.")
@click.option("--root-keys", type=click.IntRange(1, 16), default=1, show_default=True, help="Keys of the TUF root.")
@click.option("--root-threshold", type=click.IntRange(1, 16), default=1, show_default=True, help="So many must sign.")
@unencrypted_option
@json_option
def init(owner: str, *, root_keys: int, root_threshold: int, unencrypted: bool, as_json: bool) -> None:
    """Make a new keyring. One that exists is never touched."""
    if root_threshold > root_keys:
        raise CommandLineError(f"--root-threshold is at most --root-keys, {root_keys}; got {root_threshold}")
    directory = default_directory()
    if directory.is_dir() and any(directory.iterdir()):
        raise KeyringExistsError(f"{directory} is not empty, and keys are never overwritten")
    secret = None if unencrypted else passphrase.ask_new()
    keyring = Keyring.create(
        directory, owner or getpass.getuser(), passphrase=secret, root_keys=(root_keys, root_threshold)
    )
    _print(report(keyring), as_json=as_json)


@command.command("show")
@json_option
def show(as_json: bool) -> None:
    """Show the keyring, without its secrets."""
    _print(report(_open()), as_json=as_json)


@command.command("rotate")
@click.argument("role", type=click.Choice(list(ROLES)))
@json_option
def rotate(role: str, as_json: bool) -> None:
    """Make a new key for ROLE. What the old one stands for stays good, as far as the role says."""
    keyring = _open().rotate(role)
    if as_json:
        print_json(report(keyring))
        return
    print_fields([(ROLES[role].does, key.sha256) for key in report(keyring).keys if _is_active(key, role)])
    click.echo(f"\n{ROLES[role].rotated}")


@command.command("passphrase")
@unencrypted_option
@json_option
def change_passphrase(unencrypted: bool, as_json: bool) -> None:
    """Encrypt the keyring, or change its passphrase.

    FLASHVISOR_NEW_PASSPHRASE_FILE names a file with the new one, for runs without a terminal.
    """
    keyring = _open()
    secret = None if unencrypted else passphrase.ask_new(variable=passphrase.NEW_VARIABLE)
    _print(report(keyring.locked_with(secret)), as_json=as_json)


@command.command("upgrade")
@unencrypted_option
@json_option
def upgrade(unencrypted: bool, as_json: bool) -> None:
    """Bring a keyring of the first version to today's form: keys for releases are added, all in one file."""
    keyring = _open()
    if keyring.is_first_form:
        keyring = keyring.locked_with(None if unencrypted else passphrase.ask_new())
    keyring.drop_first_form()
    _print(report(keyring), as_json=as_json)


@command.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
def backup(file: Path) -> None:
    """Write the whole keyring into one encrypted FILE, which must not exist.

    FLASHVISOR_PASSPHRASE_FILE, or what you type, encrypts the backup.
    """
    store = _open().store
    secret = passphrase.ask_new(BACKUP_PROMPT)
    new_secret(secret)  # refuses a weak one
    try:
        write_once(file, backups.seal(store, secret), mode=0o600)
    except FileExistsError as error:
        raise BackupExistsError(f"{file} exists, and a backup overwrites nothing") from error
    click.echo(f"{file} holds the keyring of {store.owner}. `flashvisor keys restore {file}` brings it back.")


@command.command("restore")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def restore(file: Path, as_json: bool) -> None:
    """Bring a keyring back from a backup. One that exists is never touched."""
    directory = default_directory()
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UnreadableFileError(f"{file} cannot be read: {error.strerror}") from error
    store = backups.unseal(data, passphrase.ask())
    try:
        write_directory_once(directory, {keystore.STORE: keystore.encode(store)}, mode=0o600, directory_mode=0o700)
    except FileExistsError as error:
        raise KeyringExistsError(f"{directory} is not empty, and keys are never overwritten") from error
    _print(report(Keyring.open(directory)), as_json=as_json)


@command.command("export-public")
@click.argument("directory", type=click.Path(path_type=Path))
@json_option
def export_public(directory: Path, as_json: bool) -> None:
    """Write what others may have into DIRECTORY, which must not exist or be empty.

    Certificates (.pem, .cer), signature lists (.esl) and signed variables (.auth) for firmware's setup screens.
    """
    files = publickeys.export(_open(), clock.now())
    try:
        write_directory_once(directory, files)
    except FileExistsError as error:
        raise BackupExistsError(f"{directory} is not empty, and nothing is overwritten") from error
    if as_json:
        print_json({"directory": str(directory), "files": sorted(files)})
        return
    for name in sorted(files):
        click.echo(str(directory / name))


def report(keyring: Keyring) -> KeyringReport:
    """Returns what can be told of a keyring to anybody."""
    return KeyringReport(
        directory=str(keyring.directory),
        owner=keyring.owner,
        owner_guid=str(keyring.owner_guid),
        encrypted=keyring.encrypted,
        leftovers=tuple(str(path) for path in keyring.leftovers()),
        tuf_thresholds=keyring.store.thresholds,
        root_version=len(keyring.roots),
        keys=tuple(_key(key) for key in keyring.store.keys),
    )


def _open() -> Keyring:
    return Keyring.open(default_directory(), passphrase.ask)


def _is_active(key: Key, role: str) -> bool:
    return key.role == role and key.state is State.ACTIVE


def _key(key: StoredKey) -> Key:
    pem = key.public.encode("ascii")
    bare = key.role.startswith(TUF)
    return Key(
        role=key.role,
        does=ROLES[key.role].does,
        state=key.state,
        subject="" if bare else certificates.subject(pem),
        sha256=certificates.public_fingerprint(pem) if bare else certificates.fingerprint(pem),
        valid_until="" if bare else certificates.not_after(pem).date().isoformat(),
    )


def _print(keyring: KeyringReport, *, as_json: bool) -> None:
    if as_json:
        print_json(keyring)
        return
    print_fields([("directory", keyring.directory), ("owner", keyring.owner), ("owner's GUID", keyring.owner_guid)])
    for role, threshold in keyring.tuf_thresholds.items():
        count = sum(_is_active(key, f"{TUF}{role}") for key in keyring.keys)
        if count > 1:
            click.echo(f"TUF {role}: {threshold} of {count} keys must sign")
    if keyring.root_version:
        click.echo(f"TUF root: version {keyring.root_version}")
    click.echo()
    print_table(
        ["role", "what it does", "state", "valid until", "SHA-256"],
        [[key.role, key.does, key.state.value, key.valid_until or "-", key.sha256] for key in keyring.keys],
    )
    if keyring.leftovers:
        click.echo(f"\nNOT encrypted, from before the upgrade: {', '.join(keyring.leftovers)}\n{SWEEP}")
    click.echo(f"\n{LOCKED if keyring.encrypted else PLAINLY}")
