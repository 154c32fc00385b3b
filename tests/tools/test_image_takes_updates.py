"""The image's own Python, with only what is in the image, takes a release in: what it imports late is there.

The agent imports most of an update's modules by the first update, and some of them import others by name.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from flashvisor.cli.buildtools import open_cache, open_keyring
from flashvisor.host import clock
from flashvisor.host.bubblewrap import enter
from flashvisor.image.inspect import files_of
from flashvisor.image.publication import Order, publish
from flashvisor.image.trees import build_root
from flashvisor.model.record import encode
from flashvisor.model.release import Memory

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.image.build import BuildResult

pytestmark = pytest.mark.tools

INSIDE = """
import json, pathlib, sys
given = json.load(sys.stdin)
from flashvisor.host import devices, https
from flashvisor.host.efivars import EfiVars, boot_variables
from flashvisor.model.record import decode
from flashvisor.model.release import Flavour, Memory
from flashvisor.node import intake, preflight, slotkeeper, sources, updatesocket
from flashvisor.trust.updates import Clocks, Wish, drive, verify

class Directory(sources.Source):
    def _answers(self, wants):
        for want in wants:
            path = pathlib.Path("/tmp/releases") / want.path
            yield path.read_bytes() if path.exists() else None

memory, source = decode(given["memory"].encode(), Memory), Directory()
clocks, wish = Clocks(given["now"], 0.0), Wish("flashvisor", Flavour.KVM)
manifest = drive(verify(memory, clocks, wish), source.fetch).manifest
taken = intake.assemble(manifest, pathlib.Path("/tmp/update"), held=[], source=source, tell=lambda done: None)
https.client_context(given["ca"])
https.answers("http://127.0.0.1:9/", 1.0)
boot_variables(EfiVars(pathlib.Path("/tmp/none")))
print(manifest.version, taken.image.stat().st_size)
"""


def test_a_release_is_verified_by_what_is_in_the_image(built_image: BuildResult, tmp_path: Path) -> None:
    owner = open_keyring().founded()
    (tmp_path / "work").mkdir()
    files_of(built_image.efi, tmp_path / "work", build_root(open_cache()))
    releases = tmp_path / "releases"
    done = publish(built_image.efi, releases, owner, open_cache(), Order(version="7.1"))
    given = {
        "memory": encode(Memory(root=owner.roots[0])).decode(),
        "now": clock.wall(),
        "ca": owner.ca_pem.decode(),
    }
    ran = enter(
        tmp_path / "work/root",
        ["/usr/bin/python3", "-I", "-B", "-c", INSIDE],
        binds={releases: "/tmp/releases"},  # noqa: S108 - inside
        stdin=json.dumps(given),
    )
    assert ran.stdout.split() == ["7.1", str(done.manifest.length)]
