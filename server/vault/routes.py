"""The vault's own routes: what the staff calls, each call signed by a person.

What may live here: routes, limits and the reading of calls. What a call does is one use case. The
routes of the access log are the log's.

======  =================  ========================================================================
GET     /healthz           200 while the process lives
GET     /vault/v1/status   what runs and which shares are missing; no secret
GET     /vault/v1/reconciled  unwrapped and announced data keys by day; with the relay's token
GET     /vault/v1/state    ``state.State``; looks at relay and witnesses too; with that token
POST    /vault/v1/open     ``disclosure.OpenCall``: all messages in the scope of a grant
POST    /vault/v1/report   ``disclosure.ReportCall``: a sealed report and what of it is proven
POST    /vault/v1/shares   ``disclosure.ShareCall``: an officer's share of the vault's key
======  =================  ========================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from crypto_modes import disclosure
from crypto_modes.disclosure import OpenCall, ReportCall, ShareCall
from crypto_modes.grants import Person
from server.problems import authorize, body_of
from server.vault.asking import Asking
from server.vault.officers import Officers
from server.vault.opening import Opening
from server.vault.reconciling import RECONCILED, Reconciling
from server.vault.reported import Reported
from server.vault.state import STATE, Looking


def routes(
    asking: Asking,
    opening: Opening,
    reported: Reported,
    officers: Officers,
    status: Callable[[], Mapping[str, object]],
) -> list[Route]:
    """The routes of the table above."""

    async def caller(request: Request) -> tuple[Person, bytes]:
        body = await body_of(request, disclosure.CALL_LIMIT)
        return await asking.of_request(request, request.url.path, body), body

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def tell(request: Request) -> Response:
        return JSONResponse(status())

    async def open_(request: Request) -> Response:
        person, body = await caller(request)
        call = disclosure.decode(body, OpenCall)
        return _json(await opening.open(person, call))

    async def report(request: Request) -> Response:
        person, body = await caller(request)
        call = disclosure.decode(body, ReportCall)
        return _json(await reported.open(person, call))

    async def shares(request: Request) -> Response:
        person, body = await caller(request)
        call = disclosure.decode(body, ShareCall)
        return _json(await officers.hand_in(person, call.share))

    return [
        Route("/healthz", healthz),
        Route(disclosure.STATUS, tell),
        Route(disclosure.OPEN, open_, methods=["POST"]),
        Route(disclosure.REPORT, report, methods=["POST"]),
        Route(disclosure.SHARES, shares, methods=["POST"]),
    ]


def for_operator(reconciling: Reconciling, looking: Looking, token: str) -> list[Route]:
    """What the vault's operator asks; ``token`` is the relay's, which he has as well."""

    async def compare(request: Request) -> Response:
        authorize(request, token, "vault.token")
        return _json(await reconciling.compare())

    async def state(request: Request) -> Response:
        authorize(request, token, "vault.token")
        return _json(await looking.state())

    return [Route(RECONCILED, compare), Route(STATE, state)]


def _json(answer: object) -> Response:
    # What is in it is for one person: no proxy and no program on the way may keep it.
    headers = {"Cache-Control": "no-store"}
    content = msgspec.json.encode(answer)
    return Response(content, media_type="application/json", headers=headers)
