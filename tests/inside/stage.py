"""Starts virtqemud, plays one scene against the real driver, and says what went wrong: `stage.py VIRTQEMUD SCENE`."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

SOCKET = Path("/run/libvirt/virtqemud-sock")
LOG = Path("/media/virtqemud.log")
START_LIMIT = 60.0  # seconds


def main(daemon: str, scene: str) -> None:
    """Plays it."""
    from inside import running, scenes  # noqa: F401 - more scenes

    for place in ("/var/log/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/run/console"):
        Path(place).mkdir(parents=True)
    with LOG.open("w") as log, subprocess.Popen([daemon], stdout=log, stderr=log) as process:
        try:
            wait_for_socket(process)
            scenes.play(scene)
        finally:
            process.terminate()
            errors = [line for line in LOG.read_text().splitlines() if ": error :" in line and "/dev/kvm" not in line]
            sys.stderr.write("\n".join(["virtqemud said:", *errors[-8:], ""]))


def wait_for_socket(process: subprocess.Popen[bytes]) -> None:
    """Returns when virtqemud listens."""
    end = time.monotonic() + START_LIMIT
    while not SOCKET.exists():
        assert process.poll() is None, "virtqemud ended"
        assert time.monotonic() < end, "virtqemud does not listen"
        time.sleep(0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])
