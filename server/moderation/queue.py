"""The queue: reports as work, one assignee each, and what their numbers show.

What may live here: taking reports over, who looks at which, what was found, and the counts by which
floods and brigading are seen. What a report says is sealed to the team and is not here; what is
done about it is in ``actions``. Nothing is deleted.
"""

from __future__ import annotations

import msgspec

from crypto_modes import wire
from crypto_modes.errors import BadArgument, Forbidden
from crypto_modes.grants import Person, Role
from crypto_modes.reports import Category
from server.moderation.desk import Desk, changed
from server.moderation.records import Backlog, Event, Evidence, Flood, Pressed, Report, Standing
from server.moderation.states import follow

REVIEWERS: tuple[Role, ...] = ("moderator", "senior")
_PAGE = 50
_HOUR = 3_600_000


class Findings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a reviewer notes after the vault has opened a report: whom it is about, of which kind
    it is, and what its evidence proves."""

    account: wire.Id
    category: Category
    evidence: Evidence


class Queue:
    """As ``Cases``."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def sync(self) -> int:
        """Take over reports that came in; how many. Call it after each, and every minute.

        A report is kept by the relay whatever happens here; while the log is down (raises
        ``LogUnavailable``) it waits there, and is taken over with the next call.
        """
        desk, count = self._desk, 0
        async with desk.lock:
            while page := await desk.hooks.reports(await desk.store.last_report(), _PAGE):
                entries = [
                    desk.entry(
                        "report", "", detail={"report": str(each.number)}, count=len(each.tags)
                    )
                    for each in page
                ]
                await desk.log.append(entries)
                taken = [
                    Report(
                        number=each.number,
                        id=each.id,
                        reporter=each.reporter,
                        time=each.time,
                        messages=len(each.tags),
                    )
                    for each in page
                ]
                await desk.store.put(*taken)
                count += len(taken)
                for each in taken:
                    detail = {"report": str(each.number), "messages": str(each.messages)}
                    desk.heard(Event(name="report.new", time=each.time, id=each.id, detail=detail))
        return count

    # --- looking ---

    async def get(self, who: Person, number: int) -> Report:
        """One report."""
        self._desk.look(who)
        return await self._desk.find(Report, number)

    async def page(
        self,
        who: Person,
        after: int = 0,
        limit: int = 50,
        *,
        until: int = 0,
        **where: bytes | str,
    ) -> list[Report]:
        """Reports with a higher number, ascending; of those whose fields are these, where not
        empty, and, unless it is 0, of before ``until``. What changes meanwhile comes twice on no
        page and pushes nothing off one, for numbers stay."""
        self._desk.look(who)
        named = {name: value for name, value in where.items() if value}
        return await self._desk.store.find(Report, after, limit, until, **named)

    async def backlog(self, who: Person) -> list[Backlog]:
        """What is to be done and who has it, what waits longest first."""
        self._desk.look(who)
        staff = self._desk.staff()
        found = await self._desk.store.backlog()
        return [
            msgspec.structs.replace(each, gone=bool(each.assignee) and each.assignee not in staff)
            for each in found
        ]

    async def pressed(self, who: Person, least: int = 2, limit: int = 50) -> list[Pressed]:
        """Accounts that at least ``least`` different people report, the most first."""
        self._desk.look(who)
        return await self._desk.store.pressed(max(1, least), limit)

    async def standing(self, who: Person, account: bytes) -> Standing:
        """How often an account was reported, and by how many different people."""
        self._desk.look(who)
        return await self._desk.store.standing(account)

    async def floods(
        self, who: Person, hours: int = 24, least: int = 10, limit: int = 50
    ) -> list[Flood]:
        """Reporters with at least ``least`` reports within one of the last ``hours``, the most
        first: a flood of one, or, by ``standing``, many who report one account."""
        self._desk.look(who)
        since = max(0, self._desk.now() // _HOUR - hours)
        return await self._desk.store.floods(since, max(1, least), limit)

    # --- steps ---

    async def assign(self, who: Person, number: int, to: str, version: int = 0) -> Report:
        """Let one of the staff, who may be oneself, look at it."""
        taker = self._desk.staff().get(to)
        if taker is None or taker.role not in REVIEWERS:
            raise BadArgument(f"{to!r} is nobody who looks at reports: {', '.join(REVIEWERS)} do")
        return await self._step(who, number, version, "assign", assignee=to)

    async def release(self, who: Person, number: int, version: int = 0) -> Report:
        """Back to nobody."""
        return await self._step(who, number, version, "release", assignee="")

    async def note(self, who: Person, number: int, findings: Findings, version: int = 0) -> Report:
        """Note what the report is about; only its assignee, who has seen it."""
        if not await self._desk.hooks.name(findings.account):
            raise BadArgument("there is no account with this id")
        fields = msgspec.structs.asdict(findings)
        return await self._step(who, number, version, "note", own=True, **fields)

    async def _step(
        self, who: Person, number: int, version: int, event: str, own: bool = False, **fields: str
    ) -> Report:
        desk = self._desk
        async with desk.lock:
            await desk.allow(who, REVIEWERS, f"{event} a report")
            report = await desk.find(Report, number, version)
            if own and report.assignee != who.name:
                await desk.refuse(
                    who, Forbidden("only the assignee of a report notes what it is about")
                )
            after = changed(report, state=follow("report", report.state, event), **fields)
            detail = {"report": str(number), "event": event, "assignee": after.assignee}
            labels = {"category": after.category, "evidence": after.evidence}
            kept = {name: value for name, value in (detail | labels).items() if value}
            await desk.enter("case", who.name, case=report.case, account=after.account, detail=kept)
            await desk.store.put(after)
        return after
