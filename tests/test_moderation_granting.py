"""Grants: who asks, who approves, what is refused, and that nothing happens unlogged."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from crypto_modes import grants
from crypto_modes.errors import BadArgument, Forbidden, GrantRefused, LogUnavailable, LouverError
from crypto_modes.grants import Approval
from server.moderation.cases import OF_A_CASE, Opening
from server.moderation.queue import Findings
from server.moderation.records import Asked, Audit, Case, WrongState
from tests.moderation_rig import (
    ALICE,
    BOB,
    CAROL,
    DAY,
    KEYS,
    MINUTE,
    NOW,
    OTHER,
    PEOPLE,
    TALK,
    Rig,
    approval,
    emergency,
    legal_request,
    rig,
    sealed,
)


async def _asked(made: Rig, who: str = "lena", opening: Opening | None = None) -> Asked:
    case = await made.opened(who, opening)
    return await made.moderation.granting.ask(PEOPLE[who], made.grant(case))


@pytest.mark.asyncio
async def test_a_legal_request_opens_on_two_approvals(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        granting = made.moderation.granting
        asked = await _asked(made)
        asked = await granting.approve(
            PEOPLE["sven"], asked.id, approval("sven", asked.grant), asked.version
        )
        assert (asked.state, asked.begun) == ("pending", 0)
        asked = await granting.approve(PEOPLE["luca"], asked.id, approval("luca", asked.grant))
        assert (asked.state, asked.begun) == ("granted", NOW)
        people = grants.check(asked.grant, asked.approvals, made.staff, made.now)
        assert [person.name for person in people] == ["sven", "luca"]
        kinds = ["case", "case", "request", "approval", "approval", "notice", "notice"]
        assert made.log.kinds() == kinds
        assert made.log.entries[2].conversation == TALK
        assert [event.name for event in made.events][-1] == "grant.granted"


async def _refused(made: Rig, asked: Asked, who: str, signed: Approval | None = None) -> str:
    """The refusal of an approval, which changes nothing and is in the log."""
    before = await made.moderation.granting.get(PEOPLE["anna"], asked.id)
    with pytest.raises(LouverError) as caught:
        await made.moderation.granting.approve(
            PEOPLE[who], asked.id, signed or approval(who, asked.grant)
        )
    assert await made.moderation.granting.get(PEOPLE["anna"], asked.id) == before
    assert made.log.entries[-1].kind == "refused"
    assert made.log.entries[-1].detail["reason"] == str(caught.value)
    assert made.log.entries[-1].grant == asked.id
    return str(caught.value)


@pytest.mark.asyncio
async def test_nobody_approves_his_own_request(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        asked = await _asked(made)
        assert "the person who asked" in await _refused(made, asked, "lena")
        assert "the person who asked" in await _refused(made, asked, "lena2")


@pytest.mark.asyncio
async def test_one_human_with_two_accounts_approves_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        asked = await _asked(made)
        await made.moderation.granting.approve(
            PEOPLE["sven"], asked.id, approval("sven", asked.grant)
        )
        assert "maybe under another account" in await _refused(made, asked, "sven2")
        assert "maybe under another account" in await _refused(made, asked, "sven")


@pytest.mark.asyncio
@pytest.mark.parametrize("who", ["mara", "anna", "otto", "adam"])
async def test_another_role_approves_nothing(tmp_path: Path, who: str) -> None:
    async with rig(tmp_path) as made:
        assert "approves nothing" in await _refused(made, await _asked(made), who)


@pytest.mark.asyncio
async def test_an_approval_is_for_this_grant_and_by_this_person(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        asked = await _asked(made)
        wider = msgspec.structs.replace(asked.grant, last=500)
        assert "not for this grant" in await _refused(made, asked, "sven", approval("sven", wider))
        assert "you are another" in await _refused(made, asked, "sven", approval("luca", wider))
        forged = grants.approve(asked.grant, "sven", KEYS["mara"])
        assert "not for this grant" in await _refused(made, asked, "sven", forged)


@pytest.mark.asyncio
async def test_an_auditor_under_another_account_does_not_approve(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        asked = await _asked(made)
        await made.moderation.cases.audit(PEOPLE["anna"], asked.case, "in order so far")
        assert "a third person" in await _refused(made, asked, "anna2")
        await made.moderation.granting.approve(
            PEOPLE["sven"], asked.id, approval("sven", asked.grant)
        )
        with pytest.raises(GrantRefused, match="somebody else must audit"):
            await made.moderation.cases.audit(PEOPLE["sven3"], asked.case, "in order")
        with pytest.raises(Forbidden, match="may not audit"):
            await made.moderation.cases.audit(PEOPLE["saul"], asked.case, "in order")
        (audit,) = await made.moderation.cases.audits(PEOPLE["lena"], asked.case)
        assert (audit.auditor, audit.note) == ("anna", "in order so far")


@pytest.mark.asyncio
async def test_no_part_in_a_case_is_ever_overlooked(tmp_path: Path) -> None:
    """Grants, holds and audits of a case are bounded, so that all of them are looked at."""
    async with rig(tmp_path) as made:
        asked = await _asked(made)
        audits = [
            Audit(
                id=number.to_bytes(16, "big"),
                case=asked.case,
                time=NOW,
                auditor="anna",
                subject="sven s." if number == OF_A_CASE - 1 else "anna a.",
                note="seen",
            )
            for number in range(OF_A_CASE)
        ]
        await made.store.put(*audits)
        assert "a third person" in await _refused(made, asked, "sven")
        with pytest.raises(BadArgument, match="100 audits at most"):
            await made.moderation.cases.audit(PEOPLE["anna"], asked.case, "seen again")


@pytest.mark.asyncio
async def test_who_approved_does_not_ask_in_the_same_case(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        asked = await _asked(made)
        granting, cases = made.moderation.granting, made.moderation.cases
        await granting.approve(PEOPLE["luca"], asked.id, approval("luca", asked.grant))
        case = await cases.assign(PEOPLE["lena"], asked.case, "luca")
        with pytest.raises(GrantRefused, match="another must ask"):
            await granting.ask(PEOPLE["luca"], made.grant(case, first=2))


@pytest.mark.asyncio
async def test_an_expired_request_is_approved_by_nobody(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        asked = await _asked(made)
        made.now = asked.grant.expires
        assert "has expired" in await _refused(made, asked, "sven")
        made.now -= 1
        await made.moderation.granting.approve(
            PEOPLE["sven"], asked.id, approval("sven", asked.grant)
        )


@pytest.mark.asyncio
async def test_nothing_is_given_under_a_closed_case(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        asked = await _asked(made)
        await made.moderation.cases.close(PEOPLE["lena"], asked.case, "withdrawn by the court")
        assert "is closed" in await _refused(made, asked, "sven")
        case = await made.moderation.cases.get(PEOPLE["lena"], asked.case)
        with pytest.raises(GrantRefused, match="assignee of an open case"):
            await made.moderation.granting.ask(PEOPLE["lena"], made.grant(case, first=2))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"conversation": b"?" * 16}, "no such conversation"),
        ({"basis": "emergency"}, "may not ask"),
        ({"basis": "preservation"}, "shows nothing"),
        ({"last": 501}, "1 to 500"),
        ({"expires": NOW + 61 * MINUTE}, "ends after 60 minutes"),
        ({"expires": NOW}, "has expired"),
        ({"requester": "luca"}, "you are another"),
        ({"first": 1, "last": 499}, "outside the case's time range"),
    ],
)
async def test_what_goes_beyond_the_case_is_not_asked_for(
    tmp_path: Path, fields: dict[str, object], says: str
) -> None:
    async with rig(tmp_path) as made:
        case = await made.opened("lena", legal_request(since=NOW - DAY, until=NOW - DAY + 100))
        with pytest.raises(GrantRefused, match=says):
            await made.moderation.granting.ask(PEOPLE["lena"], made.grant(case, **fields))
        assert made.log.kinds() == ["case", "case", "refused"]
        assert await made.moderation.granting.page(PEOPLE["lena"], case=case.id) == []


@pytest.mark.asyncio
async def test_a_conversation_that_the_case_does_not_name_is_not_asked_for(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        case = await made.opened("lena", legal_request(accounts=(CAROL,)))
        with pytest.raises(GrantRefused, match="none that the case names"):
            await made.moderation.granting.ask(PEOPLE["lena"], made.grant(case))
        named = await made.opened("lena", legal_request(accounts=(), conversations=(TALK,)))
        await made.moderation.granting.ask(PEOPLE["lena"], made.grant(named))


@pytest.mark.asyncio
async def test_only_the_assignee_asks(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        case = await made.opened("lena")
        await made.moderation.cases.assign(PEOPLE["lena"], case.id, "luca")
        with pytest.raises(GrantRefused, match="only the assignee"):
            await made.moderation.granting.ask(PEOPLE["lena"], made.grant(case))


@pytest.mark.asyncio
async def test_the_same_grant_is_asked_for_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        asked = await _asked(made)
        with pytest.raises(WrongState, match="asked for before"):
            await made.moderation.granting.ask(PEOPLE["lena"], asked.grant)


@pytest.mark.asyncio
async def test_a_request_is_declined_or_withdrawn(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        granting = made.moderation.granting
        asked = await _asked(made)
        with pytest.raises(Forbidden, match="may not decline"):
            await granting.decline(PEOPLE["mara"], asked.id, "no")
        with pytest.raises(Forbidden, match="withdraws, and does not decline"):
            await granting.decline(PEOPLE["lena2"], asked.id, "no")
        with pytest.raises(Forbidden, match="only who has asked"):
            await granting.withdraw(PEOPLE["sven"], asked.id)
        declined = await granting.decline(PEOPLE["sven"], asked.id, "too wide")
        assert declined.state == "declined"
        assert made.log.entries[-1].detail == {"outcome": "declined", "reason": "too wide"}
        assert "is declined" in await _refused(made, declined, "sven")
        case = await made.moderation.cases.get(PEOPLE["lena"], asked.case)
        other = await granting.ask(PEOPLE["lena"], made.grant(case, first=2))
        assert (await granting.withdraw(PEOPLE["lena"], other.id)).state == "withdrawn"


@pytest.mark.asyncio
async def test_while_the_log_is_down_nothing_changes(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        asked = await _asked(made)
        cases, granting = made.moderation.cases, made.moderation.granting
        before = await cases.get(PEOPLE["lena"], asked.case), asked.version
        made.log.down = True
        lena, sven = PEOPLE["lena"], PEOPLE["sven"]
        steps = [
            lambda: cases.open(lena, legal_request()),
            lambda: cases.assign(lena, asked.case, "luca"),
            lambda: cases.close(lena, asked.case, "x"),
            lambda: cases.audit(PEOPLE["anna"], asked.case, "x"),
            lambda: granting.ask(lena, made.grant(before[0], first=2)),
            lambda: granting.approve(sven, asked.id, approval("sven", asked.grant)),
            lambda: granting.decline(sven, asked.id, "x"),
            lambda: granting.withdraw(lena, asked.id),
        ]
        for step in steps:
            with pytest.raises(LogUnavailable):
                await step()
        made.log.down = False
        assert len(await cases.page(lena)) == 1
        assert len(await granting.page(lena)) == 1
        assert await cases.audits(lena, asked.case) == []
        after = await granting.get(lena, asked.id)
        assert (await cases.get(lena, asked.case), after.version) == before


@pytest.mark.asyncio
async def test_a_refusal_needs_no_log(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        asked = await _asked(made)
        made.log.down = True
        with pytest.raises(GrantRefused, match="the person who asked"):
            await made.moderation.granting.approve(
                PEOPLE["lena2"], asked.id, approval("lena2", asked.grant)
            )


# --- an emergency ---


@pytest.mark.asyncio
async def test_an_emergency_opens_on_one_approval_and_is_reviewed(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        granting = made.moderation.granting
        asked = await _asked(made, "sven", emergency())
        asked = await granting.approve(PEOPLE["sara"], asked.id, approval("sara", asked.grant))
        assert (asked.state, asked.begun) == ("unreviewed", NOW)
        grants.check(asked.grant, asked.approvals, made.staff, made.now)
        made.now = NOW + DAY - 1  # long after it expired, in time for the review
        assert await granting.tick() == 0
        assert "maybe under another" in await _refused(made, asked, "sara")
        asked = await granting.approve(PEOPLE["luca"], asked.id, approval("luca", asked.grant))
        assert (asked.state, asked.begun) == ("granted", NOW)
        made.now = NOW + 3 * DAY
        assert await granting.tick() == 0
        assert "alert" not in made.log.kinds()


@pytest.mark.asyncio
async def test_an_emergency_that_nobody_reviewed_in_a_day_is_an_alert(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        granting = made.moderation.granting
        asked = await _asked(made, "sven", emergency())
        await granting.approve(PEOPLE["sara"], asked.id, approval("sara", asked.grant))
        made.now = NOW + DAY
        made.log.down = True
        with pytest.raises(LogUnavailable):
            await granting.tick()
        assert (await granting.get(PEOPLE["anna"], asked.id)).state == "unreviewed"
        made.log.down = False
        assert await granting.tick() == 1
        assert made.log.entries[-1].kind == "alert"
        assert made.log.entries[-1].grant == asked.id
        assert made.events[-1].name == "grant.alert"
        assert await granting.tick() == 0
        late = await granting.approve(PEOPLE["luca"], asked.id, approval("luca", asked.grant))
        assert late.state == "granted"


@pytest.mark.asyncio
async def test_a_review_that_says_no_is_an_alert(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        granting = made.moderation.granting
        asked = await _asked(made, "sven", emergency())
        await granting.approve(PEOPLE["sara"], asked.id, approval("sara", asked.grant))
        asked = await granting.decline(PEOPLE["luca"], asked.id, "nobody was in danger")
        assert asked.state == "disputed"
        assert made.log.entries[-1].kind == "alert"
        assert made.events[-1].detail["state"] == "disputed"


# --- a report's context ---


@pytest.mark.asyncio
async def test_the_context_of_a_report_is_the_conversation_of_its_two_users(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        made.relay.incoming.append(sealed(1, ALICE))
        queue, granting = made.moderation.queue, made.moderation.granting
        await queue.sync()
        mara = PEOPLE["mara"]
        opening = Opening(basis="user_report", reason="context is needed", report=1)
        case = await made.opened("mara", opening)
        assert (await queue.get(mara, 1)).case == case.id
        with pytest.raises(BadArgument, match="has a case already"):
            await made.moderation.cases.open(mara, opening)
        week = {"expires": NOW + 7 * DAY}
        with pytest.raises(GrantRefused, match="note first"):
            await granting.ask(mara, made.grant(case, **week))
        await queue.assign(mara, 1, "mara")
        findings = Findings(account=BOB, category="threat", evidence="verified")
        await queue.note(mara, 1, findings)
        with pytest.raises(GrantRefused, match="not the conversation of the reporter"):
            await granting.ask(mara, made.grant(case, conversation=OTHER, **week))
        asked = await granting.ask(mara, made.grant(case, **week))
        assert "the person who asked" in await _refused(made, asked, "mara2")
        asked = await granting.approve(PEOPLE["sven"], asked.id, approval("sven", asked.grant))
        assert asked.state == "granted"
        # Nobody is told: with it the reported user would learn that the other has reported.
        assert await made.moderation.notices.of(BOB) == []


# --- restarts ---


@pytest.mark.asyncio
async def test_cases_and_approvals_survive_a_restart(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        asked = await _asked(made)
        await made.moderation.granting.approve(
            PEOPLE["sven"], asked.id, approval("sven", asked.grant)
        )
        kept: Case = await made.moderation.cases.get(PEOPLE["lena"], asked.case)
    async with rig(tmp_path) as made:
        assert await made.moderation.cases.get(PEOPLE["lena"], asked.case) == kept
        again = await made.moderation.granting.approve(
            PEOPLE["luca"], asked.id, approval("luca", asked.grant)
        )
        assert again.state == "granted"
        grants.check(again.grant, again.approvals, made.staff, made.now)
