"""The WebSocket of an update: what the server wants, goes on with and ends with, as JSON; files come back as bytes.

Owns the messages and the hand-over between the event loop and the thread that works. The work is service.update's::

    WebSocketRoute(Routes.UPDATE.template, update_socket(service))
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocketDisconnect

from flashvisor.api.flashtypes import UpdateRequest, UpdateStep
from flashvisor.errors import BadRequestError, FlashvisorError, ReleaseSourceError
from flashvisor.node.errorreport import BUG, report_of
from flashvisor.node.sources import Source

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
    from typing import Any

    from starlette.websockets import WebSocket

    from flashvisor.api.flashtypes import Installed
    from flashvisor.node.service import Service
    from flashvisor.trust.updates import Want

T = TypeVar("T")

log = logging.getLogger(__name__)

AHEAD = 16  # files that are asked for before the first of them has come: a round trip is paid once for all of them
SILENCE = 120.0  # seconds without an answer after which whoever pushes counts as gone
REQUEST_LIMIT = 65_536  # characters
# What a connection that has gone raises (starlette), in time or too late.
GONE = (WebSocketDisconnect, RuntimeError, OSError)


def update_socket(service: Service) -> Callable[[WebSocket], Awaitable[None]]:
    """Returns the handler of Routes.UPDATE."""

    async def handle(websocket: WebSocket) -> None:
        await websocket.accept()
        push = PushSource(websocket, asyncio.get_running_loop())
        try:
            request = _decode(await _text_of(websocket))
            last = UpdateStep(installed=await run_in_threadpool(service.update, request, push, push.tell))
        except WebSocketDisconnect:
            return
        except FlashvisorError as error:
            log.info("update: %s", error.what)
            await run_in_threadpool(push.drain)
            last = UpdateStep(error=report_of(error))
        except Exception:
            log.exception("an update ran into a bug")
            await run_in_threadpool(push.drain)
            last = UpdateStep(error=BUG)
        with suppress(*GONE):
            await websocket.send_text(_encode(last))
            await websocket.close()

    return handle


class PushSource(Source):
    """A repository at the other end of a WebSocket. Called by one thread, which is not the event loop's."""

    def __init__(self, websocket: WebSocket, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._websocket, self._loop = websocket, loop
        self._asked: deque[str] = deque()
        self._gone = False

    def _answers(self, wants: Iterable[Want]) -> Iterator[bytes | None]:
        for want in wants:
            self._ask(UpdateStep(want=want.path, limit=want.limit))
            self._asked.append(want.path)
            if len(self._asked) == AHEAD:
                yield self._answer()
        while self._asked:
            yield self._answer()

    def tell(self, words: str, done: int = 0, total: int = 0, writes: Installed | None = None) -> None:
        """Tells how far the update is. Whether anybody still listens does not matter."""
        with suppress(ReleaseSourceError):
            self._ask(UpdateStep(progress=words, done=done, total=total, writes=writes))

    def drain(self) -> None:
        """Takes what is still on its way, so that the last message gets through to who sends it."""
        with suppress(ReleaseSourceError):
            while self._asked:
                self._answer()

    def _ask(self, step: UpdateStep) -> None:
        self._wait_for(self._websocket.send_text(_encode(step)))

    def _answer(self) -> bytes | None:
        self._asked.popleft()
        message = self._wait_for(self._websocket.receive())
        if message["type"] == "websocket.disconnect":
            raise self._lost("the connection was closed")
        data: bytes | None = message.get("bytes")
        return data

    def _wait_for(self, call: Coroutine[Any, Any, T]) -> T:
        if self._gone:
            call.close()
            raise self._lost("it was gone before")
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return future.result(SILENCE)
        except (*GONE, CancelledError) as error:  # cancelled: the event loop ends
            future.cancel()
            raise self._lost(str(error) or type(error).__name__) from error

    def _lost(self, evidence: str) -> ReleaseSourceError:
        self._gone = True
        self._asked.clear()
        return ReleaseSourceError("whoever pushes this update does not answer any more", evidence=evidence)


async def _text_of(websocket: WebSocket) -> str:
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    return message.get("text") or ""


def _decode(text: str) -> UpdateRequest:
    if len(text) > REQUEST_LIMIT:
        raise BadRequestError(f"update: expected a request of at most {REQUEST_LIMIT} characters, got {len(text)}")
    try:
        return msgspec.json.decode(text, type=UpdateRequest)
    except msgspec.MsgspecError as error:
        raise BadRequestError("update: the first message is not an UpdateRequest", evidence=str(error)) from error


def _encode(step: UpdateStep) -> str:
    return msgspec.json.encode(step).decode()
