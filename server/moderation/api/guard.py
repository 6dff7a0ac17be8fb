"""What every route of the moderation API does before and after its own work: who asks, what he may,
how much he sends, which version he looked at, and a request that comes twice.

What may live here: the guard and what a route is given by it. What may not: a route.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import JSONResponse, Response
from starlette.types import Message

from crypto_modes.encoding import enc
from crypto_modes.errors import Forbidden, LouverError, Unauthorized
from crypto_modes.grants import Person
from crypto_modes.primitives import H
from server.moderation.api.roles import ALLOWED, OPEN
from server.moderation.api.shapes import shown
from server.moderation.once import Answered, Once
from server.moderation.records import Record, Stale
from server.moderation.service import Moderation
from server.moderation.sessions import Sessions
from server.moderation.staff import Staff
from server.moderation.store import PAGE_LIMIT
from server.problems import body_of

BODY_LIMIT = 32 * 1024
# Their answers have secrets in them, which are kept nowhere.
NOT_KEPT = frozenset({*OPEN, "renew", "invite", "reset_member"})
_SCHEME = "bearer"


class VersionNeeded(LouverError):
    """A state is changed only by who says which version he looked at (428)."""


class Office(NamedTuple):
    """All that the routes call."""

    moderation: Moderation
    staff: Staff
    sessions: Sessions
    once: Once


@dataclass(frozen=True)
class Step:
    """What a route works with. ``version`` is the one that ``If-Match`` names, 0 for any."""

    office: Office
    who: Person
    version: int = 0

    @property
    def desk(self) -> Moderation:
        """The use cases."""
        return self.office.moderation


def look(request: Request) -> Step:
    """For what changes nothing, and for what makes something new."""
    return Step(request.app.state.office, request.state.who)


def make(
    request: Request,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            pattern="^[!-~]{1,64}$",
            description="The same key within a day: the same answer, nothing is done twice.",
        ),
    ] = None,
) -> Step:
    """For what makes something new."""
    return look(request)


def change(
    step: Annotated[Step, Depends(make)],
    seen: Annotated[
        str | None,
        Header(alias="If-Match", description="The ETag that you looked at, or *; required."),
    ] = None,
) -> Step:
    """For what changes something that is there."""
    if seen is None:
        raise VersionNeeded("say which version you looked at: If-Match with its ETag, or *")
    return Step(step.office, step.who, _version(seen.strip()))


Look = Annotated[Step, Depends(look)]
Make = Annotated[Step, Depends(make)]
Change = Annotated[Step, Depends(change)]
After = Annotated[int, Query(ge=0, lt=1 << 53, description="`next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=PAGE_LIMIT, description="How many at most.")]


def answer(record: Record, status: int = 200) -> Response:
    """One record, with its version as ETag."""
    return JSONResponse(shown(record), status, headers={"ETag": f'"{record.version}"'})


def page(items: list[Any], limit: int) -> Response:
    """Records and where the next page begins; ``next`` is null on the last."""
    following = items[-1].number if len(items) == limit else None
    return JSONResponse({"items": [shown(each) for each in items], "next": following})


def bearer(request: Request) -> str:
    """The session's token. Raises ``Unauthorized``."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != _SCHEME or not token.strip():
        raise Unauthorized("log in first, and send Authorization: Bearer lvs_...")
    return token.strip()


class Guarded(APIRoute):
    """A route behind the guard."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        route = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            body = await body_of(request, BODY_LIMIT)
            again = Request(request.scope, _giving(body))
            if self.name not in OPEN:
                await _admit(again, self.name)
            response = await _once(again, self.name, body, route)
            response.headers["Cache-Control"] = "no-store"
            return response

        return guarded


async def _admit(request: Request, name: str) -> None:
    """Raises ``Unauthorized`` or ``Forbidden``. Refused steps are entered in the access log; who
    may not look at something is only told so.
    """
    office: Office = request.app.state.office
    who = office.sessions.find(bearer(request)).person
    roles, what = ALLOWED[name], name.replace("_", " ")
    if request.method == "POST":
        await office.moderation.desk.allow(who, roles, what)
    elif who.role not in roles:
        raise Forbidden(f"a {who.role} may not {what}")
    request.state.who = who


def asked(path: str, seen: str, body: bytes) -> bytes:
    """What a request asks for, 32 bytes; by it the same one is known again."""
    return H(enc("louver/v1/staff/asked", path, seen, body))


async def _once(
    request: Request, name: str, body: bytes, route: Callable[[Request], Awaitable[Response]]
) -> Response:
    key = request.headers.get("idempotency-key")
    if key is None or request.method != "POST" or name in NOT_KEPT:
        return await route(request)
    digest = asked(request.url.path, request.headers.get("if-match", ""), body)

    async def work() -> Answered:
        response = await route(request)
        return Answered(
            response.status_code, response.headers.get("etag", ""), bytes(response.body)
        )

    office: Office = request.app.state.office
    answered, again = await office.once.do(
        request.state.who.name, key, digest, work, RequestValidationError
    )
    headers = {"ETag": answered.etag} if answered.etag else {}
    if again:
        headers["Idempotent-Replayed"] = "true"
    return Response(answered.body, answered.status, headers, "application/json")


def _giving(body: bytes) -> Callable[[], Awaitable[Message]]:
    """A request's body once more: it was read within its limit, and can be read only once."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _version(seen: str) -> int:
    if seen == "*":
        return 0
    found = re.fullmatch(r'"([1-9][0-9]{0,15})"', seen)
    if found is None:
        raise Stale("If-Match names no version that this API has given; look again")
    return int(found[1])
