"""The internal listener: health, metrics and administration, by plain HTTP.

What may live here: routes, the admin token's check, and problems in the form of RFC 9457. What
a route does is one call on ``Administered``. It runs inside the relay's loop, so that an answer
to ``/healthz`` says that this loop turns.

======  =====================  ====================================================
GET     /healthz               200 while the process lives
GET     /readyz                200, or 503 with the reason while starting or draining
GET     /metrics               for Prometheus
GET     /admin/v1/status       what runs; this and the following need the token
POST    /admin/v1/reload       read the settings again, like SIGHUP
POST    /admin/v1/revoke       ``{"account": NAME?, "device": HEX?}``, at least one of them
POST    /admin/v1/modes        ``{"mode": MODE?, "modes": {KIND: MODE}?}``, at least one of them
GET     /admin/v1/sunset       the plan to end a mode, and how many conversations are in it
POST    /admin/v1/sunset       ``{"event": "plan"|"start"|"cancel"}``; with ``plan`` the rest of it
POST    /admin/v1/confirm      ``{"questions": […]}`` about a report; one answer for each
*       /admin/v1/keys…        see ``key_routes``
======  =====================  ====================================================
"""

from __future__ import annotations

import asyncio
import hmac
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Protocol

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from crypto_modes import wire
from crypto_modes.contract import ID_SIZE
from crypto_modes.errors import (
    BadArgument,
    BadConfig,
    Forbidden,
    FrameRefused,
    LouverError,
    Unauthorized,
    Unavailable,
)
from server import key_routes, logs
from server.confirming import Confirming
from server.observe import CONTENT_TYPE
from server.settings_tree import Internal as InternalSettings
from server.sunset import SunsetStep

BODY_LIMIT = 4096
QUESTIONS_LIMIT = 32 * 1024  # twenty of them have 12 KiB
CONCURRENCY = 64
GRACE_SECONDS = 2
ADMIN_TOKEN_PREFIX = "lva_"  # noqa: S105 - public, so that leaked tokens can be recognised

Route_ = Callable[[Request], Awaitable[Response]]


class Administered(Protocol):
    """What the listener may ask of the relay."""

    @property
    def confirming(self) -> Confirming:
        """Who answers the moderation team's questions about a report."""

    def unready(self) -> str:
        """Why no new connections are wanted; empty if they are."""

    def exposition(self) -> bytes:
        """The page of metrics."""

    def status(self) -> Mapping[str, object]:
        """What runs, as JSON can say it; no secrets, no names of users."""

    async def reload_sources(self) -> list[str]:
        """Read file and environment again; the keys that changed. Raises ``BadConfig``."""

    async def revoke(self, name: str, device: bytes) -> int:
        """Take the tokens of an account's device, or of all its devices where ``device`` is
        empty, and close their connections. ``name`` may be empty where ``device`` is given. How
        many devices lost their token. Raises ``Forbidden`` where there is none.
        """

    @property
    def service(self) -> Serviced:
        """What the relay offers to its users, and how that is changed."""

    @property
    def key_care(self) -> key_routes.Kept:
        """The platform's keys."""


class Serviced(Protocol):
    """What the listener may ask about the service as a whole."""

    async def set_modes(self, mode: str, kinds: wire.Modes) -> Mapping[str, object]:
        """Let new conversations begin in ``mode``, and these kinds of content in theirs; what is
        not named stays, ``mode`` may be empty. Holds until the next reload or restart. What is in
        force then. Raises ``BadArgument`` for a mode that is not installed.
        """

    async def sunset(self) -> Mapping[str, object]:
        """The plan to end a mode, as it stands."""

    async def plan_sunset(self, asked: SunsetStep) -> Mapping[str, object]:
        """Make, announce or cancel that plan; as it stands then. Raises ``BadArgument``."""


class Revocation(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``/admin/v1/revoke``; ``device`` in hexadecimal."""

    account: wire.Name | None = None
    device: str = ""


class NewDefault(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``/admin/v1/modes``, named like the settings."""

    mode: wire.Word | None = None
    modes: wire.Modes = {}


class Internal:
    """The listener. ``start`` raises ``BadConfig`` where the address cannot be taken."""

    def __init__(self, settings: InternalSettings, relay: Administered, token: str) -> None:
        self._settings = settings
        self._app = application(relay, token)
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen; returns once requests are answered."""
        listening = _listen(self._settings.address, self._settings.port)
        self.port = listening.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            access_log=False,
            http="h11",
            lifespan="off",
            limit_concurrency=CONCURRENCY,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            ws="none",
        )
        self._server = _Server(config)
        serve = self._server.serve(sockets=[listening])
        self._task = asyncio.get_running_loop().create_task(serve, name="internal listener")
        await self._server.up.wait()
        logs.logger().info("internal listener ready", port=self.port)

    async def stop(self) -> None:
        """Answer what was asked, then close. May be called twice, or without a start."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            with suppress(asyncio.CancelledError):
                await self._task


class _Server(uvicorn.Server):
    """uvicorn as a guest in a loop that belongs to the relay."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the relay's."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


def _listen(address: str, port: int) -> socket.socket:
    """Bound here and not by uvicorn, which would end the process where that fails."""
    host = "127.0.0.1" if address == "localhost" else address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise BadConfig(
            f"cannot listen on internal.address {address}, internal.port {port}: {error.strerror}"
        ) from None
    listening.setblocking(False)
    return listening


def application(relay: Administered, token: str) -> Starlette:
    """The routes, for a server or a test."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        reason = relay.unready()
        if reason:
            return _problem(HTTPStatus.SERVICE_UNAVAILABLE, reason)
        return JSONResponse({"status": "ready"})

    async def metrics(request: Request) -> Response:
        return Response(relay.exposition(), media_type=CONTENT_TYPE)

    async def status(request: Request) -> Response:
        return JSONResponse(relay.status())

    async def reload(request: Request) -> Response:
        return JSONResponse({"changed": await relay.reload_sources()})

    async def revoke(request: Request) -> Response:
        name, device = _revocation(await _body(request))
        return JSONResponse({"revoked": await relay.revoke(name, device)})

    async def confirm(request: Request) -> Response:
        answers = await relay.confirming.answers_to(await _body(request, QUESTIONS_LIMIT))
        return Response(answers, media_type="application/json")

    def admin(path: str, method: str, route: Route_) -> Route:
        async def guarded(request: Request) -> Response:
            _authorize(request, token)
            return await route(request)

        return Route(f"/admin/v1/{path}", guarded, methods=[method])

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            admin("status", "GET", status),
            admin("reload", "POST", reload),
            admin("revoke", "POST", revoke),
            *(admin(*each) for each in _service_routes(relay.service)),
            *(admin(*each) for each in key_routes.routes(relay.key_care, _body)),
            admin("confirm", "POST", confirm),
        ],
        exception_handlers={HTTPException: _refused, LouverError: _failed, Exception: _broken},
    )


def _service_routes(service: Serviced) -> tuple[tuple[str, str, Route_], ...]:
    """Path, method and route of what concerns all users."""

    async def modes(request: Request) -> Response:
        asked = _default(await _body(request))
        return JSONResponse(await service.set_modes(asked.mode or "", asked.modes))

    async def sunset(request: Request) -> Response:
        return JSONResponse(await service.sunset())

    async def plan_sunset(request: Request) -> Response:
        return JSONResponse(await service.plan_sunset(_sunset_step(await _body(request))))

    return (
        ("modes", "POST", modes),
        ("sunset", "GET", sunset),
        ("sunset", "POST", plan_sunset),
    )


def _authorize(request: Request, token: str) -> None:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    # Bytes: compare_digest refuses text that is not ASCII, and the peer chooses the text.
    right = hmac.compare_digest(given.strip().encode(), token.encode())
    if scheme.lower() != "bearer" or not right:
        raise Unauthorized("send the token of the file admin.token: Authorization: Bearer lva_...")


async def _body(request: Request, limit: int = BODY_LIMIT) -> bytes:
    body = b""
    chunks: AsyncIterator[bytes] = request.stream()
    async for chunk in chunks:
        body += chunk
        if len(body) > limit:
            text = f"the body is over {limit // 1024} KiB"
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
    return body


def _revocation(body: bytes) -> tuple[str, bytes]:
    try:
        asked = msgspec.json.decode(body, type=Revocation)
        device = bytes.fromhex(asked.device)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadArgument(f'the body must be {{"account": name, "device": hex}}: {error}') from None
    if len(device) not in {0, ID_SIZE} or not (asked.account or device):
        raise BadArgument("name an account, or a device by its 32 hexadecimal digits, or both")
    return asked.account or "", device


def _default(body: bytes) -> NewDefault:
    try:
        asked = msgspec.json.decode(body, type=NewDefault)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BadArgument(
            f'the body must be {{"mode": m, "modes": {{kind: m}}}}: {error}'
        ) from None
    if not asked.mode and not asked.modes:
        raise BadArgument("name a mode, or a mode for a kind of content, or both")
    return asked


def _sunset_step(body: bytes) -> SunsetStep:
    try:
        return msgspec.json.decode(body, type=SunsetStep)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BadArgument(
            f'the body must be {{"event": e}}, with a plan or none: {error}'
        ) from None


# RFC 9457

_STATUS: tuple[tuple[type[LouverError], HTTPStatus], ...] = (
    (Unauthorized, HTTPStatus.UNAUTHORIZED),
    (Forbidden, HTTPStatus.NOT_FOUND),
    (BadConfig, HTTPStatus.CONFLICT),
    (BadArgument, HTTPStatus.BAD_REQUEST),
    (FrameRefused, HTTPStatus.BAD_REQUEST),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
)


def _problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    title = HTTPStatus(status).phrase
    return JSONResponse(
        {"type": "about:blank", "title": title, "status": int(status), "detail": detail},
        status_code=status,
        headers=headers,
        media_type="application/problem+json",
    )


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return _problem(error.status_code, error.detail, error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    matching = (status for kind, status in _STATUS if isinstance(error, kind))
    status = next(matching, HTTPStatus.INTERNAL_SERVER_ERROR)
    headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else None
    # Only who has the admin token comes this far: the operator, whom advice is for.
    advice = error.advice if isinstance(error, Unavailable) else ""
    return _problem(status, advice or str(error), headers)


async def _broken(request: Request, error: Exception) -> Response:
    """The text of a bug may quote a secret; the log has its place in the code."""
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "this relay failed; its log says where")
