"""The immutable flag as this kernel keeps it, set and read by chattr and lsattr."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.host.efivars import NON_VOLATILE, EfiVars
from flashvisor.host.run import run
from flashvisor.model.bootentry import GLOBAL

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.tools


def test_an_immutable_file_is_written_kept_immutable_and_deleted(tmp_path: Path) -> None:
    variables = EfiVars(tmp_path)
    variables.write("db", GLOBAL, NON_VOLATILE, b"old")
    file = tmp_path / f"db-{GLOBAL}"
    run(["chattr", "+i", file])
    try:
        with pytest.raises(PermissionError):
            file.write_bytes(b"")
        variables.write("db", GLOBAL, NON_VOLATILE, b"new")
        assert "i" in run(["lsattr", file]).stdout.split()[0]
        assert variables.read("db", GLOBAL) == (NON_VOLATILE, b"new")
        variables.delete("db", GLOBAL)
        assert not file.exists()
    finally:
        if file.exists():
            run(["chattr", "-i", file])
