"""Appeals: what a user says against an action, once, and who decides about it.

What may live here: these use cases. Who acted does not decide, under whatever account.
"""

from __future__ import annotations

from typing import Literal

from crypto_modes.errors import BadArgument, Forbidden, LimitExceeded
from crypto_modes.grants import Person, Role
from server.moderation import notices
from server.moderation.actions import Actions
from server.moderation.desk import Desk, changed
from server.moderation.notices import Notices
from server.moderation.records import Action, Appeal, Event, Record, Report, Unknown
from server.moderation.states import follow

DECIDERS: tuple[Role, ...] = ("moderator", "senior")
WORDS_LIMIT = 2_000  # bytes of UTF-8
REASON_LIMIT = 2_000
Outcome = Literal["upheld", "reversed"]
_EVENTS: dict[Outcome, str] = {"upheld": "uphold", "reversed": "reverse"}


class Appeals:
    """As ``Cases``."""

    def __init__(self, desk: Desk, actions: Actions, told: Notices) -> None:
        self._desk = desk
        self._actions = actions
        self._notices = told

    async def file(self, account: bytes, action: bytes, words: str) -> Appeal:
        """A user appeals against an action that concerns him. Raises ``Unknown`` for another's as
        for none, ``WrongState`` the second time, ``LimitExceeded`` for more than 2,000 bytes.
        """
        if not 0 < len(words.encode()) <= WORDS_LIMIT:
            raise LimitExceeded(f"an appeal has 1 to {WORDS_LIMIT} bytes")
        desk = self._desk
        async with desk.lock:
            found = await desk.store.get(Action, action)
            if found is None or found.account != account:
                raise Unknown("there is no such decision about you")
            before = await desk.store.get(Appeal, action)
            if before is not None and before.words == words:
                return before  # whose answer was lost asks again
            appealed = changed(found, state=follow("action", found.state, "appeal"))
            appeal = Appeal(id=action, account=account, time=desk.now(), words=words)
            report = await self._report(found, "appeal")
            await desk.enter("appeal", "", **_about(found))
            await desk.store.put(appeal, appealed, *report)
            desk.heard(Event(name="appeal.filed", time=appeal.time, id=action, case=found.case))
        return appeal

    async def get(self, who: Person, action: bytes) -> Appeal:
        """The appeal against an action."""
        self._desk.look(who)
        return await self._desk.find(Appeal, action)

    async def page(
        self, who: Person, after: int = 0, limit: int = 50, *, state: str = ""
    ) -> list[Appeal]:
        """Appeals with a higher number; in a state where named."""
        self._desk.look(who)
        named = {"state": state} if state else {}
        return await self._desk.store.find(Appeal, after, limit, **named)

    async def decide(
        self, who: Person, action: bytes, outcome: Outcome, reason: str, version: int = 0
    ) -> Appeal:
        """Uphold the action, or reverse and so undo it. ``version`` is the appeal's."""
        if not 0 < len(reason) <= REASON_LIMIT:
            raise BadArgument(f"say why, in 1 to {REASON_LIMIT} characters")
        desk, event = self._desk, _EVENTS[outcome]
        async with desk.lock:
            appeal = await desk.find(Appeal, action, version)
            found = await desk.find(Action, action)
            about = _about(found)
            await desk.allow(who, DECIDERS, "decide about an appeal", **about)
            if who.subject == found.subject:
                error = Forbidden(f"{who.name} took this action; somebody else must decide")
                await desk.refuse(who, error, **about)
            decided = changed(
                appeal,
                state=follow("appeal", appeal.state, event),
                decided=desk.now(),
                decider=who.name,
                reason=reason,
            )
            felt = found.felt if outcome == "upheld" else "owed"
            settled = changed(found, state=follow("action", found.state, event), felt=felt)
            report = await self._report(found, event)
            told = notices.of_decision(desk, found, outcome, reason)
            detail = {"outcome": outcome, "kind": found.kind}
            entry = desk.entry("decision", who.name, detail=detail, **about)
            await desk.log.append([entry, *notices.entries(desk, [told], found.case)])
            await desk.store.put(decided, settled, *report, told)
            await self._notices.push([told])
            if outcome == "reversed":
                await self._actions.undo(settled)
            desk.heard(Event(name=f"appeal.{outcome}", time=desk.now(), id=action, case=found.case))
        return decided

    async def _report(self, action: Action, event: str) -> list[Record]:
        """The action's report in its next state; nothing for an action without one."""
        if not action.report:
            return []
        report = await self._desk.find(Report, action.report)
        return [changed(report, state=follow("report", report.state, event))]


def _about(action: Action) -> dict[str, object]:
    """For the log, which does not name who reported."""
    account = b"" if action.kind == "none" else action.account
    return {"case": action.case, "account": account}
