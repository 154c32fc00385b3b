"""The program as a whole: help, statuses, errors in both forms."""

from __future__ import annotations

import errno
import json
import logging
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from flashvisor.cli import main
from flashvisor.errors import NotRootError

if TYPE_CHECKING:
    from collections.abc import Callable

    from unit.cli.conftest import Ran


def test_help_imports_no_command() -> None:
    code = (
        "import sys\nfrom flashvisor.cli.main import run\nrun(['--help'])\n"
        "print([name for name in ('httpx', 'cryptography', 'flashvisor.cli.node') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "guest" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "name", [name for name, row in main.COMMANDS.items() if find_spec(f"flashvisor.cli.{row.module}")]
)
def test_every_command_has_help(flashvisor: Callable[..., Ran], name: str) -> None:
    ran = flashvisor(name, "--help")
    assert ran.status == 0
    assert f"flashvisor {name}" in ran.stdout


def test_a_command_whose_module_is_absent_breaks_nothing(
    flashvisor: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(main.COMMANDS, "ghost", main.Entry("ghost", "Not there."))
    assert "ghost" not in flashvisor("--help").stdout
    ran = flashvisor("ghost")
    assert ran.status == 2
    assert "No such command 'ghost'" in ran.stderr


def test_wrong_words_are_an_error_with_code_and_next_step(flashvisor: Callable[..., Ran]) -> None:
    ran = flashvisor("guest", "show", "--colour")
    assert ran.status == 2
    assert ran.stderr == (
        "FV-USE-003: No such option '--colour'.\n  next: `flashvisor guest show --help` lists what it takes.\n"
    )
    assert ran.stdout == ""


def test_with_json_errors_are_an_error_report_on_standard_output(flashvisor: Callable[..., Ran]) -> None:
    ran = flashvisor("guest", "list", "--json")
    assert ran.status == 2
    report = json.loads(ran.stdout)
    assert report["code"] == "FV-USE-004"
    assert "flashvisor node use" in report["next_step"]
    assert ran.stderr == ""


HELPERS = {
    "__init__",
    "buildtools",
    "main",
    "nodebook",
    "nodeflash",
    "output",
    "passphrase",
    "progress",
    "session",
    "trial_options",
    "terminal_session",
}


def test_every_module_is_in_the_table_and_the_other_way_round() -> None:
    there = {path.stem for path in Path(main.__file__).parent.glob("*.py")} - HELPERS
    assert {entry.module for entry in main.COMMANDS.values()} == there


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_is_an_error_with_a_code(
    flashvisor: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    command = click.Command("version", callback=fail_with(OSError(number, "full", "/big/file")))
    monkeypatch.setattr(import_module("flashvisor.cli.version"), "command", command)
    ran = flashvisor("version")
    assert ran.status == 3
    assert ran.stderr.startswith("FV-HOST-003: the disk filled up while writing /big/file\n")


def test_another_failure_of_the_system_is_a_traceback(
    flashvisor: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = click.Command("version", callback=fail_with(OSError(errno.EIO, "broken")))
    monkeypatch.setattr(import_module("flashvisor.cli.version"), "command", command)
    with pytest.raises(OSError, match="broken"):
        flashvisor("version")


def fail_with(error: BaseException) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "status"), [(NotRootError("no"), 3), (KeyboardInterrupt(), 130), (click.exceptions.Exit(5), 5)]
)
def test_exit_statuses(
    flashvisor: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int
) -> None:
    command = click.Command("version", callback=fail_with(error))
    monkeypatch.setattr(import_module("flashvisor.cli.version"), "command", command)
    assert flashvisor("version").status == status


def test_a_bug_is_a_traceback(flashvisor: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    command = click.Command("version", callback=fail_with(ZeroDivisionError("bug")))
    monkeypatch.setattr(import_module("flashvisor.cli.version"), "command", command)
    with pytest.raises(ZeroDivisionError):
        flashvisor("version")


def test_a_module_without_a_command_is_a_bug(flashvisor: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("flashvisor.cli.version"), "command", "text")
    with pytest.raises(TypeError, match="not a click command"):
        flashvisor("version")


def test_no_words_show_help(flashvisor: Callable[..., Ran]) -> None:
    ran = flashvisor()
    assert ran.status == 2
    assert "Usage: flashvisor" in ran.stdout + ran.stderr


def test_debug_shows_programs(flashvisor: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("flashvisor")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "level", logging.NOTSET)

    def say() -> None:
        logging.getLogger("flashvisor.host.run").debug("run: %s", "/usr/bin/true")

    command = click.Command("version", callback=say)
    monkeypatch.setattr(import_module("flashvisor.cli.version"), "command", command)
    assert "flashvisor.host.run: run: /usr/bin/true" in flashvisor("--debug", "version").stderr


def test_version(flashvisor: Callable[..., Ran]) -> None:
    assert flashvisor("version").stdout.startswith("flashvisor 0.")
    assert json.loads(flashvisor("version", "--json").stdout)["api"] == 1
