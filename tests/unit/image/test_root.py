"""The root's plan: where its files come from, and in which order they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor.image.recipes import Python, Recipe
from flashvisor.image.root import Sources, plan

if TYPE_CHECKING:
    from pathlib import Path


def test_of_depmods_files_only_those_that_are_read(tmp_path: Path) -> None:
    place = tmp_path / "modules/lib/modules/6.12.117"
    for name in ("kernel/fs/nfs/nfs.ko", "modules.dep", "modules.dep.bin", "modules.symbols.bin", "modules.softdep"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("x")
    packages = tmp_path / "packages"
    packages.mkdir()
    sources = Sources(trees={"packages": packages}, owners={}, modules=tmp_path / "modules", python={}, own={})
    entries = plan(Recipe(component=(), links={}, python=Python()), sources)
    found = {entry.path.removeprefix("/usr/lib/modules/6.12.117/") for entry in entries if entry.component == "drivers"}
    assert found == {"kernel/fs/nfs/nfs.ko", "modules.dep.bin", "modules.softdep"}


def test_python_lies_in_the_order_in_which_it_is_imported(tmp_path: Path) -> None:
    names = ["/usr/lib/python3.13/zip.pyc", "/usr/lib/python3.13/abc.pyc", "/usr/lib/python3.13/os.pyc"]
    file = tmp_path / "some.pyc"
    file.write_bytes(b"compiled")
    sources = Sources(
        trees={"packages": tmp_path},
        owners={},
        modules=tmp_path / "none",
        python=dict.fromkeys(names, (file, "")),
        own={"/etc/hosts": file},
    )
    entries = plan(Recipe(component=(), links={}, python=Python()), sources)
    ranks = {entry.path: entry.rank for entry in entries}
    assert sorted(names, key=lambda name: -ranks[name]) == names
    assert ranks["/etc/hosts"] == 0 < min(ranks[name] for name in names)
