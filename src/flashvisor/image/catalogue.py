"""The catalogue of appliances: what recipe/appliances/NAME.toml says of each. Pure, but for reading it.

Owns a recipe's shape, its command line and its limit. Does not own how one is built (appliance.py)::

    names()                        # ["cache", "dns", "hello", …]
    recipe = load("web")
    filled(recipe)["/etc/nginx.conf"]
    cmdline(recipe)                # "console=ttyS0 ip=dhcp … rdinit=/init user=33 data=/data -- /usr/sbin/nginx …"
"""

from __future__ import annotations

import tomllib
from enum import StrEnum

import msgspec
from msgspec import Struct

from flashvisor.errors import ComponentTooLargeError, UnknownNameError
from flashvisor.image.recipes import RECIPE

APPLIANCES = RECIPE / "appliances"
LIMIT = 10_000_000  # bytes
INIT = "/init"  # recipe/appliances/init.c
DATA = "/data"  # what an appliance keeps, and where a guest's disk is mounted
SETTINGS = "/etc/site.d/site.conf"  # what a site's own settings replace
# The kernel itself asks for the address. If init ends, the kernel panics and, a second later, starts again.
KERNEL_WORDS = ("console=ttyS0", "ip=dhcp", "quiet", "panic=1", f"rdinit={INIT}")
# Whoever is not root may serve on the well-known ports, too: nothing else runs here.
LOW_PORTS = "sysctl.net.ipv4.ip_unprivileged_port_start=0"


class Tree(StrEnum):
    """The Debian tree that programs are picked from (trees.py): the image's own, or the one for appliances."""

    IMAGE = "image"
    APPLIANCES = "appliances"


class Compression(StrEnum):
    """How the root is packed: zstd starts sooner, xz is smaller."""

    ZSTD = "zstd"
    XZ = "xz"


class Appliance(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An appliance's recipe.

    Args:
        name: The file's name, without its ending.
        summary: What it is, in two or three words.
        version: Of the recipe; the programs' own are Debian's.
        serves: What it answers to.
        memory: What a guest needs for it, as in a site file; tests/tools/test_catalogue.py starts it with that much.
        service: The program that runs, and its arguments.
        kernel: More words for the kernel's command line.
        user: Number of the user that it starts as; 0 for root, where the program itself becomes someone else.
        keeps: What it keeps in DATA, which is the guest's disk if there is one; "" for nothing.
        programs: Paths in Debian's packages; libraries follow by themselves.
        files: Paths in Debian's packages that are not programs.
        text: Files by path, with @NAME@ and @VERSION@ in them.
        tree: Where programs and files come from.
        compression: How the root is packed.
        limit: Bytes of the finished file, at most.
    """

    name: str
    summary: str
    version: str
    serves: str
    memory: str
    service: tuple[str, ...]
    programs: tuple[str, ...]
    kernel: tuple[str, ...] = ()
    user: int = 0
    keeps: str = ""
    files: tuple[str, ...] = ()
    text: dict[str, str] = {}
    tree: Tree = Tree.APPLIANCES
    compression: Compression = Compression.ZSTD
    limit: int = LIMIT


def names() -> list[str]:
    """Returns the names of all appliances, sorted."""
    return sorted(path.stem for path in APPLIANCES.glob("*.toml"))


def load(name: str) -> Appliance:
    """Returns an appliance's recipe. A mistake in it is a bug of ours, so msgspec's own error is left to pass.

    Raises:
        UnknownNameError: there is no such appliance.
    """
    if name not in names():
        raise UnknownNameError(
            f"there is no appliance '{name}'; there is {', '.join(names())}",
            next_step="`flashvisor appliance list` shows them all.",
        )
    return parse(name, (APPLIANCES / f"{name}.toml").read_text())


def parse(name: str, text: str) -> Appliance:
    """Returns the recipe that a TOML text holds. Pure."""
    return msgspec.convert({"name": name, **tomllib.loads(text)}, Appliance)


def filled(recipe: Appliance) -> dict[str, str]:
    """Returns the appliance's own files by path, with its name and version put in. Pure."""
    marks = {"@NAME@": recipe.name, "@VERSION@": recipe.version}
    texts = {}
    for path, text in recipe.text.items():
        for mark, value in marks.items():
            text = text.replace(mark, value)
        texts[path] = text.removeprefix("\n")
    return texts


def cmdline(recipe: Appliance) -> str:
    """Returns the kernel's command line: its own words, init's environment, and behind "--" the service. Pure.

    Source: kernel-parameters.rst; init.c says what `user` and `data` are.
    """
    words = [*KERNEL_WORDS, *recipe.kernel]
    if recipe.user:
        words += [LOW_PORTS, f"user={recipe.user}"]
    if recipe.keeps:
        words += [f"data={DATA}"]
    return " ".join([*words, "--", *recipe.service])


def check_size(recipe: Appliance, size: int) -> int:
    """Returns the size in bytes of an appliance that is small enough.

    Raises:
        ComponentTooLargeError: it is larger than its limit.
    """
    if size > recipe.limit:
        raise ComponentTooLargeError(
            f"appliance '{recipe.name}': expected at most {recipe.limit:,} bytes, got {size:,}",
            next_step=f"Take programs or files out of image/recipe/appliances/{recipe.name}.toml.",
        )
    return size
