"""nft: loads a whole ruleset in one transaction. Owns nft's arguments, not the rules. Source: nft(8).

Example::

load(text)      # all of it, or none
"""

from __future__ import annotations

from flashvisor.host.run import run

TIMEOUT = 30.0  # seconds


def version() -> str:
    """Returns what `nft --version` says.

    Raises:
        ToolMissingError: nft is not installed.
    """
    return run(["nft", "--version"]).stdout.strip()


def load(ruleset: str) -> None:
    """Replaces the ruleset by one atomic transaction: no packet ever meets half of it.

    Raises:
        CommandFailedError: nft or the kernel refused; the rules in force stay as they were.
    """
    run(["nft", "-f", "-"], stdin=ruleset, timeout=TIMEOUT)
