"""What a guest can be seen doing. Owns the words; guests/supervise.py owns what follows from them.

Example::

    GuestState("running") is GuestState.RUNNING
"""

from __future__ import annotations

from enum import StrEnum


class GuestState(StrEnum):
    """libvirt's domain states in the words of the site file (virDomainState)."""

    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"
    CRASHED = "crashed"
    STOPPING = "stopping"
    KEPT = "kept"  # crashed, and left as it was for whoever wants to look: its CPUs stand still
