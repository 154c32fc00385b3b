"""Releases that go wrong on a server with Secure Boot: each ends with the old image and a reason that is remembered.

The owner's repository holds them, as if the owner had been careless, or robbed of the keys for releases: what nobody or
somebody else signed cannot be published by the command, and is here by hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.api import trial
from flashvisor.cli.buildtools import open_cache
from flashvisor.errors import ReleaseFailedBeforeError, TrialFailedError
from flashvisor.flash.chunks import cut
from flashvisor.flash.slots import SILENT
from flashvisor.host import clock
from flashvisor.image.release import Title, describe
from flashvisor.image.trees import build_root
from flashvisor.lab.trial import connect
from flashvisor.model.release import Flavour
from flashvisor.node.slotkeeper import OWNER
from flashvisor.trust.repository import Repository
from lab.updating import push, slots
from lab.variants import HANGS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flashvisor.lab.server import Server
    from flashvisor.trust.keyring import Keyring
    from lab.variants import Variants

pytestmark = pytest.mark.lab

TIMER = 1800.0  # seconds; an agent that never comes is reset after 1200 (node/units/flashvisor-probation.timer)
REFUSED = "Access Denied"


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The owner's repository; each test publishes into it."""
    return tmp_path_factory.mktemp("releases") / "dir"


@pytest.fixture(scope="module")
def server(power_on: Callable[..., Server]) -> Server:
    return power_on("guarded", secure_boot=True)


@pytest.fixture
def fails(server: Server, owner: Keyring, releases: Path, tmp_path: Path) -> Callable[[Path, str, str], str]:
    """Puts an image on the server, and holds that it fails for a reason; returns what the console said meanwhile."""

    def try_it(image: Path, version: str, reason: str) -> str:
        before, since = slots(server, owner), server.position()
        publish_unchecked(image, releases, owner, tmp_path, version)
        installed = push(server, owner, releases)
        with pytest.raises(TrialFailedError, match=reason):
            trial.watch(lambda: connect(server, owner), installed, TIMER)
        after = slots(server, owner)
        assert (after.running, after.committed) == (before.committed, before.committed)
        assert next(row.intact for row in after.slots if row.running)
        assert (after.failed[-1].version, after.failed[-1].image) == (version, installed.image)
        assert reason in after.failed[-1].reason
        with pytest.raises(ReleaseFailedBeforeError):
            push(server, owner, releases)
        return server.serial_log.read_bytes()[since:].decode(errors="replace")

    return try_it


def publish_unchecked(image: Path, releases: Path, owner: Keyring, work: Path, version: str) -> None:
    """Publishes an image whoever signed it."""
    (work / "image").mkdir()
    manifest = describe(image, Title("flashvisor", version, Flavour.KVM), work / "image", build_root(open_cache()))
    repository = Repository(releases, owner.tuf_keys(), owner.roots)
    repository.publish(manifest, cut(image.read_bytes()), clock.now())


def test_an_image_that_nobody_signed_is_refused_by_the_firmware(
    fails: Callable[[Path, str, str], str], variants: Variants
) -> None:
    assert REFUSED in fails(variants.unsigned(), "0.2", SILENT)


def test_an_image_that_a_stranger_signed_is_refused_by_the_firmware(
    fails: Callable[[Path, str, str], str], variants: Variants, stranger: Keyring, tmp_path: Path
) -> None:
    theirs = variants.signed_by(stranger, tmp_path / "theirs.efi")
    assert REFUSED in fails(theirs, "0.3", SILENT)


def test_an_image_that_hangs_is_ended_by_the_watchdog(
    fails: Callable[[Path, str, str], str], variants: Variants
) -> None:
    assert HANGS in fails(variants.hangs(), "0.4", SILENT)


def test_an_image_that_nobody_reaches_ends_its_trial_itself(
    fails: Callable[[Path, str, str], str], variants: Variants
) -> None:
    assert "the trial failed" in fails(variants.silent(), "0.5", OWNER)


def test_an_image_whose_agent_never_comes_is_ended_by_the_timer(
    fails: Callable[[Path, str, str], str], variants: Variants
) -> None:
    fails(variants.agentless(), "0.6", SILENT)
