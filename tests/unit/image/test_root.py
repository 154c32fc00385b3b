"""The root's plan, where it decides something by itself."""

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
