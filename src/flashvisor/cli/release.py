"""`flashvisor release`: publishes releases into a repository, keeps it signed, shows what it holds."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click
import msgspec

from flashvisor.cli.buildtools import open_cache
from flashvisor.cli.output import print_fields, print_json, print_table
from flashvisor.cli.passphrase import ask
from flashvisor.cli.progress import progress
from flashvisor.cli.session import json_option
from flashvisor.errors import NoSuchReleaseError
from flashvisor.host import clock
from flashvisor.image import publication
from flashvisor.image.publication import Order
from flashvisor.model.size import show_size
from flashvisor.trust.keyring import Keyring, default_directory
from flashvisor.trust.repository import Repository, expiries, newest_root, releases

IMAGE = Path("build/kvm/flashvisor.efi")  # where `flashvisor build` puts it
DIRECTORY = click.argument("directory", type=click.Path(path_type=Path))


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What was published: the image's size in bytes and its SHA-256; until when the metadata is good, by TUF role."""

    directory: str
    name: str
    version: str
    flavour: str
    length: int
    sha256: str
    until: dict[str, datetime]


class Refreshed(msgspec.Struct, frozen=True, kw_only=True):
    """What was signed anew, and until when it is good, by TUF role."""

    directory: str
    until: dict[str, datetime]


@click.group("release")
def command() -> None:
    """Publish releases into a directory, for servers to update to, and show what it holds.

    Servers read the directory from any web server, or `flashvisor update` pushes from it.
    """


@command.command("publish")
@DIRECTORY
@click.option("--image", type=click.Path(path_type=Path), default=IMAGE, show_default=True, help="A flashvisor.efi.")
@click.option("--version", default="", help="Version of the release; the image's own if left out.")
@click.option("--name", default=Order.name, show_default=True, help="Name of the release.")
@json_option
def publish(directory: Path, image: Path, version: str, name: str, as_json: bool) -> None:
    """Publish an image into DIRECTORY as a release, signed with your keys.

    The image must have your signature, and a version that was not published with other content.
    """
    keyring = Keyring.open(default_directory(), ask)
    done = publication.publish(image, directory, keyring, open_cache(), Order(name, version), show=progress)
    manifest = done.manifest
    report = Published(
        directory=str(directory),
        name=manifest.name,
        version=manifest.version,
        flavour=manifest.flavour.value,
        length=manifest.length,
        sha256=manifest.sha256,
        until=done.until,
    )
    if as_json:
        print_json(report)
        return
    print_fields(
        [
            ("published", f"{report.name} {report.version} for {report.flavour}, in {directory}"),
            ("image", f"{image}  {show_size(report.length)}"),
            ("SHA-256", report.sha256),
        ]
    )
    _say_until(directory, report.until)


@command.command("refresh")
@DIRECTORY
@json_option
def refresh(directory: Path, as_json: bool) -> None:
    """Sign DIRECTORY anew, before its timestamp expires or after keys were rotated. No release changes."""
    newest_root(directory)
    keyring = Keyring.open(default_directory(), ask).founded()
    with progress(f"Signing {directory}", total=None):
        Repository(directory, keyring.tuf_keys(), keyring.roots).refresh(clock.now())
    report = Refreshed(directory=str(directory), until=expiries(directory))
    if as_json:
        print_json(report)
        return
    _say_until(directory, report.until)


@command.command("list")
@DIRECTORY
@json_option
def list_(directory: Path, as_json: bool) -> None:
    """List what was published in DIRECTORY, oldest version first."""
    found = releases(directory)
    if as_json:
        print_json(found)
        return
    rows = [[each.name, each.version, each.flavour.value, f"{each.length:,}", each.sha256] for each in found]
    print_table(["name", "version", "flavour", "bytes", "SHA-256"], rows)


@command.command("show")
@DIRECTORY
@click.argument("version", default="")
@json_option
def show(directory: Path, version: str, as_json: bool) -> None:
    """Show the release of VERSION in DIRECTORY, or the newest."""
    found = [each for each in releases(directory) if version in ("", each.version)]
    if not found:
        raise NoSuchReleaseError(f"{directory} holds no release {version}".rstrip())
    release = found[-1]
    if as_json:
        print_json(release)
        return
    print_fields(
        [
            ("name", release.name),
            ("version", release.version),
            ("flavour", release.flavour.value),
            ("bytes", f"{release.length:,}"),
            ("SHA-256", release.sha256),
            ("chunks", f"{len(release.chunks):,}"),
            ("device patterns", f"{len(release.modaliases):,}"),
        ]
    )


def _say_until(directory: Path, until: dict[str, datetime]) -> None:
    first = min(until.values())
    click.echo(
        f"Servers take it until {first:%Y-%m-%d %H:%M} UTC. `flashvisor release refresh {directory}` before then\n"
        "signs it anew: an old timestamp must not hide newer releases."
    )
