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
from flashvisor.errors import (
    BackupExistsError,
    CommandLineError,
    KeyringExistsError,
    UnknownNameError,
    UnreadableFileError,
)
from flashvisor.host import clock
from flashvisor.host.files import write_directory_once, write_once
from flashvisor.trust import backup as backups
from flashvisor.trust import certificates, keystore, publickeys
from flashvisor.trust.keymaker import OnToken, new_secret
from flashvisor.trust.keyring import Keyring, default_directory
from flashvisor.trust.keystore import State
from flashvisor.trust.roles import ROLES, TOKEN_ROLES, TOKEN_ROLES_USUAL, TUF
from flashvisor.trust.token import Token
from flashvisor.trust.tokenuri import SCHEME, parse

if TYPE_CHECKING:
    from flashvisor.trust.keystore import Store, StoredKey

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
APART = "Keys on a token apart, which stay there and are in no backup:"
NOT_IN_BACKUP = "Not in a backup: private keys on a token ({roles}). Without their token they are lost."
ROLES_HELP = f"Whose keys: any of {', '.join(TOKEN_ROLES)}.  [default: {', '.join(TOKEN_ROLES_USUAL)}]"
BACKUP_PROMPT = "Passphrase for the backup"

unencrypted_option = click.option(
    "--unencrypted", is_flag=True, help="Ask for no passphrase: private keys are readable to whoever has the file."
)


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key of the keyring. `sha256` is of the certificate, or of the bare public key; those have no subject or end.

    `place` says where the private key is: "keyring", a token's URI, or "" if it was given up.
    """

    role: str
    does: str
    state: State
    subject: str
    sha256: str
    valid_until: str
    place: str


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
@click.option("--token", metavar="URI", help="Make keys on this PKCS#11 token: 'pkcs11:token=NAME' (RFC 7512).")
@click.option("--roles", metavar="ROLE,...", help=ROLES_HELP)
@unencrypted_option
@json_option
def init(
    owner: str,
    *,
    root_keys: int,
    root_threshold: int,
    token: str | None,
    roles: str | None,
    unencrypted: bool,
    as_json: bool,
) -> None:
    """Make a new keyring. One that exists is never touched.

    With --token, the private keys of some roles are made on a token and never leave it. Its PIN is in the file that
    FLASHVISOR_PIN_FILE names, or is typed.
    """
    if root_threshold > root_keys:
        raise CommandLineError(f"--root-threshold is at most --root-keys, {root_keys}; got {root_threshold}")
    directory = default_directory()
    if directory.is_dir() and any(directory.iterdir()):
        raise KeyringExistsError(f"{directory} is not empty, and keys are never overwritten")
    place = _place(token, roles)
    secret = None if unencrypted else passphrase.ask_new()
    keyring = Keyring.create(
        directory, owner or getpass.getuser(), passphrase=secret, root_keys=(root_keys, root_threshold), place=place
    )
    _print(report(keyring), as_json=as_json)


@command.command("show")
@json_option
def show(as_json: bool) -> None:
    """Show the keyring, without its secrets."""
    _print(report(_open()), as_json=as_json)


@command.command("rotate")
@click.argument("role", type=click.Choice(list(ROLES)))
@click.option("--token", metavar="URI", help="Make the key on this PKCS#11 token, or take the key that the URI names.")
@json_option
def rotate(role: str, *, token: str | None, as_json: bool) -> None:
    """Make a new key for ROLE. What the old one stands for stays good, as far as the role says.

    It is made where the old one is, if --token does not say otherwise.
    """
    before = _open()
    keyring = before.rotate(role, _place(token, role) if token else None)
    if as_json:
        print_json(report(keyring))
        return
    print_fields([(ROLES[role].does, key.sha256) for key in report(keyring).keys if _is_active(key, role)])
    click.echo(f"\n{ROLES[role].rotated}")
    if before.on_token(role) and not ROLES[role].keeps_private:
        click.echo("The old private key is still on its token; the token's own tool deletes it.")


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
    _warn_of_tokens(store)


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
    _warn_of_tokens(store)


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
    return Keyring.open(default_directory(), passphrase.ask, passphrase.ask_pin)


def _place(token: str | None, roles: str | None) -> OnToken | None:
    """Returns what --token and --roles say."""
    if token is None:
        if roles is not None:
            raise CommandLineError("--roles names what is made on a token: give --token too")
        return None
    named = frozenset(filter(None, roles.split(","))) if roles is not None else frozenset(TOKEN_ROLES_USUAL)
    if not named:
        raise CommandLineError("--roles names no role: leave --token away, or name some")
    if unknown := sorted(named - set(ROLES)):
        raise UnknownNameError(f"'{unknown[0]}' is no role of a key: expected some of {', '.join(TOKEN_ROLES)}")
    return OnToken(Token(parse(token), passphrase.ask_pin), named)


def _warn_of_tokens(store: Store) -> None:
    if roles := sorted({key.role for key in store.keys if key.token}):
        click.echo(NOT_IN_BACKUP.format(roles=", ".join(roles)), err=True)


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
        place=key.token or ("keyring" if key.private else ""),
    )


def _shown_place(key: Key) -> str:
    return f"token {parse(key.place).token}".rstrip() if key.place.startswith(SCHEME) else key.place or "given up"


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
        ["role", "what it does", "state", "valid until", "private key", "SHA-256"],
        [
            [key.role, key.does, key.state.value, key.valid_until or "-", _shown_place(key), key.sha256]
            for key in keyring.keys
        ],
    )
    if tokens := sorted({key.place for key in keyring.keys if key.place.startswith(SCHEME)}):
        click.echo("\n".join(["", "Private keys on tokens:", *tokens]))
    if keyring.leftovers:
        click.echo(f"\nNOT encrypted, from before the upgrade: {', '.join(keyring.leftovers)}\n{SWEEP}")
    click.echo(f"\n{APART}" if tokens else "")
    click.echo(LOCKED if keyring.encrypted else PLAINLY)
