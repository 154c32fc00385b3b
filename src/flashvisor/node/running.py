"""What runs on this server, as an update needs to know it: flavour, age, drivers, devices. Reads only.

Example::

    running = look(Path("/"))
"""

from __future__ import annotations

import logging
from pathlib import Path

from flashvisor.host import devices, facts
from flashvisor.model.drivers import BUILTIN, LOADABLE, modaliases
from flashvisor.model.release import Flavour
from flashvisor.node.preflight import Running

log = logging.getLogger(__name__)

PREFIX = "flashvisor-"  # begins IMAGE_ID in os-release(5); the flavour follows
FAKE = Running(Flavour.KVM)  # an ordinary machine, that the agent only visits


def look(root: Path = Path("/")) -> Running:
    """Returns the running image and its devices.

    Everything in the root is dated to when the image was built, and can be changed by nobody: os-release tells it.
    """
    return Running(
        flavour=_flavour(facts.os_release(root).get("IMAGE_ID", "")),
        built=facts.dated(root / "etc/os-release"),
        modaliases=_modaliases(root / "lib/modules" / facts.kernel_release()),
        devices=devices.bound(root),
    )


def _flavour(image_id: str) -> Flavour | None:
    known = {f"{PREFIX}{flavour.value}": flavour for flavour in Flavour}
    return known.get(image_id)


def _modaliases(directory: Path) -> tuple[str, ...]:
    try:
        return modaliases((directory / LOADABLE).read_text(), (directory / BUILTIN).read_bytes())
    except OSError as error:
        log.warning("the running image's list of drivers cannot be read, so no release is held against it: %s", error)
        return ()
