"""The administrator's side of the API: one method for each route of routes.py.

Owns the connection and what its failures mean. Does not own the wire types (types.py) or the keys
(trust/keyring.py). Admin side only::

    with Client(parse_address("alpha.example"), Keyring.open(directory)) as client:
        print(client.node().version)
        client.upload_image(path, on_bytes=advance)

The server proves itself with a certificate of the owner's CA for the name "flashvisor", whatever its address is,
so that port forwards and changing IP addresses work. The client proves itself with the administrator's.
"""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self, cast

import httpx
import msgspec
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import connect

from flashvisor.api import flashtypes, message, types
from flashvisor.api.burning import end_of_burn
from flashvisor.api.console import Console
from flashvisor.api.failures import CONNECT_TIMEOUT, failure
from flashvisor.api.offer import push
from flashvisor.api.routes import Answer, Route, Routes
from flashvisor.errors import (
    FlashvisorError,
    StrangeAnswerError,
    catalogue,
)
from flashvisor.host.files import read_chunks, sha256_file
from flashvisor.trust.certificates import SERVER_ALIAS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from flashvisor.api.address import Address
    from flashvisor.trust.keyring import Keyring

ANSWER_TIMEOUT = 300.0  # seconds; a large image is hashed and flushed before its upload is answered
QUICK_TIMEOUT = 10.0  # seconds; for what a server answers at once
EVIDENCE_LIMIT = 400  # characters of an unreadable answer that an error shows


def tls_context(keyring: Keyring) -> ssl.SSLContext:
    """Returns the client's TLS settings: the owner's CA and nobody else's, the administrator's certificate, TLS 1.3."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=keyring.ca_pem.decode("ascii"))
    with keyring.unlocked("admin") as files:
        context.load_cert_chain(files.cert, files.key)
    return context


class Client:
    """A connection to one server. A context manager.

    Args:
        address: Where the API answers.
        keyring: The owner's.
        transport: Replaces the network (tests).

    Every call raises:
        NodeUnreachableError: no answer.
        ForeignNodeError: what answers is not a server of this owner.
        NotAdmittedError: the server refused our certificate.
        StrangeAnswerError: the answer is not of this API version.
        FlashvisorError: the error that the server answered with, of the same class as there.
    """

    def __init__(self, address: Address, keyring: Keyring, *, transport: httpx.BaseTransport | None = None) -> None:
        self.address = address
        self._tls = tls_context(keyring)
        self._http = httpx.Client(
            base_url=f"https://{address.authority}",
            verify=self._tls,
            timeout=httpx.Timeout(ANSWER_TIMEOUT, connect=CONNECT_TIMEOUT),
            trust_env=False,  # no proxy stands between an administrator and a server that wants client certificates
            transport=transport,
        )

    def __enter__(self) -> Self:
        self._http.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.__exit__(kind, error, trace)

    def node(self) -> types.NodeReport:
        """Returns the server at a glance."""
        return self._call(Routes.NODE)

    def logs(self, *, unit: str = "", lines: int | None = None) -> tuple[types.LogLine, ...]:
        """Returns the journal's last lines, oldest first: of one systemd unit, and how many, if given."""
        wishes = {"unit": unit, "lines": "" if lines is None else str(lines)}
        answer = self._send(Routes.LOGS, {}, params={key: value for key, value in wishes.items() if value})
        return self._decode(answer, Routes.LOGS)

    def power(self, action: str) -> None:
        """Reboots or powers off the server: `action` is "reboot" or "poweroff"."""
        self._call(Routes.POWER, types.PowerRequest(action=action))

    def site(self) -> types.SiteReport:
        """Returns the site that the server runs."""
        return self._call(Routes.SITE)

    def site_history(self) -> tuple[types.GenerationReport, ...]:
        """Returns the generations of the site that the server remembers, newest first."""
        return self._call(Routes.SITE_HISTORY)

    def site_generation(self, generation: int) -> types.SiteReport:
        """Returns one of them, whole.

        Raises:
            UnknownGenerationError: the server does not remember it.
        """
        return self._call(Routes.SITE_GENERATION, generation=str(generation))

    def boots(self) -> tuple[types.BootReport, ...]:
        """Returns the boots that the server remembers, newest first."""
        return self._call(Routes.BOOTS)

    def plan(self, request: types.ApplyRequest) -> types.PlanReport:
        """Returns what `apply` would do; changes nothing."""
        return self._call(Routes.PLAN, request)

    def apply(self, request: types.ApplyRequest) -> types.ApplyReport:
        """Applies a site. Until `confirm`, the server goes back by itself after the request's seconds."""
        return self._call(Routes.APPLY, request)

    def confirm(self) -> types.SiteReport:
        """Keeps the site applied last."""
        return self._call(Routes.CONFIRM)

    def enrol(self, writes: Sequence[types.FirmwareWrite]) -> types.EnrolReport:
        """Puts the owner's Secure Boot variables into the server's firmware."""
        return self._call(Routes.ENROL, types.EnrolRequest(writes=tuple(writes)))

    def release(self, write: types.FirmwareWrite) -> None:
        """Hands the server over: keys out of the firmware, state wiped, restart as nobody's server."""
        self._call(Routes.RELEASE, types.ReleaseRequest(write=write))

    def slots(self, *, verify: bool = False) -> flashtypes.SlotsReport:
        """Returns where the slots of flash stand; `verify` has the server read them.

        Without that the answer is quick or does not come: a server that restarts takes its connections down silently.
        """
        params, limit = ({"verify": "1"}, ANSWER_TIMEOUT) if verify else ({}, QUICK_TIMEOUT)
        answer = self._send(Routes.SLOTS, {}, params=params, limit=limit)
        return self._decode(answer, Routes.SLOTS)

    def rollback(self, request: flashtypes.RollbackRequest) -> None:
        """Restarts the server into the other slot's image, on trial."""
        self._call(Routes.ROLLBACK, request)

    def factory_reset(self, *, keep_site: bool) -> None:
        """Restarts the server into the image that it was shipped with."""
        self._call(Routes.FACTORY_RESET, flashtypes.FactoryResetRequest(keep_site=keep_site))

    def attest(self, nonce: bytes, pcrs: Sequence[int]) -> types.AttestReport:
        """Has the server's TPM sign a nonce and its PCRs; trust/attest.py checks what comes back."""
        return self._call(Routes.ATTEST, types.AttestRequest(nonce=nonce, pcrs=tuple(pcrs)))

    def images(self) -> tuple[types.ImageReport, ...]:
        """Returns the images that the server holds."""
        return self._call(Routes.IMAGES)

    def upload_image(
        self, path: Path, on_bytes: Callable[[int], None] | None = None, *, sha256: str = ""
    ) -> types.ImageReport:
        """Streams a file to the server.

        Args:
            path: The file.
            on_bytes: Hears of every chunk's size in bytes as it is sent.
            sha256: The file's SHA-256 if it is known already, 64 hex digits.

        Raises:
            DigestMismatchError: the file changed on its way; the server kept nothing.
        """
        route, names = Routes.IMAGE_PUT, {"sha256": sha256 or sha256_file(path)}
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(path.stat().st_size)}
        answer = self._send(route, names, content=read_chunks(path, on_bytes), headers=headers)
        return self._decode(answer, route)

    def media(self) -> tuple[flashtypes.Medium, ...]:
        """Returns the server's disks as flash devices to be, with why one is not taken."""
        return self._call(Routes.MEDIA)

    def burn(
        self, image: Path, name: str, *, serial: str = "", on_bytes: Callable[[int], None] = lambda _count: None
    ) -> flashtypes.BurnReport:
        """Has the server write a flash image to a disk of its own, and read it back.

        Args:
            image: flash.img.
            name: Of the disk, from `media`.
            serial: The disk's serial number; needed if it does not say that it is removable.
            on_bytes: Hears of bytes sent and then of bytes read back: the image's size each.

        Raises:
            FlashWorksError: the server's flash works.
            DeviceError: the disk is not meant. Nothing was written.
            DeviceFaultyError: it failed, or gave back other bytes than were written.
        """
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(image.stat().st_size)}
        try:
            with self._http.stream(
                Routes.BURN.method,
                Routes.BURN.path(name=name),
                content=read_chunks(image, on_bytes),
                headers=headers,
                params={"serial": serial} if serial else {},
                extensions={"sni_hostname": SERVER_ALIAS},
            ) as answer:
                if not answer.is_success:
                    raise self._refusal(answer.status_code, answer.read())
                last = end_of_burn(answer.iter_lines(), self.address, on_bytes)
        except httpx.TransportError as error:
            raise self._failure(error) from error
        if isinstance(last, message.ErrorReport):
            raise self._refusal(answer.status_code, msgspec.json.encode(last))
        return last

    def guests(self) -> tuple[types.GuestReport, ...]:
        """Returns all guests of the site."""
        return self._call(Routes.GUESTS)

    def guest(self, name: str) -> types.GuestReport:
        """Returns one guest.

        Raises:
            UnknownGuestError: the site has no such guest.
        """
        return self._call(Routes.GUEST, name=name)

    def start_guest(self, name: str) -> types.GuestReport:
        """Starts a guest."""
        return self._call(Routes.GUEST_START, name=name)

    def stop_guest(self, name: str, *, force: bool = False, grace: float = 30.0) -> types.GuestReport:
        """Stops a guest: cleanly, with `grace` seconds before force, or by force at once."""
        return self._call(Routes.GUEST_STOP, types.StopRequest(force=force, grace=grace), name=name)

    def update(
        self,
        request: flashtypes.UpdateRequest,
        directory: Path | None = None,
        on_progress: Callable[[flashtypes.UpdateStep], None] = lambda _: None,
    ) -> flashtypes.Installed:
        """Has the server take a release in, and restart into it on trial.

        Args:
            request: Which release.
            directory: The repository that is pushed; None if the request names a URL.
            on_progress: Hears of each step that has `progress`.

        Raises:
            TrustError, NodeError, FlashError: the server refused it, and why.
            UnreadableFileError: a file of the repository cannot be read.
        """
        try:
            last = push(self._uri(Routes.UPDATE), self._tls, request, directory, on_progress)
        except InvalidStatus as error:
            raise self._refusal(error.response.status_code, error.response.body) from error
        except (OSError, TimeoutError, WebSocketException) as error:
            raise self._failure(error) from error
        if isinstance(last, message.ErrorReport):
            raise self._refusal(HTTPStatus.CONFLICT, msgspec.json.encode(last))
        return last

    @contextmanager
    def console(self, name: str) -> Iterator[Console]:
        """Opens a guest's console, and closes it at the end of the block.

        The server's first message is empty, or an ErrorReport; all that follow are the guest's own bytes.

        Raises:
            UnknownGuestError: the site has no such guest.
        """
        try:
            connection = connect(
                self._uri(Routes.GUEST_CONSOLE, name=name),
                ssl=self._tls,
                server_hostname=SERVER_ALIAS,
                open_timeout=CONNECT_TIMEOUT,
                compression=None,
                proxy=None,
            )
        except InvalidStatus as error:
            raise self._refusal(error.response.status_code, error.response.body) from error
        except (OSError, TimeoutError, WebSocketException) as error:
            raise self._failure(error) from error
        with connection:
            try:
                refusal = connection.recv(CONNECT_TIMEOUT)
            except (TimeoutError, WebSocketException) as error:
                raise self._failure(error) from error
            if refusal:
                raise self._refusal(HTTPStatus.CONFLICT, refusal.encode() if isinstance(refusal, str) else refusal)
            yield Console(connection)

    def _uri(self, route: Route[None], **names: str) -> str:
        return f"wss://{self.address.authority}{route.path(**names)}"

    def _call(self, route: Route[Answer], body: message.Message | None = None, **names: str) -> Answer:
        if body is None:
            answer = self._send(route, names)
        else:
            headers = {"Content-Type": "application/json"}
            answer = self._send(route, names, content=msgspec.json.encode(body), headers=headers)
        return self._decode(answer, route)

    def _send(
        self,
        route: Route[Answer],
        names: dict[str, str],
        *,
        content: bytes | Iterator[bytes] | None = None,
        headers: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
        limit: float = ANSWER_TIMEOUT,
    ) -> httpx.Response:
        try:
            answer = self._http.request(
                route.method,
                route.path(**names),
                content=content,
                headers=headers,
                params=params,
                timeout=httpx.Timeout(limit, connect=CONNECT_TIMEOUT),
                extensions={"sni_hostname": SERVER_ALIAS},
            )
        except httpx.TransportError as error:
            raise self._failure(error) from error
        if not answer.is_success:
            raise self._refusal(answer.status_code, answer.content)
        return answer

    def _decode(self, answer: httpx.Response, route: Route[Answer]) -> Answer:
        expected: Any = route.answer
        try:
            # A route without an answer is one of None (Route[None]).
            return cast("Answer", msgspec.json.decode(answer.content, type=expected) if expected else None)
        except msgspec.MsgspecError as error:
            raise StrangeAnswerError(
                f"{self.address}: the answer is not what this version of flashvisor expects: {error}",
                evidence=answer.text[:EVIDENCE_LIMIT],
            ) from error

    def _refusal(self, status: int, body: bytes | bytearray | None) -> FlashvisorError:
        """Turns an error answer into the error that the server raised."""
        try:
            report = msgspec.json.decode(body or b"", type=message.ErrorReport)
        except msgspec.MsgspecError:
            shown = (body or b"").decode(errors="replace")[:EVIDENCE_LIMIT]
            return StrangeAnswerError(f"{self.address} answered with HTTP status {status}", evidence=shown)
        kind = catalogue().get(report.code)
        if kind is None:
            return StrangeAnswerError(
                f"{self.address} answered with {report.code}, a code that this version does not know: {report.what}",
                evidence=report.evidence,
                next_step=report.next_step,
            )
        return kind(report.what, next_step=report.next_step, evidence=report.evidence)

    def _failure(self, error: Exception) -> FlashvisorError:
        return failure(error, self.address, self._tls)
