"""The image's Python: the modules that the agent imports, compiled, and nothing else.

Owns the wheels' step and the compile step. What is imported is found by importing it, with the Python that ships
(recipe/trace.py); what is imported only later, when something happens, is named in root.toml.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.host.bubblewrap import enter
from flashvisor.host.files import MIB, sha256_file
from flashvisor.host.run import run
from flashvisor.image.cache import Step, digest
from flashvisor.image.recipes import RECIPE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flashvisor.image.cache import Cache
    from flashvisor.image.recipes import Recipe

PYTHON = "/usr/bin/python3.13"
PLATFORM = "manylinux_2_28_x86_64"
OURS = ("model", "host", "flash", "guests", "trust", "api", "node")  # packages of flashvisor that ship in flash
AT_START = (  # in the order in which the agent imports them
    "flashvisor.node.agent", "flashvisor.node.settings", "flashvisor.guests.libvirt_driver", "libvirt",
    "flashvisor.node.assemble", "flashvisor.node.machine", "flashvisor.node.probes", "flashvisor.node.app",
    "flashvisor.node.server", "flashvisor.node.tls", "uvicorn.loops.asyncio", "uvicorn.protocols.http.h11_impl",
    "uvicorn.lifespan.off",
)  # fmt: skip
ADMIN_TRUST = (
    "attest", "authenticode", "backup", "certificates", "keymaker", "keyring", "keys", "keystore", "measure",
    "publickeys", "quote", "repository", "rootchain", "roles", "secureboot", "token", "tokenkeys", "tokenuri",
)  # fmt: skip
ADMIN_API = ("client", "console", "failures", "offer", "trial")
ADMIN_SIDE = (*(f"api/{name}.py" for name in ADMIN_API), *(f"trust/{name}.py" for name in ADMIN_TRUST))
NOT_IN_FLASH = tuple(f"flashvisor.{name.removesuffix('.py').replace('/', '.')}" for name in ADMIN_SIDE)
LATE = (  # uvicorn picks these by name when the server starts
    "uvicorn.loops.asyncio", "uvicorn.protocols.http.h11_impl", "uvicorn.protocols.websockets.wsproto_impl",
    "uvicorn.lifespan.on", "uvicorn.lifespan.off", "uvicorn.logging", "asyncio.subprocess",
)  # fmt: skip


def python_files(cache: Cache, packages: Path, recipe: Recipe, source: Path) -> Mapping[str, tuple[Path, str]]:
    """Returns absolute path in the image to the file and its package ("pypi:NAME", "" for Debian's and ours).

    Args:
        cache: The build cache.
        packages: Tree of Debian packages; its Python does the work.
        recipe: Names the modules that tracing misses.
        source: Directory that holds the package `flashvisor`.
    """
    wheels = cache.get(_wheels_step())
    ours = {str(path.relative_to(source)): sha256_file(path) for path in our_files(source)}
    inputs = {"ours": digest(json.dumps(ours)), "wheels": wheels.name, "packages": packages.parent.name}
    inputs |= {"extra": " ".join((*recipe.python.extra, "whole:", *recipe.python.whole))}
    inputs |= {"first": " ".join(AT_START), "trace": digest((RECIPE / "trace.py").read_text())}

    def build(place: Path) -> None:
        _compile(place, packages=packages, wheels=wheels / "site", source=source, recipe=recipe)

    place = cache.get(Step("python", inputs=inputs, build=build, title="Python modules", expected=10, space=64 * MIB))
    found: dict[str, dict[str, str]] = json.loads((place / "found.json").read_text())
    return {path: _origin(what, place, packages, wheels / "site") for path, what in found.items()}


def wheels(cache: Cache) -> Path:
    """Returns the directory that the image's wheels are installed in, with the metadata of each."""
    return cache.get(_wheels_step()) / "site"


def wheel_packages(site: Path) -> dict[str, str]:
    """Returns top-level directory or file in a wheels' directory to its distribution's name."""
    owners = {}
    for record in site.glob("*.dist-info/RECORD"):
        name = record.parent.name.split("-")[0]
        for line in record.read_text().splitlines():
            owners[line.split(",")[0].split("/")[0]] = name
    return owners


def _wheels_step() -> Step:
    lock = RECIPE / "node-requirements.txt"

    def build(place: Path) -> None:
        argv = [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps", "--no-compile",
                "--only-binary=:all:", "--implementation", "cp", "--python-version", "3.13", "--abi", "cp313",
                "--platform", PLATFORM, "--target", str(place / "site"), "--requirement", str(lock)]  # fmt: skip
        run(argv)

    return Step("wheels", inputs={"lock": digest(lock.read_text())}, build=build, title="Python packages", expected=10)


def our_files(source: Path) -> list[Path]:
    """Returns those of our modules that ship in flash; `source` holds the package `flashvisor`."""
    package = source / "flashvisor"
    files = [package / "__init__.py", package / "errors.py"]
    for name in OURS:
        files += sorted((package / name).rglob("*.py"))
    return [path for path in files if str(path.relative_to(package)) not in ADMIN_SIDE]


def _compile(place: Path, *, packages: Path, wheels: Path, source: Path, recipe: Recipe) -> None:
    staged = place / "ours"
    for path in our_files(source):
        target = staged / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    shutil.copyfile(RECIPE / "trace.py", place / "trace.py")
    request = {
        "first": AT_START,
        "packages": [f"flashvisor.{name}" for name in OURS],
        "leave_out": NOT_IN_FLASH,
        "modules": ["flashvisor.errors", *LATE, *recipe.python.extra],
        "ours": ["/mnt/ours"],
        "wheels": ["/srv"],
        "whole": recipe.python.whole,
        "out": "/mnt/compiled",
    }
    done = enter(
        packages,
        [PYTHON, "-B", "/mnt/trace.py"],
        binds={place: "/mnt", wheels: "/srv"},
        env={"PYTHONPATH": "/mnt/ours:/srv"},
        stdin=json.dumps(request),
    )
    (place / "found.json").write_text(done.stdout)


def _origin(what: Mapping[str, str], place: Path, packages: Path, wheels: Path) -> tuple[Path, str]:
    """Turns paths as seen inside the tree into paths outside, and names the wheel."""
    file, source = what["file"], what["source"]
    outside = {"/mnt/": place, "/srv/": wheels}
    path = next((root / file.removeprefix(mark) for mark, root in outside.items() if file.startswith(mark)), None)
    owner = (
        wheel_packages(wheels).get(source.removeprefix("/srv/").split("/")[0], "") if source.startswith("/srv/") else ""
    )
    return (path or packages / file.lstrip("/")), (f"pypi:{owner}" if owner else "")
