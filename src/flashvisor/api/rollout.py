"""Apply, then reach the server once more and confirm, then wait until the guests answer.

Owns the order and the limits. Does not own the connection (client.py) or what people see (cli/)::

    report = apply(client, request)
    confirm(lambda: Client(address, keyring), within=report.confirm_within)
    wait_for_guests(client, ["web"], limit=300)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor.errors import BusyError, GuestSilentError, NodeUnreachableError
from flashvisor.host.clock import ticks
from flashvisor.model.wiring import first_inside

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from flashvisor.api.client import Client
    from flashvisor.api.types import ApplyReport, ApplyRequest, GuestReport, SiteReport
    from flashvisor.model.site import Site

INTERVAL = 0.5  # seconds between two questions to a server
BUSY = 120.0  # seconds that a server may be busy with another change, such as its own start


def apply(client: Client, request: ApplyRequest) -> ApplyReport:
    """Applies a site; waits for its turn where the server is busy: one that has just been started starts its guests.

    Args:
        client: Connected to the server.
        request: The site.

    Raises:
        BusyError: it was busy for two minutes.
        FlashvisorError: as `Client.apply`.
    """
    busy = BusyError("the server is busy")
    for _ in ticks(INTERVAL, BUSY):
        try:
            return client.apply(request)
        except BusyError as error:
            busy = error
    raise busy


def confirm(connect: Callable[[], Client], within: float) -> SiteReport:
    """Confirms the applied site over a new connection: only that proves that the administrator is not locked out.

    Args:
        connect: Makes a client that has never been connected.
        within: Seconds after which the server goes back by itself.

    Raises:
        NodeUnreachableError: the server did not answer within that time.
        NothingToConfirmError: it went back already.
    """
    last = ""
    for _ in ticks(INTERVAL, within):
        try:
            with connect() as client:
                return client.confirm()
        except (NodeUnreachableError, BusyError) as error:  # busy: it is still on its way to the site
            last = error.evidence or error.what
    raise NodeUnreachableError(
        f"the server did not answer within {within:.0f} s after the site was applied",
        evidence=last,
        next_step="Without confirmation it goes back to its last site by itself: correct the site file, apply again.",
    )


def expected_answers(site: Site) -> tuple[str, ...]:
    """Returns the guests that start by themselves and have a probe, or a card whose address the server knows."""
    guests = sorted(site.guest.items())
    able = (name for name, guest in guests if guest.probe or first_inside(site, guest.nics) is not None)
    return tuple(name for name in able if site.guest[name].autostart)


def wait_for_guests(
    client: Client,
    names: Collection[str],
    limit: float,
    on_answer: Callable[[GuestReport], None] | None = None,
) -> tuple[GuestReport, ...]:
    """Waits until all named guests have answered their probes.

    Args:
        client: Connected to the server.
        names: Of guests.
        limit: Seconds.
        on_answer: Hears of each guest as it answers.

    Returns:
        The last reports of the named guests.

    Raises:
        GuestSilentError: some did not answer in time; their states are the evidence.
    """
    reports: dict[str, GuestReport] = {}
    silent = set(names)
    for _ in ticks(INTERVAL, limit):
        reports = {report.name: report for report in client.guests() if report.name in names}
        for name in sorted(silent):
            if name in reports and reports[name].answered is not None:
                silent.remove(name)
                if on_answer:
                    on_answer(reports[name])
        if not silent:
            return tuple(reports[name] for name in sorted(names))
    raise GuestSilentError(
        f"no answer within {limit:.0f} s from {', '.join(sorted(silent))}",
        evidence="\n".join(_state(name, reports.get(name)) for name in sorted(silent)),
    )


def _state(name: str, report: GuestReport | None) -> str:
    if report is None:
        return f"{name}: the server does not list it"
    words = [str(report.state), f"{report.restarts} restarts", report.problem]
    return f"{name}: {', '.join(filter(None, words))}" + (f", waits {report.waits}" if report.waits else "")
