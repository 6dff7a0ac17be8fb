"""The queue of reports: taken over once, one assignee, floods seen, nothing unlogged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crypto_modes.errors import BadArgument, Forbidden, LogUnavailable
from server.moderation.queue import Findings
from server.moderation.records import Stale, WrongState
from tests.moderation_rig import (
    ALICE,
    BOB,
    CAROL,
    NOW,
    PEOPLE,
    Rig,
    rig,
    sealed,
)

HOUR = 3_600_000
MARA, MILO = PEOPLE["mara"], PEOPLE["milo"]
FINDINGS = Findings(account=BOB, category="threat", evidence="verified")


async def _reported(made: Rig, *reporters: bytes, time: int = NOW) -> None:
    start = len(made.relay.incoming) + 1
    made.relay.incoming += [
        sealed(number, reporter, time) for number, reporter in enumerate(reporters, start)
    ]
    await made.moderation.queue.sync()


@pytest.mark.asyncio
async def test_reports_are_taken_over_once_and_entered_without_their_reporter(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as made:
        await _reported(made, *[ALICE] * 60)
        assert await made.moderation.queue.sync() == 0
        page = await made.moderation.queue.page(MARA, limit=100)
        assert [each.number for each in page] == list(range(1, 61))
        assert {each.state for each in page} == {"open"}
        assert made.log.kinds() == ["report"] * 60
        assert all(entry.account == b"" for entry in made.log.entries)
        assert [event.name for event in made.events] == ["report.new"] * 60


@pytest.mark.asyncio
async def test_while_the_log_is_down_reports_wait_and_none_is_lost(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        made.log.down = True
        with pytest.raises(LogUnavailable):
            await _reported(made, ALICE)
        assert await made.moderation.queue.page(MARA) == []
        made.log.down = False
        assert await made.moderation.queue.sync() == 1


@pytest.mark.asyncio
async def test_one_assignee_notes_what_it_is_about(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        queue = made.moderation.queue
        await _reported(made, ALICE)
        with pytest.raises(WrongState, match="only assign"):
            await queue.release(MARA, 1)
        report = await queue.assign(MARA, 1, "mara", 1)
        assert (report.state, report.assignee) == ("in_review", "mara")
        with pytest.raises(Stale):
            await queue.assign(MILO, 1, "milo", 1)
        with pytest.raises(Forbidden, match="only the assignee"):
            await queue.note(MILO, 1, FINDINGS)
        report = await queue.note(MARA, 1, FINDINGS, report.version)
        assert (report.account, report.category, report.evidence) == (BOB, "threat", "verified")
        assert made.log.entries[-1].detail["category"] == "threat"
        assert made.log.entries[-1].account == BOB
        stranger = Findings(account=b"?" * 16, category="spam", evidence="claim")
        with pytest.raises(BadArgument, match="no account"):
            await queue.note(MARA, 1, stranger)
        report = await queue.release(MARA, 1)
        assert (report.state, report.assignee) == ("open", "")


@pytest.mark.asyncio
@pytest.mark.parametrize("who", ["lena", "anna", "otto", "adam"])
async def test_another_role_looks_at_no_report(tmp_path: Path, who: str) -> None:
    async with rig(tmp_path) as made:
        await _reported(made, ALICE)
        with pytest.raises(BadArgument, match="nobody who looks at reports"):
            await made.moderation.queue.assign(MARA, 1, who)
        with pytest.raises(Forbidden, match="may not assign a report"):
            await made.moderation.queue.assign(PEOPLE[who], 1, "mara")


@pytest.mark.asyncio
async def test_many_who_report_one_are_told_from_one_who_reports_much(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        queue = made.moderation.queue
        await _reported(made, ALICE, ALICE, CAROL)
        for number in (1, 2, 3):
            await queue.assign(MARA, number, "mara")
            await queue.note(MARA, number, FINDINGS)
        standing = await queue.standing(MARA, BOB)
        assert (standing.reports, standing.reporters) == (3, 2)
        assert standing.states == {"in_review": 3}
        assert (await queue.standing(MARA, CAROL)).reports == 0
        assert [each.number for each in await queue.page(MARA, account=BOB)] == [1, 2, 3]


@pytest.mark.asyncio
async def test_a_flood_is_seen_by_reporter_and_hour(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        queue = made.moderation.queue
        await _reported(made, *[ALICE] * 12, *[CAROL] * 9)
        await _reported(made, *[BOB] * 15, time=NOW - 2 * HOUR)
        await _reported(made, *[BOB] * 30, time=NOW - 50 * HOUR)
        found = await queue.floods(MARA, hours=24, least=10)
        hour = NOW // HOUR
        assert [(each.reporter, each.hour, each.count) for each in found] == [
            (BOB, hour - 2, 15),
            (ALICE, hour, 12),
        ]
        assert len(await queue.floods(MARA, hours=24, least=9)) == 3
        assert [each.count for each in await queue.floods(MARA, 72, 10, limit=1)] == [30]


@pytest.mark.asyncio
async def test_the_queue_is_filtered_by_what_reviewers_noted_and_by_age(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        queue = made.moderation.queue
        for hour in range(4):
            await _reported(made, (ALICE, CAROL)[hour % 2], time=NOW + hour * HOUR)
        await queue.assign(MARA, 2, "mara")
        await queue.note(MARA, 2, FINDINGS)

        async def numbers(**where: Any) -> list[int]:
            return [each.number for each in await queue.page(MARA, **where)]

        assert await numbers(reporter=ALICE) == [1, 3]
        assert await numbers(category="threat") == await numbers(evidence="verified") == [2]
        assert await numbers(until=NOW + 2 * HOUR) == [1, 2]
        assert await numbers(until=NOW + 2 * HOUR, state="open") == [1]
        assert await numbers(category="spam") == []


@pytest.mark.asyncio
async def test_pages_neither_repeat_nor_lose_what_changes_between_them(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        queue = made.moderation.queue
        await _reported(made, *[ALICE] * 6)
        first = await queue.page(MARA, limit=3, state="open")
        for number in (1, 2, 5):
            await queue.assign(MARA, number, "mara")
        await queue.release(MARA, 1)
        rest = await queue.page(MARA, first[-1].number, 3, state="open")
        assert [each.number for each in (*first, *rest)] == [1, 2, 3, 4, 6]


@pytest.mark.asyncio
async def test_the_backlog_is_what_waits_longest_first_and_says_who_is_gone(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as made:
        queue = made.moderation.queue
        for hour in range(4):
            await _reported(made, ALICE, time=NOW + hour * HOUR)
        await queue.assign(MARA, 1, "milo")
        await queue.assign(MARA, 3, "mara")
        del made.staff["milo"]
        found = await queue.backlog(MARA)
        assert [(each.state, each.assignee, each.count, each.gone) for each in found] == [
            ("in_review", "milo", 1, True),
            ("open", "", 2, False),
            ("in_review", "mara", 1, False),
        ]
        assert [each.oldest for each in found] == [NOW, NOW + HOUR, NOW + 2 * HOUR]
        with pytest.raises(Forbidden):
            await queue.backlog(PEOPLE["otto"])


@pytest.mark.asyncio
async def test_who_is_reported_by_most_people_comes_first(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        queue = made.moderation.queue
        await _reported(made, ALICE, ALICE, ALICE, BOB, CAROL)
        about = (BOB, BOB, BOB, CAROL, BOB)
        for number, account in enumerate(about, 1):
            await queue.assign(MARA, number, "mara")
            await queue.note(
                MARA, number, Findings(account=account, category="spam", evidence="claim")
            )
        found = await queue.pressed(MARA, least=1)
        seen = [(each.account, each.reports, each.reporters) for each in found]
        assert seen == [(BOB, 4, 2), (CAROL, 1, 1)]
        assert [each.account for each in await queue.pressed(MARA)] == [BOB]
