"""A site as the administrator has it on disk: site file, key files and image files, read and checked whole.

Owns getting from a path to an `ApplyRequest`, before any server is asked. Does not own sending it (rollout.py)::

    source = read_site(Path("examples/site.toml"))
    bundle = hash_images(source, on_bytes=advance)
    client.apply(bundle.request(who="admin"))
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.api.types import ApplyRequest, ImageKind, ImageRef
from flashvisor.errors import ImageChangedError, UnknownImageError, UnreadableFileError
from flashvisor.host.files import sha256_file
from flashvisor.host.pe import is_pe
from flashvisor.model.inline import inline_files
from flashvisor.model.sitefile import check_site, parse_site

if TYPE_CHECKING:
    from collections.abc import Callable

    from flashvisor.model.site import Site

HEAD = 8  # bytes of a file that tell its kind
CONFIRM_WITHIN = 120.0  # seconds


@dataclass(frozen=True)
class SiteSource:
    """A checked site file: its text with key files put in, and where its images lie, by name."""

    path: Path
    text: str
    site: Site
    images: dict[str, Path]

    @property
    def image_bytes(self) -> int:
        """What `hash_images` will read, in bytes."""
        return sum(path.stat().st_size for path in set(self.images.values()))


@dataclass(frozen=True)
class Bundle:
    """A site and the exact bytes behind its image names."""

    source: SiteSource
    refs: dict[str, ImageRef]

    def request(self, *, who: str, confirm_within: float = CONFIRM_WITHIN) -> ApplyRequest:
        """Returns what is sent to a server; `confirm_within` in seconds."""
        return ApplyRequest(site_toml=self.source.text, images=self.refs, confirm_within=confirm_within, who=who)

    def uploads(self, missing: tuple[str, ...]) -> list[tuple[Path, ImageRef]]:
        """Returns the files behind the SHA-256 that a server does not hold, each once."""
        by_digest = {ref.sha256: (self.source.images[name], ref) for name, ref in self.refs.items()}
        return [by_digest[digest] for digest in missing if digest in by_digest]


def read_site(path: Path) -> SiteSource:
    """Reads and checks a site file; touches no server.

    Raises:
        UnreadableFileError: the site file, or a file that it takes a text from, cannot be read.
        SiteError: it is wrong, or an image's file is not there.
    """

    def read(name: str) -> str:
        return _read_text(path.parent / Path(name).expanduser())

    text = inline_files(_read_text(path), read, str(path))
    site = parse_site(text, str(path))
    check_site(site, str(path))
    images = {name: path.parent / Path(image.file).expanduser() for name, image in site.image.items()}
    for name, file in images.items():
        if not file.is_file():
            raise UnknownImageError(
                f"{path}: image.{name}.file: there is no file {file}",
                next_step="Build or fetch the file, or correct its path; paths are relative to the site file.",
            )
    return SiteSource(path=path, text=text, site=site, images=images)


def hash_images(source: SiteSource, on_bytes: Callable[[int], None] | None = None) -> Bundle:
    """Finds out which bytes the site's image names stand for; `on_bytes` hears of each chunk's size in bytes.

    Raises:
        ImageChangedError: a file is not the one whose SHA-256 the site file names.
        UnreadableFileError: a file cannot be read.
    """
    found: dict[Path, ImageRef] = {}
    refs = {}
    for name, path in source.images.items():
        if path not in found:
            found[path] = _reference(path, on_bytes)
        ref, wanted = found[path], source.site.image[name].sha256
        if wanted is not None and wanted != ref.sha256:
            raise ImageChangedError(f"{source.path}: image.{name}: expected SHA-256 {wanted}, {path} has {ref.sha256}")
        refs[name] = ref
    return Bundle(source=source, refs=refs)


def _reference(path: Path, on_bytes: Callable[[int], None] | None) -> ImageRef:
    try:
        with path.open("rb") as file:
            kind = ImageKind.APPLIANCE if is_pe(file.read(HEAD)) else ImageKind.DISK
        return ImageRef(sha256=sha256_file(path, on_bytes), size=path.stat().st_size, kind=kind)
    except OSError as error:
        raise UnreadableFileError(f"{path} cannot be read: {error.strerror}") from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UnreadableFileError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UnreadableFileError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from error
