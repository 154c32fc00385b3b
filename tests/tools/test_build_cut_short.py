"""A build step that is killed half-way, run again, and run by two at once: real processes, one real cache."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.tools
LIMIT = 20.0  # seconds

# Says "half" with one of two files written, and goes on when it hears a line.
BUILDER = """
import sys
from pathlib import Path
from flashvisor.image.cache import Cache, Step

def build(place):
    (place / sys.argv[2]).write_text("first")
    print("half", flush=True)
    sys.stdin.readline()
    (place / "second").write_text("second")

place = Cache(Path(sys.argv[1])).get(Step("thing", inputs={"a": "b"}, build=build))
print(*sorted(path.name for path in place.iterdir()), flush=True)
"""


def start(root: Path, first: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", BUILDER, str(root), first]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_killed_step_is_built_anew_without_its_leftovers(tmp_path: Path) -> None:
    with start(tmp_path, "leftover") as killed:
        assert line(killed) == "half"
        killed.kill()
    assert list(tmp_path.rglob("leftover")), "it was killed with something written"
    with start(tmp_path, "first") as again:
        assert again.communicate("\n", timeout=LIMIT)[0].splitlines() == ["half", ".done.json first second"]
    assert not list(tmp_path.rglob("*.half"))


def test_two_at_once_build_a_thing_once(tmp_path: Path) -> None:
    with start(tmp_path, "first") as one:
        assert line(one) == "half"
        with start(tmp_path, "other") as two:
            assert one.communicate("\n", timeout=LIMIT)[0].strip() == ".done.json first second"
            assert two.communicate("\n", timeout=LIMIT)[0].strip() == ".done.json first second", "it built nothing"
