"""Cases: opening one on a basis, who works on it, closing it, and auditing it.

What may live here: what each basis needs, as a table, and these use cases. Asking for leave to read
under a case is in ``granting``, preservation in ``holds``.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec

from crypto_modes import wire
from crypto_modes.contract import ID_SIZE
from crypto_modes.errors import BadArgument, GrantRefused
from crypto_modes.grants import RULES, Basis, Person, Role
from server.moderation.desk import Desk, changed
from server.moderation.records import Asked, Audit, Case, Event, Hold, Report
from server.moderation.states import follow

PLACES = 20  # accounts and conversations that one request may name
NARROW = 2  # of an emergency
TEXT_LIMIT = 2_000
OF_A_CASE = 100  # grants asked for, and audits, under one case
WORKERS: tuple[Role, ...] = ("moderator", "senior", "legal")
AUDITORS: tuple[Role, ...] = ("auditor",)

Text = Annotated[str, msgspec.Meta(max_length=TEXT_LIMIT)]
Places = Annotated[tuple[wire.Id, ...], msgspec.Meta(max_length=PLACES)]


class Opening(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody opens a case with. ``NEEDS`` says which fields the basis must have; times in
    milliseconds, ``country`` as two letters of ISO 3166."""

    basis: Basis
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_LIMIT)]
    report: wire.Count = 0
    authority: Annotated[str, msgspec.Meta(max_length=200)] = ""
    reference: Annotated[str, msgspec.Meta(max_length=200)] = ""
    country: Annotated[str, msgspec.Meta(pattern="^([A-Z]{2})?$")] = ""
    served: wire.Count = 0
    due: wire.Count = 0
    gag: wire.Count = 0
    since: wire.Count = 0
    until: wire.Count = 0
    accounts: Places = ()
    conversations: Places = ()


class Needs(NamedTuple):
    """``fields`` must be there, ``may`` can be; of the rest nothing. ``places``: at least one and
    at most so many accounts and conversations."""

    fields: tuple[str, ...]
    may: tuple[str, ...] = ()
    places: int = 0


_LEGAL = ("authority", "reference", "country", "served", "due")
NEEDS: dict[Basis, Needs] = {
    "user_report": Needs(("report",)),
    "legal_request": Needs(_LEGAL, ("gag", "since", "until"), PLACES),
    "emergency": Needs((), ("authority", "reference", "country", "since", "until"), NARROW),
    "preservation": Needs(_LEGAL, ("gag",), PLACES),
}
_ALL = (*_LEGAL, "report", "gag", "since", "until")


class Cases:
    """Every verb takes the person who asks, checks what he may, and enters the step in the log
    before it takes effect. ``version`` is that of the record he looked at, 0 for whatever it is.

    All raise ``Forbidden``, ``Unknown``, ``Stale``, ``WrongState`` and ``LogUnavailable``.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # --- looking ---

    async def get(self, who: Person, case: bytes) -> Case:
        """One case."""
        self._desk.look(who)
        return await self._desk.find(Case, case)

    async def check_standing(self, case: bytes) -> None:
        """Raises ``GrantRefused`` for a case that was closed. One that is not known here is the
        vault's to judge, by its grant."""
        found = await self._desk.store.get(Case, case)
        if found is not None and found.state == "closed":
            raise GrantRefused("this case is closed; nothing is read under it any more")

    async def page(
        self, who: Person, after: int = 0, limit: int = 50, *, state: str = "", assignee: str = ""
    ) -> list[Case]:
        """Cases with a higher number, ascending; of one state or assignee where named."""
        self._desk.look(who)
        where = {"state": state, "assignee": assignee}
        named = {name: value for name, value in where.items() if value}
        return await self._desk.store.find(Case, after, limit, **named)

    async def audits(self, who: Person, case: bytes, after: int = 0) -> list[Audit]:
        """What auditors have said of a case."""
        self._desk.look(who)
        return await self._desk.store.find(Audit, after, OF_A_CASE, case=case)

    # --- steps ---

    async def open(self, who: Person, opening: Opening) -> Case:
        """Raises ``BadArgument`` where the basis needs more, or something else, than is given."""
        desk = self._desk
        async with desk.lock:
            roles = RULES[opening.basis].requesters
            await desk.allow(
                who, roles, f"open a case on the basis {opening.basis}", basis=opening.basis
            )
            check_opening(opening, desk.now())
            report = await self._reported(who, opening)
            case = Case(
                id=desk.random(ID_SIZE),
                opened=desk.now(),
                opener=who.name,
                subject=who.subject,
                **msgspec.structs.asdict(opening),
            )
            await self._enter(case, who, "opened")
            linked = [] if report is None else [changed(report, case=case.id)]
            await desk.store.put(case, *linked)
            desk.heard(Event(name="case.opened", time=case.opened, id=case.id, case=case.id))
        return case

    async def assign(self, who: Person, case: bytes, to: str, version: int = 0) -> Case:
        """Give a case to one of the staff, who may be oneself; there is one assignee."""
        taker = self._desk.staff().get(to)
        if taker is None or taker.role not in WORKERS:
            raise BadArgument(f"{to!r} is nobody who works on cases: {', '.join(WORKERS)} do")
        return await self._step(who, case, version, "assign", assigned=to)

    async def release(self, who: Person, case: bytes, version: int = 0) -> Case:
        """Back to nobody."""
        return await self._step(who, case, version, "release", assigned="")

    async def close(self, who: Person, case: bytes, outcome: str, version: int = 0) -> Case:
        """No grant is asked for or given under it any more, and by those that were nothing is
        read; holds stay until they are lifted."""
        if not 0 < len(outcome) <= TEXT_LIMIT:
            raise BadArgument(f"say what came of this case, in 1 to {TEXT_LIMIT} characters")
        return await self._step(who, case, version, "close", outcome=outcome)

    async def reopen(self, who: Person, case: bytes, version: int = 0) -> Case:
        """Work on it again."""
        return await self._step(who, case, version, "reopen", assigned="")

    async def audit(self, who: Person, case: bytes, note: str) -> Audit:
        """An auditor has looked at the case. Who took part in it under any account cannot."""
        desk = self._desk
        if not 0 < len(note) <= TEXT_LIMIT:
            raise BadArgument(f"say what you found, in 1 to {TEXT_LIMIT} characters")
        async with desk.lock:
            await desk.allow(who, AUDITORS, "audit a case", case=case)
            found = await desk.find(Case, case)
            if await part_of(desk, found, who.subject) not in ("", "auditor"):
                error = GrantRefused(
                    f"{who.name} took part in this case; somebody else must audit it"
                )
                await desk.refuse(who, error, case=case, basis=found.basis)
            if len(await desk.store.find(Audit, 0, OF_A_CASE, case=case)) >= OF_A_CASE:
                # Else somebody could have a part in the case that nobody looks for any more.
                raise BadArgument(f"a case has {OF_A_CASE} audits at most, and this one has them")
            audit = Audit(
                id=desk.random(ID_SIZE),
                case=case,
                time=desk.now(),
                auditor=who.name,
                subject=who.subject,
                note=note,
            )
            await self._enter(found, who, "audited")
            await desk.store.put(audit)
        return audit

    # --- inside ---

    async def _step(
        self,
        who: Person,
        id: bytes,
        version: int,
        event: str,
        *,
        assigned: str | None = None,
        outcome: str = "",
    ) -> Case:
        desk = self._desk
        async with desk.lock:
            case = await desk.find(Case, id, version)
            roles = _roles(case)
            await desk.allow(who, roles, f"{event} this case", case=id, basis=case.basis)
            state = follow("case", case.state, event)
            after = changed(
                case,
                state=state,
                assignee=case.assignee if assigned is None else assigned,
                closed=desk.now() if event == "close" else 0,
                outcome=outcome,
            )
            await self._enter(after, who, event, outcome)
            await desk.store.put(after)
        return after

    async def _reported(self, who: Person, opening: Opening) -> Report | None:
        if not opening.report:
            return None
        report = await self._desk.find(Report, opening.report)
        if report.case:
            raise BadArgument(f"report {report.number} has a case already: {report.case.hex()}")
        return report

    async def _enter(self, case: Case, who: Person, event: str, outcome: str = "") -> None:
        detail = {"event": event, "outcome": outcome, "assignee": case.assignee}
        legal = {"authority": case.authority, "country": case.country, "reference": case.reference}
        kept = {name: value[:500] for name, value in (detail | legal).items() if value}
        await self._desk.enter("case", who.name, case=case.id, basis=case.basis, detail=kept)


def check_opening(opening: Opening, now: int) -> None:
    """Raises ``BadArgument`` where the basis needs more, or something else, than is given."""
    needs, basis = NEEDS[opening.basis], opening.basis
    given = {name for name in _ALL if getattr(opening, name)}
    if missing := [name for name in needs.fields if name not in given]:
        raise BadArgument(f"a case on the basis {basis} needs {', '.join(missing)}")
    if wrong := sorted(given.difference(needs.fields, needs.may)):
        raise BadArgument(f"a case on the basis {basis} has no {', '.join(wrong)}")
    places = len(opening.accounts) + len(opening.conversations)
    if not (min(1, needs.places) <= places <= needs.places):
        raise BadArgument(
            f"a case on the basis {basis} names 1 to {needs.places} accounts and conversations"
            if needs.places
            else f"a case on the basis {basis} names no accounts or conversations, but its report"
        )
    _check_order(opening, now)


def _check_order(opening: Opening, now: int) -> None:
    if opening.due and opening.due < opening.served:
        raise BadArgument("a request is not due before it was served")
    if opening.served > now:
        raise BadArgument("a request cannot have been served in the future")
    if opening.until and opening.until < opening.since:
        raise BadArgument("the time range ends before it begins")


def _roles(case: Case) -> tuple[Role, ...]:
    """Who works on a case: those who could have opened it, and seniors."""
    return tuple(dict.fromkeys((*RULES[case.basis].requesters, "senior")))


async def part_of(desk: Desk, case: Case, subject: str) -> str:
    """The part that a human has in a case: requester, approver, auditor, or empty for none.

    Three different people: who has one part cannot take another, under whatever account.
    """
    parts: dict[str, str] = {}
    for asked in await desk.store.find(Asked, 0, OF_A_CASE, case=case.id):
        parts |= _parts("requester", (asked.subject,)) | _parts("approver", asked.approvers)
    for hold in await desk.store.find(Hold, 0, OF_A_CASE, case=case.id):
        parts |= _parts("requester", (hold.subject, hold.lifter))
        parts |= _parts("approver", (*hold.approvers, *hold.lifters))
    for audit in await desk.store.find(Audit, 0, OF_A_CASE, case=case.id):
        parts |= _parts("auditor", (audit.subject,))
    return parts.get(subject, "")


def _parts(part: str, subjects: tuple[str, ...]) -> dict[str, str]:
    return {subject: part for subject in subjects if subject}
