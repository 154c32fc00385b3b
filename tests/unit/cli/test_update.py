"""update against a server in memory: what is asked, what is shown, and how the trial's end becomes an exit status."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from flashvisor.api import trial
from flashvisor.api.client import Client
from flashvisor.api.flashtypes import Installed, SlotsReport, UpdateRequest, UpdateStep
from sim.reposim import image_of, manifest_of, repository, write
from unit.api.test_trial import COMMITTED, FAILED, INSTALLED, ON_TRIAL, RESTART

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sim.nodesim import NodeSim
    from unit.cli.conftest import Ran

IMAGE = image_of("image")
STEPS = (
    UpdateStep(progress="verifying the release"),
    *(UpdateStep(progress="getting the image", done=done, total=1000) for done in (0, 400, 1000)),
    UpdateStep(progress="writing the slot"),
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[UpdateRequest, Path | None]]:
    """The updates that were asked for; each is installed at once."""
    found: list[tuple[UpdateRequest, Path | None]] = []

    def update(
        _: Client, request: UpdateRequest, directory: Path | None, on_progress: Callable[[UpdateStep], None]
    ) -> Installed:
        found.append((request, directory))
        for step in STEPS:
            on_progress(step)
        return Installed(version="1.1", image=INSTALLED.image, downloaded=1234567, reused=7654321)

    monkeypatch.setattr(Client, "update", update)
    return found


@pytest.fixture(autouse=True)
def five_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    def ticks(interval: float, limit: float) -> Iterator[float]:
        del interval
        yield from (0.0, 1.0, 2.0, 3.0, limit)

    monkeypatch.setattr(trial, "ticks", ticks)


@pytest.fixture
def releases(tmp_path: Path) -> str:
    write(repository((manifest_of(IMAGE, "1.1"), IMAGE)), tmp_path / "releases")
    return str(tmp_path / "releases")


def follow(sim: NodeSim, *reports: SlotsReport) -> None:
    sim.slots_reports = list(reports)


def test_a_release_is_pushed_and_waited_for(
    flashvisor: Callable[..., Ran], sim: NodeSim, asked: list[Any], releases: str
) -> None:
    follow(sim, RESTART, ON_TRIAL, COMMITTED)
    ran = flashvisor("update", releases)
    assert ran.status == 0
    assert "1,234,567 bytes came over the network, 7,654,321 bytes of the image were there" in ran.stdout
    assert "release 1.1 is committed in slot b, after " in ran.stdout
    for words in ("verifying the release", "getting the image: 40 %", "waiting for the restart", "guest web"):
        assert words in ran.stderr
    (request, directory), *_ = asked
    assert str(directory) == releases
    assert (request.name, request.version, request.flavour, request.force) == ("flashvisor", "", "", False)
    assert request.told > 1.7e9


def test_every_wish_is_passed_on(flashvisor: Callable[..., Ran], sim: NodeSim, asked: list[Any]) -> None:
    del sim
    words = ["--version", "1.0", "--flavour", "xen", "--force", "--probation", "90", "--health-url", "http://h/"]
    ran = flashvisor("update", "--url", "https://r.example/x", *words, "--no-watch")
    assert ran.status == 0
    assert "it keeps the image if http://h/ answers and its guests run within 90 s of its start" in ran.stdout
    request, directory = asked[0]
    assert directory is None
    assert (request.url, request.version, request.flavour, request.force, request.probation, request.health_url) == (
        *("https://r.example/x", "1.0", "xen", True),
        *(90.0, "http://h/"),
    )


def test_a_failed_trial_is_a_failure(
    flashvisor: Callable[..., Ran], sim: NodeSim, asked: list[Any], releases: str
) -> None:
    del asked
    follow(sim, ON_TRIAL, FAILED)
    ran = flashvisor("update", releases)
    assert ran.status == 7
    assert "FV-NODE-034: release 1.1 was tried and failed: guest web is silent" in ran.stderr
    assert "the server runs 1.0 in slot a" in ran.stderr


def test_json(flashvisor: Callable[..., Ran], sim: NodeSim, asked: list[Any], releases: str) -> None:
    del asked
    follow(sim, COMMITTED)
    outcome = json.loads(flashvisor("update", releases, "--json").stdout)
    assert (outcome["committed"], outcome["installed"]["downloaded"]) == (True, 1234567)
    assert outcome["slots"]["committed"] == "b"
    outcome = json.loads(flashvisor("update", releases, "--json", "--no-watch").stdout)
    assert (outcome["committed"], outcome["slots"]) == (None, None)
    follow(sim, FAILED)
    assert json.loads(flashvisor("update", releases, "--json").stdout)["code"] == "FV-NODE-034"


def test_what_runs_already_is_said(
    flashvisor: Callable[..., Ran], sim: NodeSim, releases: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    already = Installed(version="1.1", image=INSTALLED.image, already=True)
    monkeypatch.setattr(Client, "update", lambda *_: already)
    ran = flashvisor("update", releases)
    assert (ran.status, ran.stdout) == (0, "release 1.1 is what the server runs already\n")
    assert sim.calls == []


@pytest.mark.parametrize("words", [(), ("DIR", "--url", "https://r.example/")])
def test_a_directory_or_a_url(
    flashvisor: Callable[..., Ran], sim: NodeSim, asked: list[Any], words: tuple[str, ...]
) -> None:
    del sim
    ran = flashvisor("update", *words)
    assert ran.status == 2
    assert "either a directory of releases or --url" in ran.stderr
    assert asked == []


@pytest.mark.parametrize("url", ["h/health", "ftp://h/", "https://", "http://h/a b"])
def test_a_health_url_that_could_never_answer_is_refused_before_anything_happens(
    flashvisor: Callable[..., Ran], sim: NodeSim, asked: list[Any], releases: str, url: str
) -> None:
    ran = flashvisor("update", releases, "--health-url", url)
    assert ran.status == 2
    assert "http:// or https://" in ran.stderr
    assert (asked, sim.calls) == ([], [])
    with pytest.raises(msgspec.ValidationError):  # nor does a server take it from others
        msgspec.json.decode(msgspec.json.encode({"told": 1.0, "health_url": url}), type=UpdateRequest)


def test_a_directory_that_is_no_repository(
    flashvisor: Callable[..., Ran], sim: NodeSim, asked: list[Any], tmp_path: Path
) -> None:
    del sim
    ran = flashvisor("update", str(tmp_path))
    assert ran.status == 6
    assert "is not a release repository" in ran.stderr
    assert asked == []
