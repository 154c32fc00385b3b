"""How a storage can be. Owns the words; node/storagehealth.py owns when each is true.

Example::

    StorageState("read-only") is StorageState.READ_ONLY
"""

from __future__ import annotations

from enum import StrEnum


class StorageState(StrEnum):
    """What people see of a storage, from the worst to the best."""

    GONE = "gone"  # not mounted, or its disk is not in the machine any more
    READ_ONLY = "read-only"
    STUCK = "stuck"  # requests wait, and none is answered
    FULL = "full"
    DEGRADED = "degraded"  # a mirror runs on one of its disks
    SLOW = "slow"
    NEARLY_FULL = "nearly full"
    OK = "ok"
    UNKNOWN = "unknown"  # nobody has looked yet: the server is starting


# In these a guest that waits for its storage can go on.
FIT = frozenset({StorageState.OK, StorageState.NEARLY_FULL, StorageState.SLOW, StorageState.DEGRADED})
