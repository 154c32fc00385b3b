"""mmdebstrap: Debian trees from packages. Source: mmdebstrap(1).

Example::

    make_tree(target, "trixie", ["systemd", "udev"], variant="extract", log_to=log)
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from flashvisor.errors import CommandFailedError, NoNetworkError, NotRootError
from flashvisor.host import apt
from flashvisor.host.run import run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TREE_TIMEOUT = 1800.0  # seconds
OFFLINE_WORDS = ("Could not resolve", "Temporary failure resolving", "Could not connect", "Network is unreachable",
                 "Failed to fetch", "Connection refused", "Connection failed")  # fmt: skip


def version() -> str:
    """Returns mmdebstrap's version."""
    return run(["mmdebstrap", "--version"]).stdout.strip()


def make_tree(  # noqa: PLR0913
    target: Path,
    suite: str,
    packages: Sequence[str],
    *,
    variant: str,
    log_to: Path,
    options: Sequence[str] = (),
    with_sources: bool = False,
) -> None:
    """Fills a directory, or writes a file named *.tar, with packages and what they depend on.

    Args:
        target: A directory that does not exist yet, or a path ending in .tar.
        suite: "trixie".
        packages: Package names.
        variant: "apt" (configured, with apt), "extract" (unpacked only), "minbase" or "custom".
        log_to: Takes mmdebstrap's output.
        options: More of mmdebstrap's options (hooks).
        with_sources: Whether deb-src lines are added.

    Raises:
        NoNetworkError: the mirror cannot be reached.
        NotRootError: not root.
        CommandFailedError: mmdebstrap failed for another reason.
    """
    if os.geteuid() != 0:
        raise NotRootError("making a Debian tree needs root")
    argv = ["mmdebstrap", f"--variant={variant}", "--mode=root", "--aptopt=APT::Install-Recommends \"false\"",
            f"--include={','.join(packages)}", *options, suite, str(target)]  # fmt: skip
    try:
        run([*argv, *apt.source_lines(suite, with_sources=with_sources)], timeout=TREE_TIMEOUT, log_to=log_to)
    except CommandFailedError as error:
        if any(word in log_to.read_text(errors="replace") for word in OFFLINE_WORDS):
            raise NoNetworkError(
                f"the Debian mirror could not be reached while making the tree {target.name}", evidence=error.evidence
            ) from error
        raise
