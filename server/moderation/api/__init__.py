"""The moderation API: ``/moderation/v1`` on the relay's internal listener, OpenAPI 3.1.

What may live in this room: HTTP and nothing else; what a route does is one call of a use case. It
alone imports FastAPI, and is imported only by a relay that has a moderation team. The description
is at ``/moderation/v1/openapi.json``.

* Who asks shows a session's token; ``roles`` says who may call what, the use cases say the rest.
* A step on something that is there needs ``If-Match`` with the ``ETag`` it was seen with.
* ``Idempotency-Key`` on any POST: sent twice, done once (``once``).
* Pages: ``?after=N&limit=M`` answers with ``items`` and ``next``, the ``after`` of the next page.
* Errors are problems (RFC 9457).
"""

from __future__ import annotations

from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.routing import Mount

from crypto_modes.errors import Forbidden, LouverError, TokenExpired
from server.moderation.api import (
    actions,
    cases,
    described,
    grants,
    holds,
    numbers,
    people,
    reports,
)
from server.moderation.api.guard import Guarded, Office, VersionNeeded
from server.moderation.api.roles import ALLOWED, OPEN
from server.moderation.once import OtherRequest
from server.moderation.records import Stale, Unknown, WrongState
from server.problems import Statuses, handlers, problem

PREFIX = "/moderation/v1"
_ROUTERS = (people, reports, cases, grants, holds, actions, numbers)
_STATUS: Statuses = (
    (TokenExpired, HTTPStatus.UNAUTHORIZED),
    (Unknown, HTTPStatus.NOT_FOUND),
    (Stale, HTTPStatus.PRECONDITION_FAILED),
    (WrongState, HTTPStatus.CONFLICT),
    (Forbidden, HTTPStatus.FORBIDDEN),
    (VersionNeeded, HTTPStatus.PRECONDITION_REQUIRED),
    (OtherRequest, HTTPStatus.UNPROCESSABLE_ENTITY),
)


class Api(FastAPI):
    """The application; it describes itself with the records that its routers show."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            kinds = [kind for each in _ROUTERS for kind in each.SHOWN]
            self.openapi_schema = described.describe(self, kinds, OPEN)
        return self.openapi_schema


def application(office: Office) -> Api:
    """The routes, to be mounted at ``PREFIX``."""
    caught: dict[Any, Any] = {
        **handlers("relay", advise=False, before=_STATUS),
        RequestValidationError: _unlike,
    }
    app = Api(
        title="Louver moderation",
        version=version("louver"),
        summary="Reports, cases, grants, holds, actions and appeals. Reading is the vault's.",
        # These pages would load scripts from elsewhere into whoever looks at them.
        docs_url=None,
        redoc_url=None,
        responses=described.PROBLEMS,
        generate_unique_id_function=lambda route: route.name,
        exception_handlers=caught,
    )
    app.state.office = office
    for each in _ROUTERS:
        app.include_router(each.router)
    _check()
    return app


def mounted(office: Office) -> Mount:
    """The same where it belongs on the internal listener."""
    return Mount(PREFIX, application(office))


def routes() -> list[APIRoute]:
    """All of them."""
    found = (route for each in _ROUTERS for route in each.router.routes)
    return [route for route in found if isinstance(route, APIRoute)]


def _check() -> None:
    """A route that the table of roles does not name, or that is not guarded, must not exist."""
    names = {route.name for route in routes()}
    wrong = names.symmetric_difference({*ALLOWED, *OPEN})
    wrong |= {route.name for route in routes() if not isinstance(route, Guarded)}
    if wrong:
        raise LouverError(f"routes and the table of roles differ: {', '.join(sorted(wrong))}")


async def _unlike(request: Request, error: Exception) -> Response:
    """What was sent is not repeated: it may be a password."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    places = (f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in found)
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(places)[:2000])
