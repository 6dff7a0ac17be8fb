"""Routes about grants: leave to read, which the vault alone can follow.

======  =========================  ====================================================
GET     /grants                    ?case= ?state=
POST    /grants                    ask for one; one is the requester
GET     /grants/ID                 one, with the approvals that the vault wants to see
POST    /grants/ID/approve         sign it
POST    /grants/ID/decline         say no; in the review of an emergency that is an alert
POST    /grants/ID/withdraw        who has asked no longer wants it
======  =========================  ====================================================
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from crypto_modes.grants import Approval, Grant
from server.moderation.api import described
from server.moderation.api.guard import (
    After,
    Change,
    Guarded,
    Limit,
    Look,
    Make,
    answer,
    page,
)
from server.moderation.api.shapes import Asking, Id, Reason, Signed, read
from server.moderation.records import Asked, GrantState

router = APIRouter(route_class=Guarded, tags=["grants"])
Which = Annotated[Id, Path()]
SHOWN = (Asked,)


@router.get("/grants", **described.many(Asked))
async def list_grants(
    step: Look,
    after: After = 0,
    limit: Limit = 50,
    case: Id | None = None,
    state: GrantState | None = None,
) -> Response:
    """Those of a case or in a state, such as pending."""
    granting = step.desk.granting
    return page(
        await granting.page(step.who, after, limit, case=case or b"", state=state or ""), limit
    )


@router.post("/grants", **described.one(Asked, 201))
async def ask_grant(step: Make, body: Asking) -> Response:
    """Ask for leave to read up to 500 messages of one conversation."""
    grant = read(body, Grant, requester=step.who.name)
    return answer(await step.desk.granting.ask(step.who, grant), 201)


@router.get("/grants/{grant}", **described.one(Asked))
async def show_grant(step: Look, grant: Which) -> Response:
    """One grant."""
    return answer(await step.desk.granting.get(step.who, grant))


@router.post("/grants/{grant}/approve", **described.one(Asked))
async def approve_grant(step: Change, grant: Which, body: Signed) -> Response:
    """Approve with one's own signature of the whole grant."""
    approval = Approval(step.who.name, body.signature)
    return answer(await step.desk.granting.approve(step.who, grant, approval, step.version))


@router.post("/grants/{grant}/decline", **described.one(Asked))
async def decline_grant(step: Change, grant: Which, body: Reason) -> Response:
    """Say no."""
    return answer(await step.desk.granting.decline(step.who, grant, body.reason, step.version))


@router.post("/grants/{grant}/withdraw", **described.one(Asked))
async def withdraw_grant(step: Change, grant: Which) -> Response:
    """Take it back before it is in force."""
    return answer(await step.desk.granting.withdraw(step.who, grant, step.version))
