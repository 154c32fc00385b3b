"""mdadm: mirrors of two disks. Source: mdadm(8), md(4), Documentation/admin-guide/md.rst.

Example::

    array = create("fv-main", [Path("/dev/sda"), Path("/dev/sdb")])     # Path("/dev/md0")
    array = array_of([Path("/dev/sda")]) or assemble([Path("/dev/sda"), Path("/dev/sdb")], insist=True)
    add(array, Path("/dev/sdc"))
    stop(array)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.errors import CommandFailedError
from flashvisor.host.run import run

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT = Path("/")
DEV = Path("/dev")
TIMEOUT = 120.0  # seconds
NOTHING_TO_DO = (1, 2)  # statuses of a removal that found nothing to remove


def version() -> str:
    """Returns what `mdadm --version` says (on standard error).

    Raises:
        ToolMissingError: mdadm is not installed.
    """
    done = run(["mdadm", "--version"])
    return (done.stderr or done.stdout).strip()


def array_of(devices: Iterable[Path], root: Path = ROOT) -> Path | None:
    """Returns the running array that one of these devices is in; None if there is none."""
    names = {device.name for device in devices}
    for slaves in sorted((root / "sys/block").glob("md*/slaves")):
        if names & {slave.name for slave in slaves.iterdir()}:
            return DEV / slaves.parent.name
    return None


def is_array(device: Path, root: Path = ROOT) -> bool:
    """Tells whether a device is a running array; what is no device ("nas:/md0", an NFS export) is none."""
    return device.parent == DEV and (root / "sys/block" / device.name / "md").exists()


def members(array: Path, root: Path = ROOT) -> frozenset[str]:
    """Returns the names of the devices that work in an array ("sda")."""
    found = (root / "sys/block" / array.name / "md").glob("dev-*")
    return frozenset(place.name.removeprefix("dev-") for place in found if _works(place))


def _works(member: Path) -> bool:
    try:
        return "faulty" not in (member / "state").read_text()
    except OSError:
        return False  # it was pulled out a moment ago


def create(name: str, devices: Sequence[Path]) -> Path:
    """Makes a mirror of two blank devices, which is usable at once and filled in the background.

    Raises:
        CommandFailedError: mdadm or the kernel refused.
    """
    array = _free()
    form = ["--level=1", f"--raid-devices={len(devices)}", "--metadata=1.2", "--bitmap=internal"]
    # --run: no questions. The array's name has no host in it: another server may take the disks over.
    run(["mdadm", "--create", array, "--run", *form, "--homehost=any", f"--name={name}", *devices], timeout=TIMEOUT)
    return array


def assemble(devices: Sequence[Path], *, insist: bool) -> Path:
    """Starts an array from what is left of it; of halves that differ, the newer one counts.

    Args:
        devices: Those that are there.
        insist: Start it also from one half that does not know of the other one's end, and so may be the older one.

    Raises:
        CommandFailedError: mdadm or the kernel refused, or a half is missing that should not be.
    """
    array = _free()
    word = ["--run"] if insist else []
    try:
        run(["mdadm", "--assemble", array, *word, "--homehost=any", *devices], timeout=TIMEOUT)
    except CommandFailedError:
        if is_array(array):
            stop(array)
        raise
    return array


def add(array: Path, device: Path) -> None:
    """Takes a device in, in the place of one that failed or is gone. One that was in it before gets only what changed.

    Raises:
        CommandFailedError: mdadm or the kernel refused (too small, in use).
    """
    for word in ("detached", "failed"):
        run(["mdadm", array, "--remove", word], timeout=TIMEOUT, accept=NOTHING_TO_DO)
    run(["mdadm", array, "--add", device], timeout=TIMEOUT)


def take_out(array: Path, device: Path) -> None:
    """Takes a device out that works.

    Raises:
        CommandFailedError: it is the last good one.
    """
    run(["mdadm", array, "--fail", device], timeout=TIMEOUT)
    run(["mdadm", array, "--remove", device], timeout=TIMEOUT)


def stop(array: Path) -> None:
    """Ends an array; its disks stay as they are.

    Raises:
        CommandFailedError: it is in use.
    """
    run(["mdadm", "--stop", array], timeout=TIMEOUT)


def _free(root: Path = ROOT) -> Path:
    number = 0
    while (root / "sys/block" / f"md{number}").exists():
        number += 1
    return DEV / f"md{number}"
