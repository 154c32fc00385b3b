"""`flashvisor image`: the library of disk images that came from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from flashvisor.api.bundle import read_site
from flashvisor.cli.output import print_json, print_table
from flashvisor.cli.progress import progress
from flashvisor.cli.session import json_option
from flashvisor.errors import CommandLineError, ImageInUseError, UnreadableFileError
from flashvisor.host import clock
from flashvisor.model.sitefile import parse_site
from flashvisor.model.size import parse_size, show_size
from flashvisor.transfer.draft import ImportRecord
from flashvisor.transfer.fragment import Wish, network_names, renamed, render
from flashvisor.transfer.importer import Order, import_source
from flashvisor.transfer.library import WORK, Library
from flashvisor.transfer.names import slug
from flashvisor.transfer.sitetext import append_to_site, relative

if TYPE_CHECKING:
    from collections.abc import Sequence

LIBRARY = "images"  # beside the site file: `make clean` takes build/ away, and these are no build's results
SHA256 = re.compile(r"[0-9a-f]{64}")
SHOWN = 12  # hex digits of a SHA-256 in tables

site_option = click.option(
    "--site", type=click.Path(path_type=Path), metavar="FILE", help="A site file; the library is then beside it."
)
library_option = click.option(
    "--output",
    "--library",
    "place",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The library. [default: images]",
)


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `image import --json` prints: `made` is false if the library had it, `added` says if the site changed."""

    library: str
    record: ImportRecord
    made: bool
    fragment: str
    site: str | None
    added: bool


class RemoveReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `image remove --json` prints; `freed` in bytes."""

    name: str
    files: tuple[str, ...]
    freed: int


class ListedImage(msgspec.Struct, frozen=True, kw_only=True):
    """One image as `image list --json` prints it; sizes in bytes, `whole` if its file is there as it was made."""

    name: str
    import_name: str
    file: str
    source: str
    format: str
    virtual_size: int
    size: int
    sha256: str
    imported: str
    whole: bool


@click.group("image")
def command() -> None:
    """Import disk images and appliances from elsewhere, and keep them in a library."""


@command.command("import")
@click.argument("source", metavar="SOURCE")
@click.option("--name", default="", help="Name of the image, and of an appliance's guest.")
@click.option("--sha256", default=None, metavar="HEX", help="What the file must have; a download needs it.")
@click.option("--capacity", default=None, metavar="SIZE", help="How large the disk is, if it is larger than it says.")
@click.option("--network", default="", help="The site's network for the guest's cards.")
@click.option("--storage", default="", help="The site's storage for the guest.")
@library_option
@site_option
@json_option
def import_(
    source: str,
    *,
    name: str,
    sha256: str | None,
    capacity: str | None,
    network: str,
    storage: str,
    place: Path | None,
    site: Path | None,
    as_json: bool,
) -> None:
    """Import SOURCE, a file or URL: qcow2, raw (also .gz, .xz, .zst), VMDK, VHD, VHDX, VDI, OVA or OVF.

    Prints what to add to a site file, or adds it to the one given by --site.
    """
    order = _order(source, name, sha256, capacity)
    if site is not None:
        read_site(site)  # what is wrong with it is said before the long work
    library = Library(_place(place, site))
    record, made = import_source(order, library, progress, clock.now())
    record = renamed(record, order.name) if order.name else record
    added = False
    if site is not None:
        added = append_to_site(site, record, library, network=network, storage=storage)
    directory = site.parent if site is not None else Path()
    networks = dict.fromkeys(network_names(record), network) if network else {}
    fragment = render(record, Wish(networks, storage or None), lambda image: relative(library.file(image), directory))
    report = ImportReport(
        library=str(library.place),
        record=record,
        made=made,
        fragment=fragment,
        site=str(site) if site is not None else None,
        added=added,
    )
    if as_json:
        print_json(report)
        return
    _tell(report)


@command.command("list")
@library_option
@site_option
@json_option
def list_(place: Path | None, site: Path | None, as_json: bool) -> None:
    """List the images of the library."""
    library = Library(_place(place, site))
    images = [
        ListedImage(
            name=image.name,
            import_name=record.name,
            file=str(library.file(image)),
            source=record.source,
            format=image.format,
            virtual_size=image.virtual_size,
            size=image.size,
            sha256=image.sha256,
            imported=record.imported,
            whole=library.holds(image),
        )
        for record in library.records()
        for image in record.images
    ]
    if as_json:
        print_json(images)
        return
    print_table(
        ["image", "file", "from", "format", "disk", "size", "sha256"],
        [
            [
                image.name,
                image.file if image.whole else f"{image.file} (missing)",
                image.source,
                image.format,
                show_size(image.virtual_size),
                show_size(image.size),
                image.sha256[:SHOWN],
            ]
            for image in images
        ],
    )
    unfinished = library.unfinished()
    if unfinished:
        place = library.place / WORK
        click.echo(
            f"{show_size(unfinished)} in {place} are of imports that run or were cut. The same import goes on with "
            "them; without one, the directory can be removed.",
            err=True,
        )


@command.command("remove")
@click.argument("name")
@click.option(
    "--site", "sites", type=click.Path(path_type=Path), multiple=True, metavar="FILE", help="May not name it."
)
@library_option
@json_option
def remove(name: str, sites: tuple[Path, ...], place: Path | None, as_json: bool) -> None:
    """Remove the import NAME with all its images; refused while a site file given by --site names one."""
    library = Library(_place(place, sites[0] if sites else None))
    record = library.named(name)
    files = {library.file(image).resolve(): image.name for image in record.images}
    for site in sites:
        _refuse_if_used(site, files)
    freed = library.remove(record)
    report = RemoveReport(name=record.name, files=tuple(image.file for image in record.images), freed=freed)
    if as_json:
        print_json(report)
        return
    click.echo(f"removed {report.name}: {show_size(freed)} are free again")


def _order(source: str, name: str, sha256: str | None, capacity: str | None) -> Order:
    if name and name != slug(name):
        raise CommandLineError(
            f"'{name}' cannot be a name in a site file", next_step=f"Try --name {slug(name)}: lower case, at most 32."
        )
    if sha256 is not None and not SHA256.fullmatch(sha256.lower()):
        raise CommandLineError("--sha256 takes 64 hex digits")
    try:
        size = parse_size(capacity) if capacity is not None else None
    except ValueError as error:
        raise CommandLineError(f"--capacity: {error}") from error
    return Order(source, name, sha256.lower() if sha256 is not None else None, size)


def _place(place: Path | None, site: Path | None) -> Path:
    return place or (site.parent if site is not None else Path()) / LIBRARY


def _refuse_if_used(site: Path, files: dict[Path, str]) -> None:
    try:
        text = site.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFileError(f"{site} cannot be read", evidence=str(error)) from error
    for name, image in parse_site(text, str(site)).image.items():
        path = (site.parent / Path(image.file).expanduser()).resolve()
        if path in files:
            raise ImageInUseError(f"{site} names {path.name} as image.{name}")


def _tell(report: ImportReport) -> None:
    """The tables go to standard output, for a site file; what a person wants to know goes to standard error."""
    record = report.record
    for image in record.images:
        sizes = f"{show_size(image.virtual_size)} disk, {show_size(image.size)} file"
        click.echo(f"{image.name}: {Path(report.library) / image.file} ({image.format}, {sizes})", err=True)
    if not report.made:
        click.echo("The library had it already: nothing was done.", err=True)
    if report.site is None:
        _advise(report.record)
        click.echo(report.fragment, nl=False)
        return
    notes: Sequence[str] = [*record.notes, *(note for guest in record.guests for note in guest.notes)]
    for note in notes:
        click.echo(f"- {note}")
    done = "added to" if report.added else "stands already in"
    click.echo(f"{', '.join(guest.name for guest in record.guests) or record.images[0].name} {done} {report.site}")


def _advise(record: ImportRecord) -> None:
    networks = sorted(set(network_names(record).values()))
    if networks:
        click.echo(f"Networks that the site must have: {', '.join(networks)} (or name its own: --network).", err=True)
