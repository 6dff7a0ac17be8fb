"""The operator's way to the staff, with the admin token: ``louverd staff``.

What may live here: this one route. It makes the first admin; after that admins do it themselves
(``people``), and the operator is who helps where none is left. Each use is an entry in the access
log with the name ``operator``.

======  =====================  ====================================================
GET     /admin/v1/staff        everybody who is or was of the staff
POST    /admin/v1/staff        ``{"event": "add"|"role"|"remove"|"reset", "name": N, …}``
======  =====================  ====================================================
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from crypto_modes import wire
from crypto_modes.errors import BadArgument
from crypto_modes.grants import Role
from server.moderation.api.people import colleague, invited
from server.moderation.api.shapes import shown
from server.moderation.staff import Staff
from server.problems import authorize, body_of


class Step(msgspec.Struct, forbid_unknown_fields=True):
    """The body; ``role`` for two of the events, ``subject`` for one."""

    event: Literal["add", "role", "remove", "reset"]
    name: wire.Name
    role: Role | None = None
    subject: Annotated[str, msgspec.Meta(max_length=255)] = ""


def routes(staff: Staff, token: str) -> list[Route]:
    """Both routes."""

    async def listed(request: Request) -> Response:
        authorize(request, token, "admin.token")
        return JSONResponse({"items": [shown(colleague(each)) for each in staff.page(None)]})

    async def change(request: Request) -> Response:
        authorize(request, token, "admin.token")
        return await _change(staff, _step(await body_of(request)))

    return [
        Route("/admin/v1/staff", listed, methods=["GET"]),
        Route("/admin/v1/staff", change, methods=["POST"]),
    ]


async def _change(staff: Staff, step: Step) -> Response:
    if step.event == "add":
        if step.role is None or not step.subject:
            raise BadArgument("say which role, and which human is behind the name: role, subject")
        return invited(*await staff.invite(None, step.name, step.subject, step.role), 201)
    if step.event == "reset":
        return invited(*await staff.reset(None, step.name))
    if step.event == "remove":
        return JSONResponse(shown(colleague(await staff.remove(None, step.name))))
    if step.role is None:
        raise BadArgument("say which role")
    return JSONResponse(shown(colleague(await staff.set_role(None, step.name, step.role))))


def _step(body: bytes) -> Step:
    try:
        return msgspec.json.decode(body, type=Step)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BadArgument(f'the body must be {{"event": e, "name": n}}: {error}') from None
