"""Routes about what was done, and about appeals against it.

======  =========================  ====================================================
GET     /actions                   ?account= ?state=
GET     /actions/ID                one, with its statement of reasons
GET     /appeals                   ?state=
GET     /appeals/ID                one; its id is the action's
POST    /appeals/ID/decision       uphold the action, or reverse it
======  =========================  ====================================================
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from server.moderation.api import described
from server.moderation.api.guard import After, Change, Guarded, Limit, Look, answer, page
from server.moderation.api.shapes import Decision, Id
from server.moderation.records import Action, ActionState, Appeal, AppealState

router = APIRouter(route_class=Guarded, tags=["actions"])
Which = Annotated[Id, Path()]
SHOWN = (Action, Appeal)


@router.get("/actions", **described.many(Action))
async def list_actions(
    step: Look,
    after: After = 0,
    limit: Limit = 50,
    account: Id | None = None,
    state: ActionState | None = None,
) -> Response:
    """What was done."""
    actions = step.desk.actions
    return page(
        await actions.page(step.who, after, limit, account=account or b"", state=state or ""),
        limit,
    )


@router.get("/actions/{action}", **described.one(Action))
async def show_action(step: Look, action: Which) -> Response:
    """One action."""
    return answer(await step.desk.actions.get(step.who, action))


@router.get("/appeals", **described.many(Appeal))
async def list_appeals(
    step: Look, after: After = 0, limit: Limit = 50, state: AppealState | None = None
) -> Response:
    """What users say against actions."""
    found = await step.desk.appeals.page(step.who, after, limit, state=state or "")
    return page(found, limit)


@router.get("/appeals/{action}", **described.one(Appeal))
async def show_appeal(step: Look, action: Which) -> Response:
    """The appeal against an action."""
    return answer(await step.desk.appeals.get(step.who, action))


@router.post("/appeals/{action}/decision", **described.one(Appeal))
async def decide_appeal(step: Change, action: Which, body: Decision) -> Response:
    """Uphold the action, or reverse it and what it did; who acted does not decide."""
    return answer(
        await step.desk.appeals.decide(step.who, action, body.outcome, body.reason, step.version)
    )
