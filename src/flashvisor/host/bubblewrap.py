"""bubblewrap: runs a program with another tree as its root, without leaving mounts behind when killed.

Owns bwrap's arguments. Source: bwrap(1)::

    enter(tree, ["make", "bzImage"], binds={work: "/work"}, log_to=log)
    run([*jail(readable={disk: "/in/disk"}, writable={work: "/out"}, limits=Limits(...)), "qemu-img", ...])
"""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Limits:
    """What a program may use (setrlimit(2)): address space and each file that it writes in bytes, CPU time in seconds.

    The kernel ends a program that goes on beyond.
    """

    memory: int
    file_size: int
    cpu: int


def jail(*, readable: Mapping[Path, str], writable: Mapping[Path, str], limits: Limits) -> list[str | Path]:
    """Returns the words before a command of this machine that make it see /usr and the given paths, and nothing else.

    No network, no other process, no privilege, no terminal, no variable of ours.

    Args:
        readable: Files and directories that it may read: outside path to inside path.
        writable: Directories that it may write to, likewise.
        limits: What it may use.

    Source: bwrap(1), prlimit(1).
    """
    words: list[str | Path] = ["bwrap", "--unshare-all", "--cap-drop", "ALL", "--die-with-parent", "--new-session"]
    words += ["--clearenv", "--setenv", "PATH", "/usr/bin", "--setenv", "LC_ALL", "C.UTF-8"]
    words += ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "lib", "lib64"):
        words += ["--symlink", f"usr/{name}", f"/{name}"]
    words += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache", "--dev", "/dev"]
    for outside, inside in readable.items():
        words += ["--ro-bind", outside, inside]
    for outside, inside in writable.items():
        words += ["--bind", outside, inside]
    words += ["--chdir", "/", "--", "prlimit", f"--as={limits.memory}", f"--fsize={limits.file_size}"]
    # At the upper limit comes SIGKILL, which says nothing; at the lower one SIGXCPU, if it is the lower one.
    return [*words, f"--cpu={limits.cpu}:{limits.cpu + 1}", "--core=0", "--"]
