"""The one route table. The server builds its application from it, the client its calls.

Example::

    Routes.GUEST_START.path(name="web") == "/v1/guests/web/start"
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from flashvisor.api import types

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Route(Generic[Answer]):
    """One call: method, path template, and the wire types of its body and answer (None: no body, or raw bytes)."""

    name: str
    method: str
    template: str
    body: Any = None
    answer: type[Answer] | None = None

    def path(self, **names: str) -> str:
        """Returns the path with its placeholders filled."""
        return self.template.format(**names)


class Routes:
    """All calls of API version 1."""

    NODE = Route("node", "GET", "/v1/node", answer=types.NodeReport)
    BOOTS = Route("boots", "GET", "/v1/boots", answer=tuple[types.BootReport, ...])
    LOGS = Route("logs", "GET", "/v1/logs", answer=tuple[types.LogLine, ...])
    POWER: Route[None] = Route("power", "POST", "/v1/power", body=types.PowerRequest)
    SITE = Route("site", "GET", "/v1/site", answer=types.SiteReport)
    SITE_HISTORY = Route("site_history", "GET", "/v1/site/history", answer=tuple[types.GenerationReport, ...])
    SITE_GENERATION = Route("site_generation", "GET", "/v1/site/history/{generation}", answer=types.SiteReport)
    PLAN = Route("plan", "POST", "/v1/plan", body=types.ApplyRequest, answer=types.PlanReport)
    APPLY = Route("apply", "POST", "/v1/apply", body=types.ApplyRequest, answer=types.ApplyReport)
    CONFIRM = Route("confirm", "POST", "/v1/confirm", answer=types.SiteReport)
    ENROL = Route("enrol", "POST", "/v1/enrol", body=types.EnrolRequest, answer=types.EnrolReport)
    RELEASE: Route[None] = Route("release", "POST", "/v1/release", body=types.ReleaseRequest)
    SLOTS = Route("slots", "GET", "/v1/slots", answer=types.SlotsReport)
    ROLLBACK: Route[None] = Route("rollback", "POST", "/v1/rollback", body=types.RollbackRequest)
    FACTORY_RESET: Route[None] = Route("factory_reset", "POST", "/v1/factory-reset", body=types.FactoryResetRequest)
    UPDATE: Route[None] = Route("update", "WS", "/v1/update")
    IMAGES = Route("images", "GET", "/v1/images", answer=tuple[types.ImageReport, ...])
    IMAGE_PUT = Route("image_put", "PUT", "/v1/images/{sha256}", answer=types.ImageReport)
    MEDIA = Route("media", "GET", "/v1/media", answer=tuple[types.Medium, ...])
    BURN = Route("burn", "PUT", "/v1/media/{name}", answer=types.BurnNews)  # many answers, one a line
    GUESTS = Route("guests", "GET", "/v1/guests", answer=tuple[types.GuestReport, ...])
    GUEST = Route("guest", "GET", "/v1/guests/{name}", answer=types.GuestReport)
    GUEST_START = Route("guest_start", "POST", "/v1/guests/{name}/start", answer=types.GuestReport)
    GUEST_STOP = Route("guest_stop", "POST", "/v1/guests/{name}/stop", body=types.StopRequest, answer=types.GuestReport)
    GUEST_CONSOLE: Route[None] = Route("guest_console", "WS", "/v1/guests/{name}/console")


ALL: tuple[Route[Any], ...] = tuple(value for value in vars(Routes).values() if isinstance(value, Route))
