"""A server's API in memory, answering by the one route table. Faults are asked for by name.

Example::

    sim = NodeSim()
    client = Client(address, keyring, transport=sim.transport())
    sim.refuse_connections = 2        # the next two requests find nobody
    sim.silent_polls = 3              # guests answer from the fourth look on

`handle` has no HTTP library in it, so that a real HTTPS server can stand on it too (tests/tools/test_client.py).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from flashvisor.api import flashtypes, message, types
from flashvisor.api.routes import ALL, Route
from flashvisor.errors import (
    DeviceError,
    DigestMismatchError,
    FlashvisorError,
    ImageNotUploadedError,
    NothingToConfirmError,
    NoTpmError,
    UnknownGenerationError,
    UnknownGuestError,
)

if TYPE_CHECKING:
    from sim.tpmsim import TpmSim

MIB = 1 << 20  # bytes


@dataclass
class NodeSim:
    """One server. `calls` lists the names of the routes that were asked, in order; `query` is the last one's.

    `slots_reports` are given one after the other, the last one for ever; after the report of a number in
    `refuse_after` (from 1) as many requests find nobody.
    """

    guests: dict[str, types.GuestReport] = field(default_factory=dict)
    images: dict[str, types.ImageReport] = field(default_factory=dict)
    applied: list[types.ApplyRequest] = field(default_factory=list)
    confirmed: bool = True
    power: str = ""
    enrolled: tuple[types.FirmwareWrite, ...] = ()
    released: types.FirmwareWrite | None = None
    media: tuple[flashtypes.Medium, ...] = ()
    burned: tuple[str, int] | None = None
    tpm: TpmSim | None = None
    calls: list[str] = field(default_factory=list)
    query: dict[str, str] = field(default_factory=dict)
    refuse_connections: int = 0
    silent_polls: int = 0
    slots_reports: list[flashtypes.SlotsReport] = field(default_factory=list)
    refuse_after: dict[int, int] = field(default_factory=dict)
    raw_answer: tuple[int, bytes] | None = None

    def transport(self) -> httpx.MockTransport:
        """Returns what stands in for the network."""

        def answer(request: httpx.Request) -> httpx.Response:
            if self.refuse_connections:
                self.refuse_connections -= 1
                raise httpx.ConnectError("[Errno 111] Connection refused", request=request)
            self.query = dict(request.url.params)
            status, body = self.handle(request.method, request.url.path, request.read())
            return httpx.Response(status, content=body)

        return httpx.MockTransport(answer)

    def handle(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Answers a request: HTTP status and JSON."""
        if self.raw_answer is not None:
            return self.raw_answer
        route, names = self._find(method, path)
        self.calls.append(route.name)
        try:
            decoded = msgspec.json.decode(body, type=route.body) if route.body else body
            return 200, msgspec.json.encode(getattr(self, f"_{route.name}")(decoded, **names))
        except FlashvisorError as error:
            report = message.ErrorReport(
                code=error.code, what=error.what, evidence=error.evidence, next_step=error.next_step
            )
            return error.http_status, msgspec.json.encode(report)

    @staticmethod
    def _find(method: str, path: str) -> tuple[Route[Any], dict[str, str]]:
        for route in ALL:
            pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.template)
            match = re.fullmatch(pattern, path)
            if match and route.method == method:
                return route, match.groupdict()
        raise AssertionError(f"the client asked {method} {path}, which is in no route")

    def _node(self, _: bytes) -> types.NodeReport:
        return NODE

    def _logs(self, _: bytes) -> tuple[types.LogLine, ...]:
        return (types.LogLine(seconds=3.5, unit="agent", priority=6, text="ready \x1b[31m[red]"),)

    def _power(self, body: types.PowerRequest) -> None:
        self.power = body.action

    def _site(self, _: bytes) -> types.SiteReport:
        return types.SiteReport(
            generation=len(self.applied), site_toml=self.applied[-1].site_toml, confirmed=self.confirmed
        )

    def _site_history(self, _: bytes) -> tuple[types.GenerationReport, ...]:
        rows = [
            types.GenerationReport(
                generation=number, when=60.0 * number, who="anna", confirmed=self.confirmed, size=len(each.site_toml)
            )
            for number, each in enumerate(self.applied, 1)
        ]
        return tuple(reversed(rows))

    def _site_generation(self, _: bytes, generation: str) -> types.SiteReport:
        if int(generation) > len(self.applied):
            raise UnknownGenerationError(f"generation {generation} is not remembered")
        text = self.applied[int(generation) - 1].site_toml
        return types.SiteReport(generation=int(generation), site_toml=text, confirmed=self.confirmed)

    def _boots(self, _: bytes) -> tuple[types.BootReport, ...]:
        return (types.BootReport(when=60.0, image_id="flashvisor abc", version="0.1.0", slot="a", ready=12.5),)

    def _missing(self, body: types.ApplyRequest) -> tuple[str, ...]:
        return tuple(sorted({ref.sha256 for ref in body.images.values()} - set(self.images)))

    def _plan(self, body: types.ApplyRequest) -> types.PlanReport:
        actions = tuple(types.PlannedAction(verb="start", subject=f"image {name}") for name in body.images)
        return types.PlanReport(actions=actions, missing_images=self._missing(body))

    def _apply(self, body: types.ApplyRequest) -> types.ApplyReport:
        missing = self._missing(body)
        if missing:
            raise ImageNotUploadedError(f"image {missing[0]} was not uploaded")
        self.applied.append(body)
        self.confirmed = False
        self.guests = {name: guest_report(name) for name in body.images}
        return types.ApplyReport(generation=len(self.applied), actions=(), confirm_within=body.confirm_within)

    def _confirm(self, body: bytes) -> types.SiteReport:
        if self.confirmed:
            raise NothingToConfirmError("nothing is waiting", next_step="Apply again.")
        self.confirmed = True
        return self._site(body)

    def _enrol(self, body: types.EnrolRequest) -> types.EnrolReport:
        self.enrolled = body.writes
        return types.EnrolReport(setup_mode=False, secure_boot=False)

    def _release(self, body: types.ReleaseRequest) -> None:
        self.released = body.write

    def _slots(self, _: bytes) -> flashtypes.SlotsReport:
        self.refuse_connections += self.refuse_after.pop(self.calls.count("slots"), 0)
        return self.slots_reports.pop(0) if len(self.slots_reports) > 1 else self.slots_reports[0]

    def _attest(self, body: types.AttestRequest) -> types.AttestReport:
        if self.tpm is None:
            raise NoTpmError("this server has no TPM 2.0")
        found = self.tpm.quote(body.nonce, body.pcrs)
        return types.AttestReport(**vars(found))

    def _images(self, _: bytes) -> tuple[types.ImageReport, ...]:
        return tuple(self.images.values())

    def _image_put(self, body: bytes, sha256: str) -> types.ImageReport:
        got = hashlib.sha256(body).hexdigest()
        if got != sha256:
            raise DigestMismatchError(f"expected {sha256}, got {got}", evidence=f"{len(body)} bytes")
        self.images[sha256] = types.ImageReport(sha256=sha256, size=len(body), kind=types.ImageKind.DISK)
        return self.images[sha256]

    def _media(self, _: bytes) -> tuple[flashtypes.Medium, ...]:
        return self.media

    def _burn(self, body: bytes, name: str) -> flashtypes.BurnNews:
        if not any(each.name == name for each in self.media):
            raise DeviceError(f"this server has no disk '{name}'")
        self.burned = (name, len(body))
        got = hashlib.sha256(body).hexdigest()
        notes = ("the image was made for 'beta'; this server stays 'alpha'",)
        return flashtypes.BurnNews(
            done=flashtypes.BurnReport(device=f"/dev/{name}", size=len(body), sha256=got, in_use=True, notes=notes)
        )

    def _guests(self, _: bytes) -> tuple[types.GuestReport, ...]:
        if self.silent_polls:
            self.silent_polls -= 1
        else:
            self.guests = {name: msgspec.structs.replace(guest, answered=12.5) for name, guest in self.guests.items()}
        return tuple(self.guests.values())

    def _guest(self, _: bytes, name: str) -> types.GuestReport:
        if name not in self.guests:
            raise UnknownGuestError(f"there is no guest '{name}'", next_step=f"Known: {', '.join(self.guests)}")
        return self.guests[name]

    def _guest_start(self, body: bytes, name: str) -> types.GuestReport:
        return self._become(self._guest(body, name), types.GuestState.RUNNING)

    def _guest_stop(self, body: types.StopRequest, name: str) -> types.GuestReport:
        state = types.GuestState.STOPPED if body.force else types.GuestState.STOPPING
        return self._become(self._guest(b"", name), state)

    def _become(self, guest: types.GuestReport, state: types.GuestState) -> types.GuestReport:
        self.guests[guest.name] = msgspec.structs.replace(guest, state=state)
        return self.guests[guest.name]


def guest_report(name: str, state: types.GuestState = types.GuestState.RUNNING) -> types.GuestReport:
    """A guest that has not answered yet."""
    return types.GuestReport(name=name, state=state, image="hello", cpus=1, memory=64 * MIB, addresses=("10.77.0.10",))


FLASH = flashtypes.FlashReport(
    written=90_112,
    by_cause={"boot": 8192, "update": 81_920},
    by_day={"2026-11-23": {"boot": 4096}, "2026-11-24": {"boot": 4096, "update": 81_920}},
    worn=524_288,
    amplification=5.8,
    booked_since_boot=8192,
    counted_since_boot=12_288,
    today=86_016,
    daily_budget=100_000_000,
    forecast="0.1% of its life is used up",
    lasts_until="",
    device="USB stick",
    health="it has no way to say how worn it is",
)
NODE = types.NodeReport(
    name="alpha",
    version="0.1.0",
    image_id="abc123",
    hypervisor="KVM",
    kernel="6.12",
    uptime=3700.0,
    cpus=2,
    memory=2048 * MIB,
    memory_available=1536 * MIB,
    site_generation=3,
    unconfirmed=True,
    timeline=(types.Stage(name="ready", seconds=4.2),),
    nics=(types.Nic(name="eno1", mac="52:54:00:00:00:01", up=True, driver="igb", addresses=("192.0.2.10",)),),
    disks=(types.Disk(name="nvme0n1", serial="data0", model="QEMU", size=1 << 34, use="storage main"),),
    protections=(types.Protection(name="Secure Boot", on=False, meaning="anyone can start another image"),),
    problems=("no watchdog",),
    flash_bytes_written=12_288,
    flash=FLASH,
    storages=(
        types.StorageReport(
            name="main",
            state=types.StorageState.FULL,
            size=1 << 34,
            free=0,
            guests=("db", "web"),
            waiting=("db",),
        ),
    ),
)
