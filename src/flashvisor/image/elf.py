"""Which shared libraries a program needs, found the way the dynamic linker finds them, inside a tree.

Source: System V ABI (DT_NEEDED, DT_RUNPATH), ld.so(8). Reading the files is pyelftools' work::

    needs = closure([tree / "usr/bin/qemu-img"], [tree])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from flashvisor.errors import MissingFileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

MAGIC = b"\x7fELF"
LIBRARY_DIRECTORIES = (
    "usr/lib/x86_64-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "usr/lib/x86_64-linux-gnu/systemd",
    "usr/lib/systemd",
)


def is_elf(path: Path) -> bool:
    """Whether a regular file starts as an ELF file does."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def needed(path: Path) -> list[str]:
    """Returns the names that a file's DT_NEEDED and PT_INTERP give."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        names = [
            str(tag.needed)  # type: ignore[attr-defined]  # pyelftools sets it by the tag's kind
            for section in elf.iter_sections()
            if isinstance(section, DynamicSection)
            for tag in section.iter_tags("DT_NEEDED")
        ]
        loaders = [part.get_interp_name() for part in elf.iter_segments() if isinstance(part, InterpSegment)]
    return names + [name.rsplit("/", 1)[-1] for name in loaders]


def closure(programs: Iterable[Path], trees: Sequence[Path]) -> dict[str, Path]:
    """Returns all libraries that programs need, directly or not.

    Args:
        programs: ELF files.
        trees: Where libraries are looked for, in order.

    Returns:
        Library name (as asked for, such as "libc.so.6") to the file in a tree.

    Raises:
        MissingFileError: a library is in none of the trees.
    """
    found: dict[str, Path] = {}
    waiting = list(programs)
    while waiting:
        program = waiting.pop()
        for name in needed(program):
            if name not in found:
                found[name] = _locate(name, trees, wanted_by=program)
                waiting.append(found[name])
    return found


def _locate(name: str, trees: Sequence[Path], *, wanted_by: Path) -> Path:
    for tree in trees:
        for directory in LIBRARY_DIRECTORIES:
            if (path := tree / directory / name).exists():
                return path
    raise MissingFileError(
        f"{wanted_by.name} needs {name}, which is in no package of the tree",
        next_step="Add the package that holds it to ROOT_PACKAGES in image/trees.py.",
    )
