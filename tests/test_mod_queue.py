"""``louver mod``: many reports at once, for a team in which somebody is always away."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from client.cli.mod_options import before
from client.moderation import words
from client.moderation.asking import Office, Overtaken
from client.moderation.many import Many
from crypto_modes.errors import BadArgument
from crypto_modes.reports import SCANNER
from server.moderation.queue import Findings
from tests.moderation_rig import ALICE, BOB, CAROL, NOW, PEOPLE, emergency, sealed
from tests.moderation_team import Team, seated

STATEMENT = {"facts": "nothing of this happened", "rule": "No abuse of reports"}


@pytest_asyncio.fixture
async def team(tmp_path: Path) -> AsyncIterator[Team]:
    async with seated(tmp_path) as made:
        yield made


async def reported(team: Team, *reporters: bytes) -> None:
    """Reports 1 to n."""
    start = len(team.api.rig.relay.incoming) + 1
    team.api.rig.relay.incoming += [
        sealed(number, each, NOW + number) for number, each in enumerate(reporters, start)
    ]
    await team.api.rig.moderation.queue.sync()


async def states(team: Team) -> list[str]:
    found = await team.api.rig.moderation.queue.page(PEOPLE["mara"], limit=200)
    return [each.state for each in found]


# --- a flood ---


@pytest.mark.asyncio
async def test_a_flood_of_one_source_is_dismissed_one_by_one(team: Team) -> None:
    await reported(team, ALICE, BOB, ALICE, ALICE)
    made, before_that = team.api.rig, len(team.api.rig.log.entries)
    done = await team(
        "mara", lambda desk: desk.dismiss_all(STATEMENT, ask=False, reporter=ALICE.hex())
    )
    assert [json.loads(each) for each in done] == [{"done": number} for number in "134"]
    assert await states(team) == ["dismissed", "open", "dismissed", "dismissed"]
    # Each has its own entry with its own reasons, and its own notice.
    taken = [each for each in made.log.entries[before_that:] if each.kind == "action"]
    assert [each.detail["report"] for each in taken] == ["1", "3", "4"]
    assert {(each.actor, each.detail["rule"]) for each in taken} == {("mara", STATEMENT["rule"])}
    assert len(await made.moderation.notices.of(ALICE)) == 3


@pytest.mark.asyncio
async def test_what_lies_before_oneself_is_dismissed_with_it_and_others_work_is_not(
    team: Team,
) -> None:
    await reported(team, ALICE, BOB, CAROL, ALICE)
    queue = team.api.rig.moderation.queue
    for number, who in ((1, "mara"), (2, "mara"), (3, "milo")):
        await queue.assign(PEOPLE[who], number, who)
        found = Findings(account=CAROL, category="spam", evidence="claim")
        await queue.note(PEOPLE[who], number, found)
    await team("mara", lambda desk: desk.dismiss_all(STATEMENT, ask=False, account=CAROL.hex()))
    assert await states(team) == ["dismissed", "dismissed", "in_review", "open"]


@pytest.mark.asyncio
async def test_what_somebody_else_took_meanwhile_is_left_to_him(
    team: Team, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await reported(team, *[SCANNER] * 3)
    pages = Office.pages

    def stale(self: Office, path: str, **query: object) -> Any:
        """As they were listed before Milo took the second."""
        return iter(
            [{**each, "version": 1} for each in pages(self, path, **{**query, "state": ""})]
        )

    queue = team.api.rig.moderation.queue
    await queue.assign(PEOPLE["milo"], 2, "milo")
    with monkeypatch.context() as patched:
        patched.setattr(Office, "pages", stale)
        await team(
            "mara", lambda desk: desk.dismiss_all(STATEMENT, ask=False, reporter=SCANNER.hex())
        )
    assert await states(team) == ["dismissed", "in_review", "dismissed"]
    assert (await queue.get(PEOPLE["mara"], 2)).assignee == "milo"
    assert "2: left as it is" in capsys.readouterr().err


@pytest.mark.asyncio
async def test_nothing_is_dismissed_at_large_or_unasked(
    team: Team, capsys: pytest.CaptureFixture[str]
) -> None:
    await reported(team, ALICE)
    with pytest.raises(BadArgument, match="--reporter"):
        await team("mara", lambda desk: desk.dismiss_all(STATEMENT, ask=False, reporter=""))
    with pytest.raises(BadArgument, match="--yes"):
        await team("mara", lambda desk: desk.dismiss_all(STATEMENT, ask=True, reporter=ALICE.hex()))
    assert "1 reports." in capsys.readouterr().err
    assert await states(team) == ["open"]


@pytest.mark.asyncio
async def test_one_action_settles_what_else_lies_before_oneself_about_the_same(team: Team) -> None:
    await reported(team, ALICE, CAROL, CAROL)
    queue = team.api.rig.moderation.queue
    for number, who in ((1, "mara"), (2, "mara"), (3, "milo")):
        await queue.assign(PEOPLE[who], number, who)
        found = Findings(account=BOB, category="spam", evidence="claim")
        await queue.note(PEOPLE[who], number, found)
    body = {"kind": "warn", "account": BOB.hex(), "statement": STATEMENT}
    (acted,) = await team("mara", lambda desk: desk.step("/reports/1", "action", body))
    action = json.loads(acted)["id"]
    assert await team("mara", lambda desk: desk.settle(action), False) == ["2 done"]
    assert await states(team) == ["actioned", "actioned", "in_review"]


# --- who is away ---


@pytest.mark.asyncio
async def test_the_work_of_who_is_away_is_handed_over_or_free_again(
    team: Team, capsys: pytest.CaptureFixture[str]
) -> None:
    await reported(team, ALICE, BOB, CAROL)
    queue, cases = team.api.rig.moderation.queue, team.api.rig.moderation.cases
    for number in (1, 2):
        await queue.assign(PEOPLE["mara"], number, "sven")
    case = await team.api.rig.opened("sven", emergency())
    await team("sara", lambda desk: desk.hand_over("sven", "saul"))
    found = await queue.page(PEOPLE["mara"])
    assert [each.assignee for each in found] == ["saul", "saul", ""]
    assert (await cases.get(PEOPLE["mara"], case.id)).assignee == "saul"
    await team("sara", lambda desk: desk.hand_over("saul", ""))
    assert await states(team) == ["open", "open", "open"]
    assert (await cases.get(PEOPLE["mara"], case.id)).state == "open"
    assert capsys.readouterr().err == ""
    await team("sara", lambda desk: desk.hand_over("svne", ""))
    assert "Nothing lies before svne" in capsys.readouterr().err


@pytest.mark.asyncio
async def test_the_backlog_names_who_is_gone_with_reports_before_him(team: Team) -> None:
    await reported(team, ALICE, BOB, CAROL)
    queue = team.api.rig.moderation.queue
    await queue.assign(PEOPLE["mara"], 2, "milo")
    await team.api.staff.remove(PEOPLE["adam"], "milo")
    free, held = await team("mara", lambda desk: desk.all("/reports/backlog", words.backlog), False)
    assert free.startswith("     2  open, the oldest ")
    assert "1  in review with milo, the oldest" in held
    assert held.endswith("nobody of the staff: louver mod hand-over milo")


# --- lists and what comes next ---


@pytest.mark.asyncio
async def test_two_who_ask_for_the_next_get_two(
    team: Team, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await reported(team, ALICE, BOB)
    queue, assign = team.api.rig.moderation.queue, Many._assign

    def late(self: Many, kind: str, key: str | int, version: int, to: str) -> str:
        """Milo is faster by one step."""
        if key == 1 and to == "mara":
            assign(self, kind, key, version, "milo")
        return assign(self, kind, key, version, to)

    monkeypatch.setattr(Many, "_assign", late)
    (shown,) = await team("mara", lambda desk: desk.next(note=True))
    found = await queue.page(PEOPLE["mara"])
    assert [each.assignee for each in found] == ["milo", "mara"]
    assert found[1].account == BOB
    assert json.loads(shown)["number"] == 2
    await team("mara", lambda desk: desk.next(note=True))
    assert "Nothing is open" in capsys.readouterr().err


@pytest.mark.asyncio
async def test_a_long_queue_ends_where_it_is_told_and_says_how_to_go_on(
    team: Team, capsys: pytest.CaptureFixture[str]
) -> None:
    await reported(team, *[ALICE] * 5)
    first = await team("mara", lambda desk: desk.reports(3, state="open"))
    assert [json.loads(each)["number"] for each in first] == [1, 2, 3]
    assert "--after 3" in capsys.readouterr().err
    rest = await team("mara", lambda desk: desk.reports(3, 3, state="open"), False)
    assert [each.split()[0] for each in rest] == ["4", "5"]
    assert capsys.readouterr().err == ""
    assert len(await team("mara", lambda desk: desk.reports(0))) == 5


@pytest.mark.asyncio
async def test_accounts_that_many_report_are_named(team: Team) -> None:
    await reported(team, ALICE, CAROL, CAROL)
    queue = team.api.rig.moderation.queue
    for number in (1, 2, 3):
        await queue.assign(PEOPLE["mara"], number, "mara")
        found = Findings(account=BOB, category="threat", evidence="verified")
        await queue.note(PEOPLE["mara"], number, found)
    (line,) = await team(
        "mara", lambda desk: desk.named("/reports/pressed", "account", words.pressed), False
    )
    assert line.startswith(f"bob ({BOB.hex()})  3 unsettled reports by 2 people, the oldest ")


@pytest.mark.asyncio
async def test_the_transparency_report_is_read_by_who_may(team: Team) -> None:
    await reported(team, ALICE)
    span = {"first": NOW, "end": NOW + 1}
    lines = await team("anna", lambda desk: desk.numbers(span), False)
    assert "reports, received: 1" in lines


@pytest.mark.asyncio
async def test_what_was_overtaken_says_so(team: Team) -> None:
    await reported(team, ALICE)
    with pytest.raises(Overtaken, match="not possible"):
        await team("mara", lambda desk: desk.step("/reports/1", "release"))


def test_a_time_ago_is_before_now() -> None:
    assert 0 < before("24h") < before("1h") < before("0m")
    assert before("2020-01-01") < before("7d")
    assert before("") == 0
