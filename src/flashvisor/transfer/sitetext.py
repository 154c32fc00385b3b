"""Adds an import to a site file: only at its end, only if the whole is right afterwards, in one step.

Owns which names, networks and storage an import gets in a site. Does not own TOML's form (fragment.py)::

    choose_networks(site, record, "")                                         # {"VM Network": "inside"}
    added = append_to_site(path, record, library, network="", storage="")     # False: it was there
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.api.bundle import read_site
from flashvisor.errors import CommandLineError, NameTakenError, UnknownNameError
from flashvisor.host.files import write_atomic
from flashvisor.model.inline import inline_files
from flashvisor.model.sitefile import check_site, parse_site
from flashvisor.transfer.fragment import Wish, network_names, render

if TYPE_CHECKING:
    from flashvisor.api.bundle import SiteSource
    from flashvisor.model.site import Site
    from flashvisor.transfer.draft import ImportedImage, ImportRecord
    from flashvisor.transfer.library import Library


def append_to_site(path: Path, record: ImportRecord, library: Library, *, network: str, storage: str) -> bool:
    """Adds an import's tables to a site file.

    Args:
        path: The site file.
        record: What was imported.
        library: Where its images lie.
        network: The site's network for all cards; "" takes one of the same name, or the only one.
        storage: The site's storage for the guests; "" leaves it to the site.

    Returns:
        Whether anything was added: False if all of it stood there.

    Raises:
        NameTakenError: an image or guest of the name is there, and it is another one.
        UnknownNameError: the site has no network of that name.
        CommandLineError: it has several, and none was named.
        SiteError: the file is wrong, before or afterwards; it was not changed.
    """
    source = read_site(path)
    if _is_there(source, record, library):
        return False
    _check_free(source.site, record, path)
    wish = Wish(networks=choose_networks(source.site, record, network), storage=storage or None)
    old = path.read_text()
    text = f"{old.rstrip()}\n\n{render(record, wish, lambda image: relative(library.file(image), path.parent))}"
    whole = inline_files(text, lambda name: (path.parent / Path(name).expanduser()).read_text(), str(path))
    check_site(parse_site(whole, str(path)), str(path))
    place = path.resolve()  # a link stays one
    write_atomic(place, text.encode(), mode=stat.S_IMODE(place.stat().st_mode))
    return True


def choose_networks(site: Site, record: ImportRecord, network: str) -> dict[str, str]:
    """Returns the site's network for each that the guests had.

    Raises:
        UnknownNameError: the named one is not there, or the site has none at all.
        CommandLineError: the site has several, none of them of a fitting name, and none was named.
    """
    names = network_names(record)
    known = ", ".join(sorted(site.network)) or "none"
    if network and network not in site.network:
        raise UnknownNameError(f"the site has no network '{network}'", next_step=f"It has: {known}.")
    chosen = {}
    for old, new in names.items():
        only = next(iter(site.network)) if len(site.network) == 1 else ""
        chosen[old] = network or (new if new in site.network else only)
        if not chosen[old]:
            raise CommandLineError(
                f"the guest was in the network '{old}', and the site does not say which of its own that is",
                next_step=f"Name one: --network NETWORK (the site has: {known}).",
            )
    return chosen


def relative(file: Path, directory: Path) -> str:
    """Returns a file's path as a site file in `directory` names it."""
    return os.path.relpath(file.resolve(), directory.resolve())


def _is_there(source: SiteSource, record: ImportRecord, library: Library) -> bool:
    images = all(_is_same(source, image, library) for image in record.images)
    return images and all(guest.name in source.site.guest for guest in record.guests)


def _is_same(source: SiteSource, image: ImportedImage, library: Library) -> bool:
    path = source.images.get(image.name)
    return path is not None and path.resolve() == library.file(image).resolve()


def _check_free(site: Site, record: ImportRecord, path: Path) -> None:
    taken = [f"image.{image.name}" for image in record.images if image.name in site.image]
    taken += [f"guest.{guest.name}" for guest in record.guests if guest.name in site.guest]
    if taken:
        raise NameTakenError(f"{path} has {', '.join(taken)} already")
