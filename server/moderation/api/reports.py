"""Routes about reports: the queue, and what its numbers show. What a report says is the vault's.

======  =========================  ====================================================
GET     /reports                   the queue; ?state= ?assignee= ?account= ?reporter= ?category=
                                   ?evidence= ?until=
GET     /reports/backlog           what is to be done, by assignee, and how old the oldest is
GET     /reports/floods            reporters with many reports in an hour
GET     /reports/pressed           accounts that many different people report
GET     /reports/N                 one
POST    /reports/N/assign          let somebody look at it
POST    /reports/N/release         back to nobody
POST    /reports/N/findings        whom it is about, of what kind it is, what is proven
POST    /reports/N/action          settle it with a measure
POST    /reports/N/dismissal       settle it with none
POST    /reports/N/settlement      settle it by an action that stands
GET     /accounts?name=            an account by its name
GET     /accounts/ID               an account's name, and how often it was reported
======  =========================  ====================================================
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query
from starlette.responses import JSONResponse, Response

from crypto_modes.reports import Category
from server.moderation.actions import Measure
from server.moderation.api import described
from server.moderation.api.guard import (
    After,
    Change,
    Guarded,
    Limit,
    Look,
    answer,
    page,
)
from server.moderation.api.shapes import (
    NAME_PATTERN,
    Assignment,
    Dismissal,
    FindingsBody,
    Id,
    MeasureBody,
    Settlement,
    read,
    shown,
)
from server.moderation.queue import Findings
from server.moderation.records import (
    Action,
    Backlog,
    Evidence,
    Flood,
    Pressed,
    Report,
    ReportState,
    Standing,
    Unknown,
)

router = APIRouter(route_class=Guarded, tags=["reports"])
Number = Annotated[int, Path(ge=1, lt=1 << 53)]


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A user, as far as moderation knows him; ``name`` is empty where there is none."""

    id: bytes
    name: str
    standing: Standing


class Floods(msgspec.Struct, frozen=True, kw_only=True):
    """The most first."""

    items: tuple[Flood, ...]


class Backlogs(msgspec.Struct, frozen=True, kw_only=True):
    """What waits longest first."""

    items: tuple[Backlog, ...]


class Pressing(msgspec.Struct, frozen=True, kw_only=True):
    """Those whom most people report first."""

    items: tuple[Pressed, ...]


SHOWN = (Account, Backlogs, Floods, Pressing, Report, Standing)


@router.get("/reports", **described.many(Report))
async def list_reports(
    step: Look,
    after: After = 0,
    limit: Limit = 50,
    state: ReportState | None = None,
    assignee: Annotated[str, Query(pattern=f"^$|{NAME_PATTERN}")] = "",
    account: Id | None = None,
    reporter: Id | None = None,
    category: Category | None = None,
    evidence: Evidence | None = None,
    until: Annotated[int, Query(ge=0, lt=1 << 53, description="Those before, milliseconds.")] = 0,
) -> Response:
    """The queue, oldest first; what changes meanwhile moves nothing to another page."""
    found = await step.desk.queue.page(
        step.who,
        after,
        limit,
        until=until,
        state=state or "",
        assignee=assignee,
        account=account or b"",
        reporter=reporter or b"",
        category=category or "",
        evidence=evidence or "",
    )
    return page(found, limit)


@router.get("/reports/backlog", **described.one(Backlogs))
async def show_backlog(step: Look) -> Response:
    """What is to be done and who has it, what waits longest first."""
    return JSONResponse(shown(Backlogs(items=tuple(await step.desk.queue.backlog(step.who)))))


@router.get("/reports/pressed", **described.one(Pressing))
async def list_pressed(step: Look, least: Annotated[int, Query(ge=1, le=10_000)] = 2) -> Response:
    """Accounts with unsettled reports by at least so many different people."""
    found = await step.desk.queue.pressed(step.who, least)
    return JSONResponse(shown(Pressing(items=tuple(found))))


@router.get("/reports/floods", **described.one(Floods))
async def list_floods(
    step: Look,
    hours: Annotated[int, Query(ge=1, le=24 * 31)] = 24,
    least: Annotated[int, Query(ge=1, le=10_000)] = 10,
) -> Response:
    """Reporters with at least so many reports within one hour."""
    found = await step.desk.queue.floods(step.who, hours, least)
    return JSONResponse(shown(Floods(items=tuple(found))))


@router.get("/reports/{number}", **described.one(Report))
async def show_report(step: Look, number: Number) -> Response:
    """One report."""
    return answer(await step.desk.queue.get(step.who, number))


@router.post("/reports/{number}/assign", **described.one(Report))
async def assign_report(step: Change, number: Number, body: Assignment) -> Response:
    """Let one of the staff look at it, who may be oneself."""
    return answer(await step.desk.queue.assign(step.who, number, body.to, step.version))


@router.post("/reports/{number}/release", **described.one(Report))
async def release_report(step: Change, number: Number) -> Response:
    """Back to nobody."""
    return answer(await step.desk.queue.release(step.who, number, step.version))


@router.post("/reports/{number}/findings", **described.one(Report))
async def note_findings(step: Change, number: Number, body: FindingsBody) -> Response:
    """Note what the vault has shown; only the assignee."""
    found = read(body, Findings)
    return answer(await step.desk.queue.note(step.who, number, found, step.version))


@router.post("/reports/{number}/action", **described.one(Action, 201))
async def act_on_report(step: Change, number: Number, body: MeasureBody) -> Response:
    """Settle it with a measure against whom it is about."""
    measure = read(body, Measure)
    return answer(await step.desk.actions.on_report(step.who, number, measure, step.version), 201)


@router.post("/reports/{number}/dismissal", **described.one(Action, 201))
async def dismiss_report(step: Change, number: Number, body: Dismissal) -> Response:
    """Settle it with none; the reporter is told why."""
    measure = read(body, Measure, kind="none")
    return answer(await step.desk.actions.on_report(step.who, number, measure, step.version), 201)


@router.post("/reports/{number}/settlement", **described.one(Report))
async def settle_report(step: Change, number: Number, body: Settlement) -> Response:
    """Settle it by an action about the same account that stands; the reporter is told."""
    settled = await step.desk.actions.settle(step.who, number, body.action, step.version)
    return answer(settled)


@router.get("/accounts", **described.one(Account))
async def find_account(step: Look, name: Annotated[str, Query(pattern=NAME_PATTERN)]) -> Response:
    """The account of that name."""
    account = await step.desk.desk.hooks.account(name)
    if not account:
        raise Unknown(f"nobody is called {name!r} here")
    return await show_account(step, account)


@router.get("/accounts/{account}", **described.one(Account))
async def show_account(step: Look, account: Annotated[Id, Path()]) -> Response:
    """An account's name, and how often it was reported by how many."""
    standing = await step.desk.queue.standing(step.who, account)
    name = await step.desk.desk.hooks.name(account)
    return JSONResponse(shown(Account(id=account, name=name, standing=standing)))
