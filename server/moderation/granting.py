"""Leave to read: asking for a grant under a case, approving it, declining, and the second look at
an emergency.

What may live here: these use cases. What a grant is and who may ask for it and approve it is in
``crypto_modes.grants``; the vault, which alone can open anything, judges by the same functions, so
that nothing here is trusted there.
"""

from __future__ import annotations

from collections.abc import Sequence

from crypto_modes import grants
from crypto_modes.errors import Forbidden, GrantRefused, LouverError
from crypto_modes.grants import APPROVERS, REVIEW_MILLISECONDS, RULES, Approval, Grant, Person
from crypto_modes.policy import conversation_id
from server.moderation import notices
from server.moderation.cases import OF_A_CASE, part_of
from server.moderation.desk import Desk, changed
from server.moderation.notices import Notices
from server.moderation.records import Asked, Case, Event, Notice, Report, WrongState
from server.moderation.states import follow

# Bases whose users are told that something of theirs may be read. Not of a report: that somebody
# has reported would be told with it.
TOLD = ("legal_request", "emergency")
_PAGE = 100


class Granting:
    """As ``Cases``; beside its errors all raise ``GrantRefused``, and every refusal is entered."""

    def __init__(self, desk: Desk, told: Notices) -> None:
        self._desk = desk
        self._notices = told

    # --- looking ---

    async def get(self, who: Person, grant: bytes) -> Asked:
        """What was asked for, and who approved it so far. ``grant`` is its id."""
        self._desk.look(who)
        return await self._desk.find(Asked, grant)

    async def page(
        self, who: Person, after: int = 0, limit: int = 50, *, case: bytes = b"", state: str = ""
    ) -> list[Asked]:
        """Those of a case or in a state, such as ``pending``, where named."""
        self._desk.look(who)
        where: dict[str, bytes | str] = {"case": case, "state": state}
        named = {name: value for name, value in where.items() if value}
        return await self._desk.store.find(Asked, after, limit, **named)

    # --- steps ---

    async def ask(self, who: Person, grant: Grant) -> Asked:
        """Ask for leave. Only the assignee of an open case can, for what lies in its scope."""
        desk = self._desk
        async with desk.lock:
            case = await desk.find(Case, grant.case)
            try:
                await self._check_request(who, grant, case)
            except LouverError as error:
                await desk.refuse(who, error, **_about(grant))
            asked = Asked(
                id=grant.id,
                case=case.id,
                asked=desk.now(),
                subject=who.subject,
                grant=grant,
            )
            if await desk.store.get(Asked, asked.id) is not None:
                raise WrongState("this very grant was asked for before; look it up")
            detail = {"reason": grant.reason, "authority": case.authority, "country": case.country}
            kept = {name: value for name, value in detail.items() if value}
            await desk.enter("request", who.name, detail=kept, **_about(grant))
            await desk.store.put(asked)
            desk.heard(Event(name="grant.asked", time=asked.asked, id=asked.id, case=case.id))
        return asked

    async def approve(
        self, who: Person, grant: bytes, approval: Approval, version: int = 0
    ) -> Asked:
        """Approve with one's own signature. The last one that the basis needs brings the grant into
        force; for an emergency that is the first, and the second is asked for within a day.
        """
        desk = self._desk
        async with desk.lock:
            asked = await desk.find(Asked, grant, version)
            try:
                await self._check_approval(who, asked, approval)
            except LouverError as error:
                await desk.refuse(who, error, **_about(asked.grant))
            approvers = (*asked.approvers, who.subject)
            event = _event(asked, len(approvers))
            state = follow("grant", asked.state, event)
            after = changed(
                asked,
                state=state,
                approvals=(*asked.approvals, approval),
                approvers=approvers,
                begun=asked.begun or (0 if event == "approve" else desk.now()),
            )
            told = await self._told(asked) if after.begun and not asked.begun else []
            entry = desk.entry(
                "approval", who.name, detail={"outcome": state}, **_about(asked.grant)
            )
            await desk.log.append([entry, *notices.entries(desk, told, asked.case)])
            await desk.store.put(after, *told)
            await self._notices.push(told)
            self._tell(after)
        return after

    async def decline(self, who: Person, grant: bytes, reason: str, version: int = 0) -> Asked:
        """An approver says no. In the review of an emergency that is an alert, for it was read."""
        return await self._end(who, grant, version, "decline", reason)

    async def withdraw(self, who: Person, grant: bytes, version: int = 0) -> Asked:
        """Who has asked no longer wants it; possible until it is in force."""
        return await self._end(who, grant, version, "withdraw", "")

    async def tick(self) -> int:
        """Alerts for emergencies whose second approval did not come within a day; how many. Call it
        every minute. Raises ``LogUnavailable``; then it is done the next time.
        """
        desk, count, after = self._desk, 0, 0
        async with desk.lock:
            before = desk.now() - REVIEW_MILLISECONDS
            while page := await desk.store.find(Asked, after, _PAGE, state="unreviewed"):
                after = page[-1].number
                for asked in page:
                    if asked.begun <= before:
                        await self._alert(asked, follow("grant", asked.state, "overdue"), "")
                        count += 1
        return count

    # --- inside ---

    async def _check_request(self, who: Person, grant: Grant, case: Case) -> None:
        desk = self._desk
        if grant.requester != who.name or desk.staff().get(who.name) != who:
            raise GrantRefused("a grant names the person who asks for it, and you are another")
        grants.check_request(grant, desk.staff(), desk.now())
        if not RULES[grant.basis].reads:
            raise GrantRefused(f"the basis {grant.basis} shows nothing; ask for a hold")
        if grant.basis != case.basis:
            raise GrantRefused(f"this case stands on {case.basis}, not on {grant.basis}")
        if case.state != "assigned" or case.assignee != who.name:
            raise GrantRefused("only the assignee of an open case asks for grants under it")
        if await part_of(desk, case, who.subject) not in ("", "requester"):
            raise GrantRefused("you approved or audited something in this case; another must ask")
        if len(await desk.store.find(Asked, 0, OF_A_CASE, case=case.id)) >= OF_A_CASE:
            raise GrantRefused(f"{OF_A_CASE} grants were asked for in this case; open another case")
        await self._check_scope(grant, case)

    async def _check_scope(self, grant: Grant, case: Case) -> None:
        """Raises ``GrantRefused`` for what the case is not about."""
        desk = self._desk
        parties = await desk.hooks.parties(grant.conversation)
        if parties is None:
            raise GrantRefused("there is no such conversation here")
        if case.basis == "user_report":
            report = await desk.find(Report, case.report)
            if not report.account:
                raise GrantRefused("note first whom the report is about, then ask for its context")
            if grant.conversation != conversation_id(report.reporter, report.account):
                raise GrantRefused("this is not the conversation of the reporter and the reported")
        elif grant.conversation not in case.conversations and not set(parties) & set(case.accounts):
            raise GrantRefused("this conversation is none that the case names")
        if case.since or case.until:
            first, last = await desk.hooks.times(grant.conversation, grant.first, grant.last)
            if first < case.since or (case.until and last > case.until):
                raise GrantRefused("some of these messages lie outside the case's time range")

    async def _check_approval(self, who: Person, asked: Asked, approval: Approval) -> None:
        desk, grant = self._desk, asked.grant
        if approval.approver != who.name or desk.staff().get(who.name) != who:
            raise GrantRefused("an approval names the person who gives it, and you are another")
        follow("grant", asked.state, "approve" if asked.state == "pending" else "grant")
        if asked.state == "pending":
            grants.check_request(grant, desk.staff(), desk.now())
        grants.check_approval(grant, approval, desk.staff())
        # The requester may have left the staff, or changed his name; the human is the same.
        if who.subject == asked.subject:
            raise GrantRefused(f"{who.name} is the person who asked; somebody else must approve")
        if who.subject in asked.approvers:
            raise GrantRefused(f"{who.name} has approved this already, maybe under another account")
        case = await desk.find(Case, asked.case)
        if case.state == "closed":
            raise WrongState("this case is closed; nothing is given under it any more")
        if await part_of(desk, case, who.subject) not in ("", "approver"):
            raise GrantRefused(
                f"{who.name} has asked or audited in this case; a third person must approve"
            )

    async def _end(self, who: Person, grant: bytes, version: int, event: str, reason: str) -> Asked:
        desk = self._desk
        async with desk.lock:
            asked = await desk.find(Asked, grant, version)
            about = _about(asked.grant)
            if event == "decline":
                await desk.allow(who, APPROVERS, "decline a grant", **about)
                if who.subject == asked.subject:
                    error = Forbidden("who has asked withdraws, and does not decline")
                    await desk.refuse(who, error, **about)
            elif who.subject != asked.subject:
                await desk.refuse(who, Forbidden("only who has asked can withdraw it"), **about)
            state = follow("grant", asked.state, event)
            if state == "disputed":
                return await self._alert(asked, state, who.name)
            after = changed(asked, state=state)
            detail = {"outcome": state} | ({"reason": reason[:500]} if reason else {})
            await desk.enter("approval", who.name, detail=detail, **about)
            await desk.store.put(after)
        return after

    async def _alert(self, asked: Asked, state: str, actor: str) -> Asked:
        desk, after = self._desk, changed(asked, state=state)
        await desk.enter("alert", actor, detail={"outcome": state}, **_about(asked.grant))
        await desk.store.put(after)
        self._tell(after)
        return after

    async def _told(self, asked: Asked) -> list[Notice]:
        """For both users of the conversation, where the basis has it."""
        desk, grant = self._desk, asked.grant
        parties = await desk.hooks.parties(grant.conversation)
        if grant.basis not in TOLD or parties is None:
            return []
        gag = (await desk.find(Case, asked.case)).gag
        return [notices.of_grant(desk, asked, account, gag) for account in parties]

    def _tell(self, asked: Asked) -> None:
        names = {"granted": "grant.granted", "unreviewed": "grant.emergency"}
        alerts = {"overdue": "grant.alert", "disputed": "grant.alert"}
        name = (names | alerts).get(asked.state)
        if name is not None:
            event = Event(
                name=name,
                time=self._desk.now(),
                id=asked.id,
                case=asked.case,
                detail={"basis": asked.grant.basis, "state": asked.state},
            )
            self._desk.heard(event)


def _event(asked: Asked, approvers: int) -> str:
    """What one more approval does."""
    rule = RULES[asked.grant.basis]
    if asked.grant.basis == "emergency":
        return "begin" if asked.state == "pending" else "grant"
    return "grant" if approvers >= rule.approvals else "approve"


def _about(grant: Grant) -> dict[str, object]:
    return {
        "case": grant.case,
        "basis": grant.basis,
        "conversation": grant.conversation,
        "grant": grant.id,
        "count": grant.last - grant.first + 1,
    }


def in_force(found: Sequence[Asked], now: int) -> list[Asked]:
    """Of these, the grants by which the vault would open something now."""
    return [each for each in found if each.begun and each.grant.expires > now]
