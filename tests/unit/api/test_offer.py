"""A server gets the files of a repository, and no others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from websockets.exceptions import ConnectionClosedError

from flashvisor.api import offer
from flashvisor.api.flashtypes import Installed, UpdateRequest, UpdateStep
from flashvisor.api.offer import read_offer
from flashvisor.errors import StrangeAnswerError, UnreadableFileError
from sim.reposim import image_of, manifest_of, repository, write

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = image_of("image")
FILES = repository((manifest_of(IMAGE, "1.1"), IMAGE))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write(FILES, tmp_path / "releases")
    (tmp_path / "secret.json").write_text("secret")
    (tmp_path / "releases/keyring.json").write_text("secret")
    return tmp_path / "releases"


def test_every_file_of_a_repository_may_be_asked_for(directory: Path) -> None:
    for name, data in FILES.items():
        assert read_offer(directory, name, len(data)) == data
    assert read_offer(directory, "2.root.json", 100) is None


def test_no_more_than_one_byte_over_the_limit_is_sent(directory: Path) -> None:
    assert read_offer(directory, "timestamp.json", 10) == FILES["timestamp.json"][:11]


@pytest.mark.parametrize(
    "path",
    [
        *("../secret.json", "/etc/passwd", "", ".", "keyring.json", "chunks", "root.json", "0.root.json"),
        *(f"chunks/../{'a' * 64}", f"chunks/aa/{'a' * 64}/x", f"chunks/aa/{'A' * 64}", f"chunks/aa/{'a' * 64}\n"),
        *(f"targets/{'a' * 64}./../../secret.json", f"targets/{'a' * 64}.x/y.json", "1.root.json\0", "x/1.root.json"),
    ],
)
def test_other_paths_are_refused(directory: Path, path: str) -> None:
    with pytest.raises(StrangeAnswerError):
        read_offer(directory, path, 100)


def test_a_link_out_of_the_directory_is_not_followed(directory: Path) -> None:
    (directory / "9.root.json").symlink_to(directory.parent / "secret.json")
    with pytest.raises(StrangeAnswerError, match="leads out"):
        read_offer(directory, "9.root.json", 100)


def test_what_cannot_be_read_is_said(directory: Path) -> None:
    (directory / "9.root.json").mkdir()
    with pytest.raises(UnreadableFileError):
        read_offer(directory, "9.root.json", 100)


class BreakingLine:
    """A connection on which a server says some things, and which then breaks."""

    def __init__(self, *steps: UpdateStep) -> None:
        self._steps = list(steps)

    async def send(self, _: str | bytes) -> None:
        pass

    async def recv(self) -> str:
        if not self._steps:
            raise ConnectionClosedError(None, None)
        return msgspec.json.encode(self._steps.pop(0)).decode()


def talk(line: Any) -> Any:  # noqa: ANN401 it stands for a connection
    return asyncio.run(offer._offer(line, UpdateRequest(told=0.0), None, lambda _: None))


def test_a_line_that_breaks_while_the_slot_is_written_leaves_what_is_being_tried() -> None:
    writes = Installed(version="1.1", image="a" * 64)
    line = BreakingLine(UpdateStep(progress="loading"), UpdateStep(progress="writing", writes=writes))
    assert talk(line) == writes


def test_a_line_that_breaks_before_is_an_error() -> None:
    with pytest.raises(ConnectionClosedError):
        talk(BreakingLine(UpdateStep(progress="loading")))
