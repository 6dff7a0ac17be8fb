"""The internal listener: health, metrics and administration, by plain HTTP.

What may live here: routes and their guard. What a route does is one call on ``Administered``. It
runs inside the relay's loop, so that an answer to ``/healthz`` says that this loop turns.

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
*       /vault/v1/…            see ``vault_records``; for the vault, with a token of its own
======  =====================  ====================================================
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Protocol

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from crypto_modes import wire
from crypto_modes.contract import ID_SIZE
from crypto_modes.errors import BadArgument
from server import key_routes, logs
from server.confirming import Confirming
from server.hosting import Host
from server.observe import CONTENT_TYPE
from server.problems import authorize, body_of, handlers, problem
from server.settings_tree import Internal as InternalSettings
from server.sunset import SunsetStep

QUESTIONS_LIMIT = 32 * 1024  # twenty of them have 12 KiB
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


class Internal(Host):
    """The listener. ``start`` raises ``BadConfig`` where the address cannot be taken."""

    def __init__(
        self,
        settings: InternalSettings,
        relay: Administered,
        token: str,
        more: Sequence[BaseRoute] = (),
    ) -> None:
        app = application(relay, token, more)
        super().__init__(app, settings.address, settings.port, section="internal")

    async def start(self) -> None:
        await super().start()
        logs.logger().info("internal listener ready", port=self.port)


def application(relay: Administered, token: str, more: Sequence[BaseRoute] = ()) -> Starlette:
    """The routes, for a server or a test; ``more`` of them have guards of their own."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        reason = relay.unready()
        if reason:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, reason)
        return JSONResponse({"status": "ready"})

    async def metrics(request: Request) -> Response:
        return Response(relay.exposition(), media_type=CONTENT_TYPE)

    async def status(request: Request) -> Response:
        return JSONResponse(relay.status())

    async def reload(request: Request) -> Response:
        return JSONResponse({"changed": await relay.reload_sources()})

    async def revoke(request: Request) -> Response:
        name, device = _revocation(await body_of(request))
        return JSONResponse({"revoked": await relay.revoke(name, device)})

    async def confirm(request: Request) -> Response:
        answers = await relay.confirming.answers_to(await body_of(request, QUESTIONS_LIMIT))
        return Response(answers, media_type="application/json")

    def admin(path: str, method: str, route: Route_) -> Route:
        async def guarded(request: Request) -> Response:
            authorize(request, token, "admin.token")
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
            *(admin(*each) for each in key_routes.routes(relay.key_care, body_of)),
            admin("confirm", "POST", confirm),
            *more,
        ],
        # Only who has the admin token comes as far as an outage: the operator.
        exception_handlers=handlers("relay", advise=True),
    )


def _service_routes(service: Serviced) -> tuple[tuple[str, str, Route_], ...]:
    """Path, method and route of what concerns all users."""

    async def modes(request: Request) -> Response:
        asked = _default(await body_of(request))
        return JSONResponse(await service.set_modes(asked.mode or "", asked.modes))

    async def sunset(request: Request) -> Response:
        return JSONResponse(await service.sunset())

    async def plan_sunset(request: Request) -> Response:
        return JSONResponse(await service.plan_sunset(_sunset_step(await body_of(request))))

    return (
        ("modes", "POST", modes),
        ("sunset", "GET", sunset),
        ("sunset", "POST", plan_sunset),
    )


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
