"""keys init and show."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from unit.cli.conftest import Ran


def test_init_once_then_never_again(flashvisor: Callable[..., Ran], home: Path) -> None:
    assert flashvisor("keys", "show").status == 6
    ran = flashvisor("keys", "init", "--owner", "Owner Ltd")
    assert ran.status == 0
    assert "NOT encrypted" in ran.stdout
    directory = home / ".local/share/flashvisor/keys"
    before = (directory / "ca.key").read_bytes()
    again = flashvisor("keys", "init")
    assert again.status == 6
    assert "FV-TRUST-002" in again.stderr
    assert (directory / "ca.key").read_bytes() == before


def test_show_tells_everything_but_secrets(flashvisor: Callable[..., Ran], home: Path) -> None:
    flashvisor("keys", "init")
    ran = flashvisor("keys", "show", "--json")
    report = json.loads(ran.stdout)
    assert report["owner"] == "admin"
    assert report["encrypted"] is False
    assert [key["file"] for key in report["keys"]] == [
        "ca.pem", "admin.pem", "PK.pem", "KEK.pem", "db.pem", "modules.pem",
    ]  # fmt: skip
    assert len({key["sha256"] for key in report["keys"]}) == 6
    text = flashvisor("keys", "show").stdout + ran.stdout
    secret = (home / ".local/share/flashvisor/keys/ca.key").read_text().splitlines()[1]
    assert secret not in text
    assert "PRIVATE" not in text


def test_an_owner_that_cannot_stand_in_a_certificate(flashvisor: Callable[..., Ran], home: Path) -> None:
    ran = flashvisor("keys", "init", "--owner", "x" * 65, "--json")
    assert ran.status == 2
    assert json.loads(ran.stdout)["code"] == "FV-USE-006"
    assert not (home / ".local").exists()
