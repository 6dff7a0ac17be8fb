"""Routes about cases.

======  =========================  ====================================================
GET     /cases                     ?state= ?assignee=
POST    /cases                     open one on a basis
GET     /cases/ID                  one
GET     /cases/ID/audits           what auditors have said of it
POST    /cases/ID/assign           give it to somebody
POST    /cases/ID/release          back to nobody
POST    /cases/ID/close            with what came of it
POST    /cases/ID/reopen           work on it again
POST    /cases/ID/action           act under it, where no report began it
POST    /cases/ID/audits           an auditor has looked at it
======  =========================  ====================================================
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from server.moderation.actions import Measure
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
from server.moderation.api.shapes import (
    NAME_PATTERN,
    Assignment,
    Closing,
    Id,
    MeasureBody,
    Note,
    OpeningBody,
    read,
)
from server.moderation.cases import OF_A_CASE, Opening
from server.moderation.records import Action, Audit, Case, CaseState

router = APIRouter(route_class=Guarded, tags=["cases"])
Which = Annotated[Id, Path()]
SHOWN = (Audit, Case)


@router.get("/cases", **described.many(Case))
async def list_cases(
    step: Look,
    after: After = 0,
    limit: Limit = 50,
    state: CaseState | None = None,
    assignee: Annotated[str, Query(pattern=f"^$|{NAME_PATTERN}")] = "",
) -> Response:
    """Cases, oldest first."""
    found = await step.desk.cases.page(step.who, after, limit, state=state or "", assignee=assignee)
    return page(found, limit)


@router.post("/cases", **described.one(Case, 201))
async def open_case(step: Make, body: OpeningBody) -> Response:
    """Open a case; each basis has its requesters and its fields."""
    return answer(await step.desk.cases.open(step.who, read(body, Opening)), 201)


@router.get("/cases/{case}", **described.one(Case))
async def show_case(step: Look, case: Which) -> Response:
    """One case."""
    return answer(await step.desk.cases.get(step.who, case))


@router.get("/cases/{case}/audits", **described.many(Audit))
async def list_audits(step: Look, case: Which, after: After = 0) -> Response:
    """What auditors have said of it."""
    return page(await step.desk.cases.audits(step.who, case, after), OF_A_CASE)


@router.post("/cases/{case}/assign", **described.one(Case))
async def assign_case(step: Change, case: Which, body: Assignment) -> Response:
    """Give it to one of the staff, who may be oneself."""
    return answer(await step.desk.cases.assign(step.who, case, body.to, step.version))


@router.post("/cases/{case}/release", **described.one(Case))
async def release_case(step: Change, case: Which) -> Response:
    """Back to nobody."""
    return answer(await step.desk.cases.release(step.who, case, step.version))


@router.post("/cases/{case}/close", **described.one(Case))
async def close_case(step: Change, case: Which, body: Closing) -> Response:
    """Nothing is asked for under it any more."""
    return answer(await step.desk.cases.close(step.who, case, body.outcome, step.version))


@router.post("/cases/{case}/reopen", **described.one(Case))
async def reopen_case(step: Change, case: Which) -> Response:
    """Work on it again."""
    return answer(await step.desk.cases.reopen(step.who, case, step.version))


@router.post("/cases/{case}/action", **described.one(Action, 201))
async def act_on_case(step: Change, case: Which, body: MeasureBody) -> Response:
    """Act under a legal request or an emergency."""
    measure = read(body, Measure)
    return answer(await step.desk.actions.on_case(step.who, case, measure, step.version), 201)


@router.post("/cases/{case}/audits", **described.one(Audit, 201))
async def audit_case(step: Make, case: Which, body: Note) -> Response:
    """Say what an auditor found, who took no part in it."""
    return answer(await step.desk.cases.audit(step.who, case, body.note), 201)
