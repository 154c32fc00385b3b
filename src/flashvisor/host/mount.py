"""mount: attaches file systems. Source: mount(8), umount(8), proc_pid_mountinfo(5).

Example::

    mount(Path("/dev/nvme0n1"), Path("/var/lib/flashvisor/storage/main"), kind="ext4", options="noatime")
    is_mounted(Path("/var/lib/flashvisor/storage/main"))
"""

from __future__ import annotations

from pathlib import Path

from flashvisor.host.run import run

TIMEOUT = 120.0  # seconds; a journal may have to be replayed
MOUNTINFO = Path("/proc/self/mountinfo")


def version() -> str:
    """Returns what `mount --version` says.

    Raises:
        ToolMissingError: mount is not installed.
    """
    return run(["mount", "--version"]).stdout.strip()


def mount(
    source: Path | str, target: Path, *, kind: str, options: str, internal: bool = False, limit: float = TIMEOUT
) -> None:
    """Mounts a device, or whatever else a file system is on; the target directory is made when it is not there.

    Args:
        source: What to mount.
        target: Where.
        kind: The kernel's name of the file system.
        options: As for mount(8).
        internal: Never calls a helper program such as mount.nfs4.
        limit: Seconds that it may take.

    Raises:
        CommandFailedError: mount or the kernel refused.
        CommandTimeoutError: it took longer.
    """
    target.mkdir(parents=True, exist_ok=True)
    word = ["--internal-only"] if internal else []
    run(["mount", *word, "-t", kind, "-o", options, source, target], timeout=limit)


def unmount(target: Path, *, lazy: bool = False) -> None:
    """Unmounts.

    Args:
        target: The mount point.
        lazy: Takes it out of sight at once, also while it is in use: for a file system whose disk is gone.

    Raises:
        CommandFailedError: it is not mounted, or in use.
    """
    run(["umount", *(["--lazy"] if lazy else []), target], timeout=TIMEOUT)


def is_mounted(target: Path) -> bool:
    """Tells whether something is mounted exactly there."""
    return str(target) in parse_mountinfo(MOUNTINFO.read_text())


def device_number(target: Path) -> str:
    """Returns the major and minor number of what is mounted exactly there ("259:0"); "" if nothing is.

    A file system that answers nothing any more has it still. Without a block device, the major number is 0.
    """
    lines = (line.split() for line in MOUNTINFO.read_text().splitlines())
    return {_unescape(fields[4]): fields[2] for fields in lines if len(fields) > 4}.get(str(target), "")


def parse_mountinfo(text: str) -> dict[str, str]:
    """Returns mount point to source device (the last one mounted wins); octal escapes are undone."""
    mounts: dict[str, str] = {}
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields, tail = left.split(), right.split()
        if len(fields) > 4 and len(tail) > 1:
            mounts[_unescape(fields[4])] = _unescape(tail[1])
    return mounts


def _unescape(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
