"""What follows after an update: the server restarts, and its new release is on trial until it is committed or fails.

Owns the order, the limits, and what a report of the slots means for one release. Admin side only::

    report = watch(lambda: Client(address, keyring), installed, limit=1200.0, tell=print)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor.errors import NodeUnreachableError, TrialFailedError, TrialUnfinishedError
from flashvisor.host.clock import ticks
from flashvisor.model.slot import SlotState

if TYPE_CHECKING:
    from collections.abc import Callable

    from flashvisor.api.client import Client
    from flashvisor.api.types import Installed, SlotsReport

INTERVAL = 1.0  # seconds between two questions to a server
RESTART = 600.0  # seconds that guests have to stop and the server to start, besides the probation
UNDER_WAY = (SlotState.WRITING.value, SlotState.WRITTEN.value, SlotState.TRYING.value)


def watch(
    connect: Callable[[], Client], installed: Installed, limit: float, tell: Callable[[str], None] = lambda _: None
) -> SlotsReport:
    """Waits until a release is committed.

    Args:
        connect: Makes a new client: the server restarts meanwhile.
        installed: The release.
        limit: Seconds.
        tell: Hears in words what is waited for, whenever that changes.

    Returns:
        The slots as they stand then.

    Raises:
        TrialFailedError: it failed, and why.
        TrialUnfinishedError: the server answers, and has not come to an end in time.
        NodeUnreachableError: the server did not come back in time.
    """
    last, words = NodeUnreachableError("no answer"), ""
    report = None
    for _ in ticks(INTERVAL, limit):
        try:
            with connect() as client:
                report = client.slots()
            now = progress(report, installed)
        except NodeUnreachableError as error:
            last, report, now = error, None, "waiting for the server to start"
        if now != words and now:
            tell(now)
        words = now
        if report and not now:
            return report
    if report:
        raise TrialUnfinishedError(f"after {limit:.0f} s release {installed.version} is still on trial", evidence=words)
    raise NodeUnreachableError(
        f"the server did not answer within {limit:.0f} s after release {installed.version} was installed",
        evidence=last.evidence,
    )


def progress(report: SlotsReport, installed: Installed) -> str:
    """Returns in words what is still to come for a release; "" if it is committed. Pure.

    Raises:
        TrialFailedError: it failed.
    """
    # Both may hold it: the newer slot is the one not committed, until it is.
    mine = [slot for slot in report.slots if slot.image == installed.image and slot.slot != "factory"]
    trying = next((slot for slot in mine if slot.state in UNDER_WAY), None)
    if trying and trying.running:
        return f"on trial; waits for: {'; '.join(report.waits_for) or 'the end of its checks'}"
    if trying:
        return "waiting for the restart"
    if any(slot.slot == report.committed for slot in mine):
        return ""
    reason = next((slot.reason for slot in mine if slot.reason), "")
    reason = reason or next((row.reason for row in reversed(report.failed) if row.image == installed.image), "")
    running = next((slot for slot in report.slots if slot.running), None)
    now = f"{running.version} in slot {running.slot}" if running else report.running
    raise TrialFailedError(
        f"release {installed.version} was tried and failed: {reason or 'for a reason unknown'}; the server runs {now}",
        evidence="it is in recovery mode: no slot can start" if report.recovery else "",
    )
