"""bubblewrap: runs a program with another tree as its root, without leaving mounts behind when killed.

Owns bwrap's arguments. Source: bwrap(1)::

    enter(tree, ["make", "bzImage"], binds={work: "/work"}, log_to=log)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor.host.run import Completed, run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

BUILD_TIMEOUT = 7200.0  # seconds; a kernel on two slow cores


def version() -> str:
    """Returns bwrap's version."""
    return run(["bwrap", "--version"]).stdout.strip()


def enter(  # noqa: PLR0913
    tree: Path,
    argv: Sequence[str],
    *,
    binds: Mapping[Path, str],
    env: Mapping[str, str] | None = None,
    cwd: str = "/",
    log_to: Path | None = None,
    stdin: str = "",
) -> Completed:
    """Runs a program of `tree` as root of that tree, with no network and only the given directories writable.

    Args:
        tree: The directory that becomes /. It is read-only inside.
        argv: Program and arguments, as seen inside.
        binds: Writable directories: outside path to inside path.
        env: The whole environment inside (PATH and HOME are set).
        cwd: Working directory inside.
        log_to: See `run`.
        stdin: See `run`.

    Raises:
        CommandFailedError: the program failed.
    """
    words: list[str | Path] = ["bwrap", "--ro-bind", tree, "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]  # noqa: S108
    words += ["--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent", "--clearenv"]
    for outside, inside in binds.items():
        words += ["--bind", outside, inside]
    settings = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "LC_ALL": "C.UTF-8", **(env or {})}  # noqa: S108
    for name, value in settings.items():
        words += ["--setenv", name, value]
    words += ["--chdir", cwd, "--", *argv]
    return run(words, timeout=BUILD_TIMEOUT, log_to=log_to, stdin=stdin)
