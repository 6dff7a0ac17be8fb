"""Preservation, and notices that wait: two approvals to keep, two to end it, nothing told early."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from crypto_modes import grants
from crypto_modes.errors import GrantRefused, LogUnavailable, LouverError
from crypto_modes.holds import Order
from server.moderation.records import Case, Hold, WrongState
from tests.moderation_rig import (
    ALICE,
    BOB,
    CAROL,
    DAY,
    NOW,
    PEOPLE,
    TALK,
    Rig,
    approval,
    legal_request,
    preservation,
    rig,
)
from tests.test_moderation_actions import acted, measure, reviewed

LENA = PEOPLE["lena"]


def order(case: Case, event: str = "place", **fields: object) -> Order:
    given = {
        "case": case.id,
        "event": event,
        "target": "account",
        "place": BOB,
        "requester": "lena",
        "reason": "the court will want it",
        "nonce": event.encode().ljust(16, b"."),
    }
    return Order(**(given | fields))  # type: ignore[arg-type] - a test may give wrong ones


async def _asked(made: Rig) -> Hold:
    case = await made.opened("lena", preservation())
    return await made.moderation.holds.ask(LENA, order(case))


async def _approve(made: Rig, hold: Hold, who: str) -> Hold:
    wanted = hold.lift or hold.order
    return await made.moderation.holds.approve(PEOPLE[who], hold.id, approval(who, wanted))


async def _placed(made: Rig) -> Hold:
    hold = await _asked(made)
    await _approve(made, hold, "sven")
    return await _approve(made, hold, "luca")


@pytest.mark.asyncio
async def test_two_approvals_place_a_hold_and_two_lift_it(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        holds = made.moderation.holds
        hold = await _asked(made)
        hold = await _approve(made, hold, "sven")
        assert (hold.state, made.relay.held) == ("asked", [])
        assert not await holds.keeps(BOB, TALK)
        hold = await _approve(made, hold, "luca")
        assert (hold.state, made.relay.held) == ("in_force", [(BOB, True)])
        assert await holds.keeps(BOB, TALK)
        case = await made.moderation.cases.get(LENA, hold.case)
        hold = await holds.ask_lift(LENA, hold.id, order(case, "lift"))
        hold = await _approve(made, hold, "sven")
        assert hold.state == "lifting"
        assert await holds.keeps(BOB, TALK)
        hold = await _approve(made, hold, "luca")
        assert hold.state == "lifted"
        assert made.relay.held == [(BOB, True), (BOB, False)]
        assert not await holds.keeps(BOB, TALK)
        entries = [each.detail["event"] for each in made.log.entries if each.kind == "hold"]
        assert entries == ["asked", "approved", "in_force", "lift asked", "approved", "lifted"]
        names = [event.name for event in made.events if event.name.startswith("hold")]
        assert names == ["hold.placed", "hold.lifted"]


async def _refused(made: Rig, hold: Hold, who: str) -> str:
    before = await made.moderation.holds.get(LENA, hold.id)
    with pytest.raises(LouverError) as caught:
        await _approve(made, hold, who)
    assert await made.moderation.holds.get(LENA, hold.id) == before
    assert made.log.entries[-1].kind == "refused"
    return str(caught.value)


@pytest.mark.asyncio
async def test_an_approval_covers_every_field_of_an_order(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        case = await made.opened("lena", preservation())
        signed = order(case)
        given = approval("sven", signed)
        assert grants.check_approval(signed, given, made.staff).name == "sven"
        for fields in (
            {"case": ALICE},
            {"event": "lift"},
            {"target": "conversation"},
            {"place": ALICE},
            {"requester": "luca"},
            {"reason": "the court will want it!"},
            {"nonce": b"?" * 16},
        ):
            other = msgspec.structs.replace(signed, **fields)
            assert other.id != signed.id
            with pytest.raises(GrantRefused, match="is not for this"):
                grants.check_approval(other, given, made.staff)


@pytest.mark.asyncio
async def test_the_two_are_two_other_people(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        hold = await _asked(made)
        assert "the person who asked" in await _refused(made, hold, "lena2")
        assert "approves nothing" in await _refused(made, hold, "anna")
        await _approve(made, hold, "sven")
        assert "another account" in await _refused(made, hold, "sven2")
        await made.moderation.cases.audit(PEOPLE["anna"], hold.case, "seen")
        assert "a third person" in await _refused(made, hold, "anna2")


@pytest.mark.asyncio
async def test_an_approval_to_keep_is_none_to_end_it(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        hold = await _placed(made)
        case = await made.moderation.cases.get(LENA, hold.case)
        hold = await made.moderation.holds.ask_lift(LENA, hold.id, order(case, "lift"))
        with pytest.raises(GrantRefused):
            await made.moderation.holds.approve(
                PEOPLE["sven"], hold.id, approval("sven", hold.order)
            )
        declined = await made.moderation.holds.decline(PEOPLE["sven"], hold.id, "not yet")
        assert (declined.state, declined.lift) == ("in_force", None)
        again = order(case, "lift", nonce=b"n" * 16)
        assert (await made.moderation.holds.ask_lift(LENA, hold.id, again)).lifters == ()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"place": CAROL}, "none that the case names"),
        ({"target": "conversation"}, "none that the case names"),
        ({"event": "lift"}, "not to place"),
        ({"requester": "luca"}, "you are another"),
    ],
)
async def test_an_order_beyond_its_case_is_refused(
    tmp_path: Path, fields: dict[str, object], says: str
) -> None:
    async with rig(tmp_path) as made:
        case = await made.opened("lena", preservation())
        with pytest.raises(GrantRefused, match=says):
            await made.moderation.holds.ask(LENA, order(case, **fields))
        assert await made.moderation.holds.page(LENA) == []


@pytest.mark.asyncio
async def test_a_case_on_another_basis_holds_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        case = await made.opened("lena", legal_request())
        with pytest.raises(GrantRefused, match="not on preservation"):
            await made.moderation.holds.ask(LENA, order(case))


@pytest.mark.asyncio
async def test_of_two_holds_on_one_place_the_second_goes_on(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        first, second = await _placed(made), await _placed(made)
        assert first.id != second.id
        case = await made.moderation.cases.get(LENA, first.case)
        hold = await made.moderation.holds.ask_lift(LENA, first.id, order(case, "lift"))
        await _approve(made, hold, "sven")
        await _approve(made, hold, "luca")
        assert (BOB, False) not in made.relay.held
        assert await made.moderation.holds.keeps(BOB, TALK)


@pytest.mark.asyncio
async def test_what_is_kept_is_not_removed(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        await _placed(made)
        report = await reviewed(made)
        actions, mara = made.moderation.actions, PEOPLE["mara"]
        with pytest.raises(WrongState, match="must be kept") as caught:
            await actions.on_report(mara, report.number, measure("remove"))
        assert "court" not in str(caught.value)
        assert made.relay.applied == []
        await actions.on_report(mara, report.number, measure("suspend"))


@pytest.mark.asyncio
async def test_holds_survive_a_restart_and_need_the_log(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        hold = await _asked(made)
        await _approve(made, hold, "sven")
        made.log.down = True
        with pytest.raises(LogUnavailable):
            await _approve(made, hold, "luca")
        assert made.relay.held == []
        made.log.down = False
        await _approve(made, hold, "luca")
        case = await made.moderation.cases.get(LENA, hold.case)
        await made.moderation.holds.ask_lift(LENA, hold.id, order(case, "lift"))
    async with rig(tmp_path) as made:
        await made.moderation.restore()
        assert made.relay.held == [(BOB, True)]
        kept = await made.moderation.holds.get(LENA, hold.id)
        assert (kept.state, kept.approvers) == ("lifting", ("sven s.", "luca l."))
        assert kept.approvals[0].signature == approval("sven", kept.order).signature


# --- notices that wait ---


async def _granted(made: Rig, gag: int) -> None:
    case = await made.opened("lena", legal_request(gag=gag))
    asked = await made.moderation.granting.ask(LENA, made.grant(case))
    for who in ("sven", "luca"):
        await made.moderation.granting.approve(PEOPLE[who], asked.id, approval(who, asked.grant))


@pytest.mark.asyncio
async def test_a_gag_delays_the_notice_to_both_users_until_it_ends(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        made.relay.online = {ALICE}
        await _granted(made, NOW + DAY)
        notices = made.moderation.notices
        made.now = NOW + DAY - 1
        assert await notices.tick() == 0
        assert [await notices.of(each) for each in (ALICE, BOB)] == [[], []]
        assert made.relay.told == []
        made.now = NOW + DAY
        assert await notices.tick() == 2
        assert [each.account for each in made.relay.told] == [ALICE, BOB]
        (notice,) = await notices.of(BOB)
        assert (notice.topic, notice.basis) == ("opened", "legal_request")
        assert (notice.conversation, notice.count) == (TALK, 10)
        made.now += 60_000
        assert await notices.tick() == 0
        assert await notices.fresh(ALICE) == []


@pytest.mark.asyncio
async def test_without_a_gag_both_users_are_told_at_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        made.relay.online = {ALICE}
        await _granted(made, 0)
        assert {each.account for each in made.relay.told} == {ALICE, BOB}
        assert await made.moderation.notices.fresh(ALICE) == []
        assert [each.topic for each in await made.moderation.notices.fresh(BOB)] == ["opened"]
        assert await made.moderation.notices.fresh(BOB) == []


@pytest.mark.asyncio
async def test_what_nobody_was_told_before_a_restart_is_told_after_it(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        await _granted(made, NOW + DAY)
    async with rig(tmp_path) as made:
        made.now = NOW + 2 * DAY
        await made.moderation.restore()
        assert [each.account for each in made.relay.told] == [ALICE, BOB]


@pytest.mark.asyncio
async def test_notices_are_read_by_their_account_only_and_come_in_pages(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        for _ in range(53):
            await acted(made, "warn")
        notices = made.moderation.notices
        first = await notices.of(BOB)
        rest = await notices.of(BOB, first[-1].number)
        assert (len(first), len(rest)) == (50, 3)
        mine = [each.id for each in rest]
        assert await notices.read(ALICE, mine) == 0
        assert await notices.read(BOB, [*mine, mine[0], b"?" * 16]) == 3
        assert await notices.read(BOB, mine) == 0
        again = await notices.of(BOB, first[-1].number)
        assert [each.read for each in again] == [NOW] * 3
        assert [msgspec.structs.replace(each, version=0) for each in again] != rest
