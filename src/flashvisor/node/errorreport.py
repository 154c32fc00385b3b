"""Errors as they go over the wire: ours by their code, and a bug as what it is.

Example::

    report_of(UnknownGuestError("there is no guest 'web'")).code == "FV-GUEST-001"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor.api.types import ErrorReport

if TYPE_CHECKING:
    from flashvisor.errors import FlashvisorError

BUG = ErrorReport(
    code="FV-BUG", what="the server ran into a bug", next_step="`flashvisor node logs` holds the traceback."
)


def report_of(error: FlashvisorError) -> ErrorReport:
    """Returns an error's wire form."""
    return ErrorReport(code=error.code, what=error.what, evidence=error.evidence, next_step=error.next_step)
