"""The API as a web application: each route of api/routes.py, and nothing else.

Owns requests and answers. What they do stands in service.py; blocking work runs in threads.

Example::

    app = make_app(service)         # ASGI; server.py serves it over TLS
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.routing import Route as WebRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from flashvisor.api.routes import ALL, Route, Routes
from flashvisor.api.types import BurnNews
from flashvisor.errors import BadRequestError, FlashvisorError
from flashvisor.node.errorreport import BUG, report_of
from flashvisor.node.updatesocket import update_socket

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from flashvisor.node.newflash import Burning
    from flashvisor.node.service import Service

log = logging.getLogger(__name__)

BODY_LIMIT = 1 << 20  # bytes of a JSON body
JSON = "application/json"
LINES = "application/x-ndjson"
CONSOLE_QUEUE = 256  # chunks that a slow console client may lag behind before it is cut off


def make_app(service: Service) -> Starlette:
    """Returns the application that serves every route of the table.

    Raises:
        RuntimeError: a route of the table has no handler here.
    """
    return Starlette(
        routes=[_web_route(route, service) for route in ALL],
        exception_handlers={FlashvisorError: _error, Exception: _bug},
    )


def _web_route(route: Route[Any], service: Service) -> BaseRoute:
    if route.method == "WS":
        return WebSocketRoute(route.template, _SOCKETS[route.name](service), name=route.name)
    streams = {Routes.IMAGE_PUT.name: _image_put, Routes.BURN.name: _burn}
    handler = streams[route.name](service) if route.name in streams else _call(route, _CALLS[route.name], service)
    return WebRoute(route.template, handler, methods=[route.method], name=route.name)


# What each call does: service, decoded body (None without one), path and query parameters.
_CALLS: dict[str, Callable[[Service, Any, dict[str, str]], Any]] = {
    Routes.NODE.name: lambda service, _body, _names: service.node(),
    Routes.LOGS.name: lambda service, _body, names: service.logs(**_logs_query(names)),
    Routes.POWER.name: lambda service, body, _names: service.power(body),
    Routes.SITE.name: lambda service, _body, _names: service.site(),
    Routes.SITE_HISTORY.name: lambda service, _body, _names: service.site_history(),
    Routes.SITE_GENERATION.name: lambda service, _body, names: service.site_generation(names["generation"]),
    Routes.BOOTS.name: lambda service, _body, _names: service.boots(),
    Routes.PLAN.name: lambda service, body, _names: service.plan(body),
    Routes.APPLY.name: lambda service, body, _names: service.apply(body),
    Routes.CONFIRM.name: lambda service, _body, _names: service.confirm(),
    Routes.ENROL.name: lambda service, body, _names: service.enrol(body),
    Routes.RELEASE.name: lambda service, body, _names: service.release(body),
    Routes.SLOTS.name: lambda service, _body, names: service.slots(verify=names.get("verify") == "1"),
    Routes.ROLLBACK.name: lambda service, body, _names: service.rollback(body),
    Routes.FACTORY_RESET.name: lambda service, body, _names: service.factory_reset(body),
    Routes.IMAGES.name: lambda service, _body, _names: service.images(),
    Routes.MEDIA.name: lambda service, _body, _names: service.media(),
    Routes.GUESTS.name: lambda service, _body, _names: service.guests(),
    Routes.GUEST.name: lambda service, _body, names: service.guest(names["name"]),
    Routes.GUEST_START.name: lambda service, _body, names: service.start(names["name"]),
    Routes.GUEST_STOP.name: lambda service, body, names: service.stop(names["name"], body),
}


# What each WebSocket does.
_SOCKETS: dict[str, Callable[[Service], Callable[[WebSocket], Awaitable[None]]]] = {
    Routes.GUEST_CONSOLE.name: lambda service: _console(service),
    Routes.UPDATE.name: update_socket,
}


def _call(route: Route[Any], call: Callable[[Service, Any, dict[str, str]], Any], service: Service) -> Any:  # noqa: ANN401
    async def handle(request: Request) -> Response:
        service.heard()
        body = await _body(request, route)
        names = {**request.query_params, **request.path_params}
        return _answer(await run_in_threadpool(call, service, body, names))

    return handle


def _image_put(service: Service) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        size = request.headers.get("content-length", "")
        sha256 = request.path_params["sha256"]
        # Opening, writing and closing all touch a disk, so each runs in a thread.
        manager = service.receive_image(sha256, int(size) if size.isdecimal() else 0)
        incoming = await run_in_threadpool(manager.__enter__)
        try:
            async for chunk in request.stream():
                await run_in_threadpool(incoming.write, chunk)
            await run_in_threadpool(incoming.finish)
        except ClientDisconnect as error:
            raise BadRequestError(f"the client went away while it sent image {sha256}; nothing was kept") from error
        finally:
            await run_in_threadpool(manager.__exit__, None, None, None)
        return _answer(await run_in_threadpool(service.image, sha256))

    return handle


def _burn(service: Service) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        size = request.headers.get("content-length", "")
        name, serial = request.path_params["name"], request.query_params.get("serial") or None
        chunks = request.stream()
        try:
            burning = await run_in_threadpool(service.burn, name, serial, int(size) if size.isdecimal() else 0)
            try:
                async for chunk in chunks:
                    await run_in_threadpool(burning.take, chunk)
            except BaseException:
                await run_in_threadpool(burning.close)
                raise
        except ClientDisconnect as error:
            raise BadRequestError("the client went away while it sent the image; the device is empty") from error
        except FlashvisorError:
            # A client that still sends does not hear an answer.
            with suppress(ClientDisconnect):
                async for _ in chunks:
                    pass
            raise
        return StreamingResponse(_burn_news(burning), media_type=LINES)

    return handle


def _burn_news(burning: Burning) -> Iterator[bytes]:
    try:
        for news in burning.finish():
            yield msgspec.json.encode(news) + b"\n"
    except FlashvisorError as error:
        yield msgspec.json.encode(BurnNews(error=report_of(error))) + b"\n"
    finally:
        burning.close()


def _console(service: Service) -> Callable[[WebSocket], Awaitable[None]]:
    async def handle(websocket: WebSocket) -> None:
        name = websocket.path_params["name"]
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[bytes] = asyncio.Queue(CONSOLE_QUEUE)

        def hear(data: bytes) -> None:
            loop.call_soon_threadsafe(_put_or_end, queue, data)

        # Whether there is a console is said in the first message, not by refusing the handshake: a client that closes a
        # TLS connection in the middle of it may wait for ever (websockets 17.4, its threads).
        await websocket.accept()
        try:
            detach = await run_in_threadpool(service.attach_console, name, hear)
        except FlashvisorError as error:
            await websocket.send_text(msgspec.json.encode(report_of(error)).decode())
            await websocket.close()
            return
        await websocket.send_text("")
        sender = asyncio.create_task(_send_all(websocket, queue))
        try:
            while not sender.done():
                await run_in_threadpool(service.type_console, name, await _bytes_of(websocket))
        except WebSocketDisconnect:
            pass
        except FlashvisorError as error:
            log.info("console of %s: %s", name, error.what)
        finally:
            detach()
            sender.cancel()
            with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await sender

    return handle


def _put_or_end(queue: asyncio.Queue[bytes], data: bytes) -> None:
    """Hands on what a guest said. A client that does not keep up is cut off rather than given gaps."""
    if queue.full():
        while not queue.empty():
            queue.get_nowait()
        data = b""
    queue.put_nowait(data)


async def _send_all(websocket: WebSocket, queue: asyncio.Queue[bytes]) -> None:
    while data := await queue.get():
        await websocket.send_bytes(data)
    await websocket.close()


async def _bytes_of(websocket: WebSocket) -> bytes:
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    return message.get("bytes") or (message.get("text") or "").encode()


async def _body(request: Request, route: Route[Any]) -> Any:  # noqa: ANN401 - the route says which type
    if route.body is None:
        return None
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > BODY_LIMIT:
            raise BadRequestError(f"{route.name}: expected a body of at most {BODY_LIMIT} bytes, got more")
    try:
        return msgspec.json.decode(data, type=route.body)
    except msgspec.MsgspecError as error:
        raise BadRequestError(f"{route.name}: the body is not {route.body.__name__}", evidence=str(error)) from error


def _logs_query(names: dict[str, str]) -> dict[str, Any]:
    lines = names.get("lines", "")
    return {"unit": names.get("unit", ""), **({"lines": int(lines)} if lines.isdecimal() else {})}


def _answer(value: Any) -> Response:  # noqa: ANN401 - any wire type
    if value is None:
        return Response(status_code=204)
    return Response(msgspec.json.encode(value), media_type=JSON)


async def _error(_request: Request, error: Exception) -> Response:
    # Starlette's signature is wider than what it is registered for.
    known = cast("FlashvisorError", error)
    return Response(msgspec.json.encode(report_of(known)), status_code=known.http_status, media_type=JSON)


async def _bug(_request: Request, error: Exception) -> Response:
    log.error("a request ran into a bug", exc_info=error)
    return Response(msgspec.json.encode(BUG), status_code=500, media_type=JSON)
