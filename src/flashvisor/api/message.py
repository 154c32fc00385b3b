"""What every message between the CLI and a server is, and how an error travels."""

from __future__ import annotations

from msgspec import Struct


class Message(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of everything on the wire."""


class ErrorReport(Message, frozen=True, kw_only=True):
    """An error of errors.py on the wire."""

    code: str
    what: str
    evidence: str = ""
    next_step: str = ""
