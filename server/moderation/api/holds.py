"""Routes about preservation.

======  =========================  ====================================================
GET     /holds                     ?case= ?state=
POST    /holds                     ask for one under a case
GET     /holds/ID                  one
POST    /holds/ID/approve          sign what is asked for now, to keep or to lift
POST    /holds/ID/decline          say no
POST    /holds/ID/lift             ask to end it
======  =========================  ====================================================
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from crypto_modes.contract import ID_SIZE
from crypto_modes.grants import Approval
from crypto_modes.holds import Order
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
from server.moderation.api.shapes import HoldBody, Id, Reason, Signed, read
from server.moderation.records import Hold, HoldState

router = APIRouter(route_class=Guarded, tags=["holds"])
Which = Annotated[Id, Path()]
SHOWN = (Hold,)


@router.get("/holds", **described.many(Hold))
async def list_holds(
    step: Look,
    after: After = 0,
    limit: Limit = 50,
    case: Id | None = None,
    state: HoldState | None = None,
) -> Response:
    """Those of a case or in a state."""
    holds = step.desk.holds
    return page(
        await holds.page(step.who, after, limit, case=case or b"", state=state or ""), limit
    )


@router.post("/holds", **described.one(Hold, 201))
async def ask_hold(step: Make, body: HoldBody) -> Response:
    """Ask that an account's data or a conversation is kept as it is."""
    nonce = step.desk.desk.random(ID_SIZE)
    order = read(body, Order, event="place", requester=step.who.name, nonce=nonce)
    return answer(await step.desk.holds.ask(step.who, order), 201)


@router.get("/holds/{hold}", **described.one(Hold))
async def show_hold(step: Look, hold: Which) -> Response:
    """One hold; `order`, or `lift` where that is asked for, is what approvers sign."""
    return answer(await step.desk.holds.get(step.who, hold))


@router.post("/holds/{hold}/approve", **described.one(Hold))
async def approve_hold(step: Change, hold: Which, body: Signed) -> Response:
    """Approve with one's own signature; the second one does it."""
    approval = Approval(step.who.name, body.signature)
    return answer(await step.desk.holds.approve(step.who, hold, approval, step.version))


@router.post("/holds/{hold}/decline", **described.one(Hold))
async def decline_hold(step: Change, hold: Which, body: Reason) -> Response:
    """Say no; where a lift was asked for, the hold goes on."""
    return answer(await step.desk.holds.decline(step.who, hold, body.reason, step.version))


@router.post("/holds/{hold}/lift", **described.one(Hold))
async def ask_lift(step: Change, hold: Which, body: Reason) -> Response:
    """Ask to end it; it keeps until two have approved that."""
    found = await step.desk.holds.get(step.who, hold)
    order = Order(
        case=found.case,
        event="lift",
        target=found.target,
        place=found.place,
        requester=step.who.name,
        reason=body.reason,
        nonce=step.desk.desk.random(ID_SIZE),
    )
    return answer(await step.desk.holds.ask_lift(step.who, hold, order, step.version))
