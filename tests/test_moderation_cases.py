"""Cases: what each basis needs, who may open one and work on it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from crypto_modes import grants
from crypto_modes.errors import BadArgument, Forbidden
from server.moderation.cases import NEEDS, Opening, check_opening
from server.moderation.records import Stale, Unknown, WrongState
from tests.moderation_rig import (
    ALICE,
    BOB,
    CAROL,
    DAY,
    NOW,
    PEOPLE,
    emergency,
    legal_request,
    preservation,
    rig,
)

OPENERS = {
    "legal_request": legal_request(),
    "emergency": emergency(),
    "preservation": preservation(),
}


# --- what a basis needs ---


@pytest.mark.parametrize("basis", sorted(OPENERS))
def test_each_basis_opens_with_what_it_needs(basis: str) -> None:
    check_opening(OPENERS[basis], NOW)


@pytest.mark.parametrize(
    ("opening", "field"),
    [
        (OPENERS[basis], field)
        for basis in ("legal_request", "preservation")
        for field in ("authority", "reference", "country", "served", "due", "accounts")
    ],
)
def test_a_basis_without_a_field_that_it_needs_is_refused(opening: Opening, field: str) -> None:
    empty = type(getattr(opening, field))()
    with pytest.raises(BadArgument, match=r"needs|names"):
        check_opening(msgspec.structs.replace(opening, **{field: empty}), NOW)


@pytest.mark.parametrize(
    ("opening", "says"),
    [
        (emergency(report=3), "has no report"),
        (emergency(gag=NOW), "has no gag"),
        (emergency(accounts=(ALICE, BOB, CAROL)), "1 to 2"),
        (emergency(accounts=()), "1 to 2"),
        (legal_request(report=1), "has no report"),
        (legal_request(due=NOW - 2 * DAY), "not due before"),
        (legal_request(served=NOW + 1), "in the future"),
        (legal_request(since=NOW, until=NOW - 1), "ends before"),
        (Opening(basis="user_report", reason="x"), "needs report"),
        (Opening(basis="user_report", reason="x", report=1, accounts=(BOB,)), "but its report"),
        (Opening(basis="user_report", reason="x", report=1, gag=5), "has no gag"),
    ],
)
def test_what_does_not_fit_a_basis_is_refused(opening: Opening, says: str) -> None:
    with pytest.raises(BadArgument, match=says):
        check_opening(opening, NOW)


def test_every_basis_has_its_row() -> None:
    assert set(NEEDS) == set(grants.BASES)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("who", "opening"),
    [
        ("mara", OPENERS["legal_request"]),
        ("sven", OPENERS["legal_request"]),
        ("mara", OPENERS["emergency"]),
        ("lena", OPENERS["emergency"]),
        ("sven", OPENERS["preservation"]),
        ("otto", OPENERS["emergency"]),
        ("adam", OPENERS["legal_request"]),
        ("anna", OPENERS["legal_request"]),
    ],
)
async def test_another_role_opens_no_case(tmp_path: Path, who: str, opening: Opening) -> None:
    async with rig(tmp_path) as made:
        with pytest.raises(Forbidden, match="may not open a case"):
            await made.moderation.cases.open(PEOPLE[who], opening)
        assert made.log.kinds() == ["refused"]
        assert await made.moderation.cases.page(PEOPLE["anna"]) == []


# --- a case's life ---


@pytest.mark.asyncio
async def test_a_case_is_opened_assigned_closed_and_kept(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        cases, lena = made.moderation.cases, PEOPLE["lena"]
        case = await cases.open(lena, legal_request())
        assert (case.state, case.version, case.assignee) == ("open", 1, "")
        case = await cases.assign(lena, case.id, "luca", case.version)
        assert (case.state, case.version, case.assignee) == ("assigned", 2, "luca")
        case = await cases.close(lena, case.id, "handed over", case.version)
        assert (case.state, case.closed, case.outcome) == ("closed", NOW, "handed over")
        kept = await cases.get(PEOPLE["anna"], case.id)
        assert (kept.state, kept.authority, kept.accounts) == ("closed", case.authority, (BOB,))
        assert made.log.kinds() == ["case", "case", "case"]
        assert made.log.entries[0].detail["authority"] == "Amtsgericht Musterstadt"
        assert made.log.entries[0].detail["country"] == "DE"


@pytest.mark.asyncio
async def test_a_stale_version_changes_nothing_and_is_not_logged_as_done(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        cases, lena = made.moderation.cases, PEOPLE["lena"]
        case = await cases.open(lena, legal_request())
        await cases.assign(lena, case.id, "luca", 1)
        with pytest.raises(Stale, match="version 2, not 1"):
            await cases.assign(lena, case.id, "lena", 1)
        assert (await cases.get(lena, case.id)).assignee == "luca"
        assert made.log.kinds() == ["case", "case"]


@pytest.mark.asyncio
async def test_what_the_state_does_not_allow_is_refused(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        cases, lena = made.moderation.cases, PEOPLE["lena"]
        case = await cases.open(lena, legal_request())
        with pytest.raises(WrongState, match=r"is open, .*only assign or close"):
            await cases.release(lena, case.id)
        await cases.close(lena, case.id, "nothing")
        with pytest.raises(WrongState, match="only reopen"):
            await cases.assign(lena, case.id, "lena")
        assert (await cases.reopen(lena, case.id)).state == "open"
        with pytest.raises(Unknown):
            await cases.get(lena, b"?" * 16)


@pytest.mark.asyncio
async def test_a_case_is_given_only_to_who_works_on_cases(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        case = await made.moderation.cases.open(PEOPLE["lena"], legal_request())
        for nobody in ("otto", "anna", "adam", "ghost"):
            with pytest.raises(BadArgument, match="nobody who works on cases"):
                await made.moderation.cases.assign(PEOPLE["lena"], case.id, nobody)


@pytest.mark.asyncio
async def test_operators_see_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        case = await made.moderation.cases.open(PEOPLE["lena"], legal_request())
        with pytest.raises(Forbidden):
            await made.moderation.cases.get(PEOPLE["otto"], case.id)
        with pytest.raises(Forbidden):
            await made.moderation.queue.page(PEOPLE["otto"])


@pytest.mark.asyncio
async def test_who_was_dismissed_does_nothing_more(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        del made.staff["lena"]
        with pytest.raises(Forbidden, match="not of the staff"):
            await made.moderation.cases.open(PEOPLE["lena"], legal_request())
        with pytest.raises(Forbidden):
            await made.moderation.cases.page(PEOPLE["lena"])


@pytest.mark.asyncio
async def test_cases_come_in_pages(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        cases = made.moderation.cases
        ids = [(await cases.open(PEOPLE["lena"], legal_request())).id for _ in range(5)]
        await cases.assign(PEOPLE["lena"], ids[3], "luca")
        first = await cases.page(PEOPLE["lena"], 0, 2)
        rest = await cases.page(PEOPLE["lena"], first[-1].number, 9)
        assert [each.id for each in [*first, *rest]] == ids
        mine = await cases.page(PEOPLE["lena"], assignee="luca")
        assert [each.id for each in mine] == [ids[3]]
