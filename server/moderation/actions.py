"""Actions: what is done about an account or its messages, with reasons, and undone.

What may live here: who may act on what, the statement of reasons, and keeping what is decided and
what the relay does in step. How the relay does it is behind ``Hooks``. ::

    (none) ──entered, kept──► owed ──the relay has done it──► done ──reversed──► owed ──► done

What is owed after a crash or an outage is done at the next start or minute.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from crypto_modes import wire
from crypto_modes.contract import ID_SIZE
from crypto_modes.errors import BadArgument, Forbidden, Unavailable
from crypto_modes.grants import Person, Role
from crypto_modes.policy import conversation_id
from crypto_modes.reports import SCANNER
from server.moderation import notices
from server.moderation.desk import Desk, changed
from server.moderation.holds import Holds
from server.moderation.notices import Notices
from server.moderation.records import (
    Action,
    ActionKind,
    Case,
    Event,
    Notice,
    Report,
    Statement,
    WrongState,
)
from server.moderation.states import follow

TAKERS: tuple[Role, ...] = ("moderator", "senior")
# Of a case of a legal request, such as an order to remove something.
LEGAL_TAKERS: tuple[Role, ...] = ("senior", "legal")
REASON_LIMIT = 2_000  # characters of each part of a statement
SEQS_LIMIT = 20
STANDING = ("in_force", "appealed", "upheld")
_PAGE = 100
_FELT: tuple[ActionKind, ...] = ("mute", "suspend", "remove")


class Measure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What shall be done about ``account``: ``until`` (milliseconds) ends a mute, ``conversation``
    and ``seqs`` name the messages to remove. ``none`` concerns nobody but who reported.
    """

    kind: ActionKind
    account: wire.MaybeId = b""
    until: wire.Count = 0
    conversation: wire.MaybeId = b""
    seqs: Annotated[tuple[wire.Count, ...], msgspec.Meta(max_length=SEQS_LIMIT)] = ()
    statement: Statement


class Actions:
    """As ``Cases``."""

    def __init__(self, desk: Desk, holds: Holds, told: Notices) -> None:
        self._desk = desk
        self._holds = holds
        self._notices = told

    # --- looking ---

    async def get(self, who: Person, action: bytes) -> Action:
        """One action."""
        self._desk.look(who)
        return await self._desk.find(Action, action)

    async def page(
        self, who: Person, after: int = 0, limit: int = 50, *, account: bytes = b"", state: str = ""
    ) -> list[Action]:
        """Actions with a higher number; about an account or in a state where named."""
        self._desk.look(who)
        where: dict[str, bytes | str] = {"account": account, "state": state}
        named = {name: value for name, value in where.items() if value}
        return await self._desk.store.find(Action, after, limit, **named)

    # --- steps ---

    async def on_report(
        self, who: Person, number: int, measure: Measure, version: int = 0
    ) -> Action:
        """Settle a report that one looks at: with a measure against whom it is about, or with
        ``none``, which dismisses it. The reported user never learns who reported.
        """
        desk = self._desk
        async with desk.lock:
            await desk.allow(who, TAKERS, "act on a report")
            report = await desk.find(Report, number, version)
            if report.assignee != who.name:
                await desk.refuse(who, Forbidden("only the assignee of a report settles it"))
            dismissed = measure.kind == "none"
            event = "dismiss" if dismissed else "act"
            state = follow("report", report.state, event)
            if not dismissed:
                _check_about(report, measure)
            account = report.reporter if dismissed else measure.account
            await self._check(measure)
            action = self._action(who, measure, account, report=number, case=report.case)
            told = _told(desk, action, report.reporter)
            settled = changed(report, state=state, settled=desk.now())
            detail = {
                "report": str(number),
                "category": report.category,
                "evidence": report.evidence,
            }
            await self._enter(who.name, action, "taken", told, detail)
            await desk.store.put(action, settled, *told)
            await self._taken(action, told)
            return await self._feel(action)

    async def settle(self, who: Person, number: int, by: bytes, version: int = 0) -> Report:
        """Settle another report about the same account by an action that stands: ten who report
        one thing need one measure, and nine are not to hear that nothing was done."""
        desk = self._desk
        async with desk.lock:
            await desk.allow(who, TAKERS, "settle a report")
            report = await desk.find(Report, number, version)
            if report.assignee != who.name:
                await desk.refuse(who, Forbidden("only the assignee of a report settles it"))
            action = await desk.find(Action, by)
            state = follow("report", report.state, "act")
            if action.kind == "none" or action.state not in STANDING:
                raise WrongState("this action does not stand, so it settles nothing")
            if not report.account or action.account != report.account:
                raise BadArgument("this action is about another account than the report")
            told = [notices.of_report(desk, report.reporter)] if report.reporter != SCANNER else []
            detail = {
                "event": "settled",
                "report": str(number),
                "category": report.category,
                "evidence": report.evidence,
            }
            about = {"case": report.case, "account": report.account}
            entry = desk.entry("case", who.name, detail=detail, **about)
            await desk.log.append([entry, *notices.entries(desk, told, report.case)])
            settled = changed(report, state=state, settled=desk.now())
            await desk.store.put(settled, *told)
            await self._notices.push(told)
            return settled

    async def on_case(self, who: Person, case: bytes, measure: Measure, version: int = 0) -> Action:
        """Act under a case of one's own that no report began, such as an order to remove."""
        desk = self._desk
        async with desk.lock:
            await desk.allow(who, LEGAL_TAKERS, "act under a case", case=case)
            found = await desk.find(Case, case, version)
            if found.state != "assigned" or found.assignee != who.name:
                error = Forbidden("only the assignee of an open case acts under it")
                await desk.refuse(who, error, case=case)
            if found.basis not in ("legal_request", "emergency") or measure.kind == "none":
                raise BadArgument("act on the report itself; under a case only on a request")
            await self._check(measure)
            named = found.accounts
            if measure.conversation in found.conversations:
                named += await desk.hooks.parties(measure.conversation) or ()
            if measure.account not in named:
                raise BadArgument("the case does not name this account, or this conversation")
            action = self._action(who, measure, measure.account, case=case)
            told = [notices.of_action(desk, action)]
            legal = {"authority": found.authority, "country": found.country}
            await self._enter(who.name, action, "taken", told, legal)
            await desk.store.put(action, *told)
            await self._taken(action, told)
            return await self._feel(action)

    async def undo(self, action: Action) -> Action:
        """Make a reversed action unfelt; called with the desk's lock held."""
        return await self._feel(action)

    async def restore(self) -> None:
        """Make the relay act on all that is in force; call it before anybody connects."""
        for kind in _FELT:
            for state in STANDING:
                after = 0
                where = {"kind": kind, "state": state}
                while page := await self._desk.store.find(Action, after, _PAGE, **where):
                    after = page[-1].number
                    for action in page:
                        await self._desk.hooks.apply(action, on=True)

    async def tick(self) -> int:
        """Do what is owed; how many. Call it at the start and every minute."""
        desk = self._desk
        async with desk.lock:
            owed = await desk.store.find(Action, 0, _PAGE, felt="owed")
            done = 0
            # Releases last: they need the log, and one that waits for it in vain waits for all.
            for each in sorted(owed, key=lambda each: each.kind == "none"):
                felt = await self._feel(each)
                if felt.felt == "owed" and felt.kind == "none":
                    break
                done += felt.felt == "done"
            return done

    # --- inside ---

    async def _check(self, measure: Measure) -> None:
        """Raises ``BadArgument`` or, for what must be kept, ``WrongState``."""
        desk, statement = self._desk, measure.statement
        for part in (statement.facts, statement.rule):
            if not 0 < len(part) <= REASON_LIMIT or len(statement.redress) > REASON_LIMIT:
                raise BadArgument(
                    f"a statement of reasons has facts and a rule, 1 to {REASON_LIMIT} characters"
                )
        if (measure.kind == "mute") != bool(measure.until):
            raise BadArgument("a mute has an end, `until`, and nothing else has one")
        if measure.until and measure.until <= desk.now():
            raise BadArgument("this mute would be over already")
        places = bool(measure.seqs), bool(measure.conversation)
        if places != (measure.kind == "remove",) * 2:
            raise BadArgument("a removal names `conversation` and `seqs`, and nothing else does")
        if measure.kind != "none" and not await desk.hooks.name(measure.account):
            raise BadArgument("there is no account with this id")
        if measure.kind == "remove":
            if await desk.hooks.authors(measure.conversation, measure.seqs) != {measure.account}:
                raise BadArgument("not all of these messages were written by this account")
            if await self._holds.keeps(measure.account, measure.conversation):
                raise WrongState("this must be kept for now; nothing of it can be removed")

    def _action(
        self, who: Person, measure: Measure, account: bytes, report: int = 0, case: bytes = b""
    ) -> Action:
        given = measure.statement
        statement = msgspec.structs.replace(given, redress=given.redress or notices.REDRESS)
        return Action(
            id=self._desk.random(ID_SIZE),
            kind=measure.kind,
            time=self._desk.now(),
            account=account,
            case=case,
            report=report,
            actor=who.name,
            subject=who.subject,
            until=measure.until,
            conversation=measure.conversation,
            seqs=measure.seqs,
            statement=statement,
        )

    async def _enter(
        self,
        actor: str,
        action: Action,
        event: str,
        told: list[Notice],
        more: Mapping[str, str],
    ) -> None:
        desk, statement = self._desk, action.statement
        detail = {
            "event": event,
            "kind": action.kind,
            "rule": statement.rule[:500],
            "automated": "yes" if statement.automated else "no",
        }
        entry = desk.entry(
            "action",
            actor,
            case=action.case,
            account=b"" if action.kind == "none" else action.account,
            conversation=action.conversation,
            count=len(action.seqs),
            detail=detail | {name: value for name, value in more.items() if value},
        )
        await desk.log.append([entry, *notices.entries(desk, told, action.case)])

    async def _taken(self, action: Action, told: list[Notice]) -> None:
        event = Event(name="action.taken", time=action.time, id=action.id, case=action.case)
        await self._notices.push(told)
        self._desk.heard(event)

    async def _feel(self, action: Action) -> Action:
        """Have the relay do, or undo, what was decided; stays ``owed`` where it cannot now."""
        desk = self._desk
        try:
            told: list[Notice] = []
            if action.kind == "none" and action.account == SCANNER:
                told = await self._let_go(action)
            elif action.state in STANDING:
                await desk.hooks.apply(action, on=True)
            else:
                await self._unfeel(action)
            done = changed(action, felt="done")
            await desk.store.put(done, *told)
        except Unavailable:
            return action
        await self._notices.push(told)
        return done

    async def _let_go(self, action: Action) -> list[Notice]:
        """Let pass what a list held, then say so: who is told before is refused once more."""
        desk = self._desk
        sender = await desk.hooks.release(action.report)
        told = [notices.of_release(desk, action, sender)] if sender else []
        if told:
            await desk.log.append(notices.entries(desk, told))
        return told

    async def _unfeel(self, action: Action) -> None:
        """Undo one action; others of the same kind on the same account stay felt."""
        desk, after = self._desk, 0
        others: list[Action] = []
        where = {"account": action.account, "kind": action.kind}
        while page := await desk.store.find(Action, after, _PAGE, **where):
            after = page[-1].number
            others += [each for each in page if each.state in STANDING and each.id != action.id]
        if not (others and action.kind == "suspend"):
            await desk.hooks.apply(action, on=False)
        for other in others:
            await desk.hooks.apply(other, on=True)


def _told(desk: Desk, action: Action, reporter: bytes) -> list[Notice]:
    """Who hears that a report was settled; a list that reported hears nothing."""
    told = [] if action.account == SCANNER else [notices.of_action(desk, action)]
    if action.kind != "none" and reporter != SCANNER:
        told.append(notices.of_report(desk, reporter))
    return told


def _check_about(report: Report, measure: Measure) -> None:
    """Raises ``BadArgument`` for a measure about somebody, or something, that was not reported."""
    if not report.account or measure.account != report.account:
        raise BadArgument("note first whom the report is about; act on that account alone")
    # What the lists found may lie anywhere; a user reports what was written to him.
    if not measure.conversation or report.reporter == SCANNER:
        return
    if measure.conversation != conversation_id(report.reporter, report.account):
        raise BadArgument("this is not the conversation of the reporter and the reported")
