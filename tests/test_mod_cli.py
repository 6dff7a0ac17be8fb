"""``louver mod``: the team's story by its own commands, and what is signed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from client.moderation import words
from client.moderation.asking import Office
from crypto_modes import disclosure, grants
from crypto_modes.errors import (
    BadArgument,
    ConnectionLost,
    GrantRefused,
)
from crypto_modes.reports import SCANNER
from tests.moderation_rig import ALICE, BOB, NOW, TALK, sealed
from tests.moderation_team import Team, seated


@pytest_asyncio.fixture
async def team(tmp_path: Path) -> AsyncIterator[Team]:
    async with seated(tmp_path) as made:
        yield made


# --- the story ---


@pytest.mark.asyncio
async def test_a_report_is_taken_opened_noted_and_settled(team: Team) -> None:
    team.api.rig.relay.incoming.append(sealed(1))
    await team.api.rig.moderation.queue.sync()
    listed = await team("mara", lambda desk: desk.list("/reports", words.report), as_json=False)
    assert len(listed) == 1
    assert "open" in listed[0]
    taken = await team("mara", lambda desk: desk.step("/reports/1", "assign", {"to": ""}), False)
    assert "number: 1" in taken
    shown = await team("mara", lambda desk: desk.open_report(1, note=True), as_json=False)
    assert shown[0].startswith("Report 1 (")
    assert "   HARM-0007" in shown
    assert f"  by           alice ({ALICE.hex()})" in shown
    assert f"  conversation {TALK.hex()}" in shown
    assert "#7 VERIFIED" in shown
    assert shown[-2] == "This is number 8 in the access log."
    assert shown[-1] == "1 reports about this account by 1 people: 1 in review."
    assert team.vault.calls == [("mara", disclosure.ReportCall((1).to_bytes(16, "big"), bytes(16)))]
    (noted,) = await team("mara", lambda desk: desk.show("/reports/1"))
    found = json.loads(noted)
    assert (found["account"], found["category"], found["evidence"]) == (
        BOB.hex(),
        "threat",
        "claim",
    )
    body = {"kind": "warn", "account": BOB.hex(), "statement": {"facts": "f", "rule": "r"}}
    await team("mara", lambda desk: desk.step("/reports/1", "action", body))
    assert team.api.rig.relay.applied == [("warn", BOB, True)]
    mine = await team("mara", lambda desk: desk.list("/reports", words.report, assignee="me"))
    assert json.loads(mine[0])["state"] == "actioned"


@pytest.mark.asyncio
async def test_a_grant_is_shown_whole_signed_by_two_and_read_at_the_vault(
    team: Team, capsys: pytest.CaptureFixture[str]
) -> None:
    opening = {
        "basis": "legal_request",
        "reason": "order of a court",
        "authority": "Amtsgericht",
        "reference": "12/26",
        "country": "DE",
        "served": NOW - 1,
        "due": NOW + 1,
        "gag": 0,
        "accounts": [BOB.hex()],
    }
    (case,) = await team("lena", lambda desk: desk.open_case(opening, take=True))
    assert json.loads(case)["assignee"] == "lena"
    asking = {
        "case": json.loads(case)["id"],
        "conversation": TALK.hex(),
        "first": 1,
        "last": 10,
        "expires": NOW + 600_000,
        "reason": "what was said\x1b[31m",
    }
    (asked,) = await team("lena", lambda desk: desk.ask(asking))
    grant = json.loads(asked)["id"]
    for who in ("sven", "sara"):
        await team(who, lambda desk: desk.approve(grant, ask=False))
    said = capsys.readouterr().err
    for part in (
        "lena asks to read 10 message(s), 1 to 10",
        TALK.hex(),
        "what was said\ufffd[31m",
        "authority: Amtsgericht",
        "Approved by nobody yet; it needs 2",
        "Approved by sven; it needs 2",
    ):
        assert part in said
    lines = await team("lena", lambda desk: desk.read(grant), as_json=False)
    assert "hi\ufffd[2J" in lines[0]
    assert f" alice ({ALICE.hex()}) " in lines[0]
    assert "(not readable: no key)" in lines[1]
    assert lines[-2:] == [
        "2 messages, 1 of them not readable.",
        "This is number 7 in the access log.",
    ]
    who, call = team.vault.calls[-1]
    assert (who, isinstance(call, disclosure.OpenCall)) == ("lena", True)
    assert isinstance(call, disclosure.OpenCall)
    people = team.api.roster.people()
    assert {each.name for each in grants.check(call.grant, call.approvals, people, NOW)} == {
        "sven",
        "sara",
    }


@pytest.mark.asyncio
async def test_a_hold_is_asked_for_and_approved(team: Team) -> None:
    opening = {
        "basis": "preservation",
        "reason": "keep",
        "authority": "a",
        "reference": "1",
        "country": "DE",
        "served": NOW - 1,
        "due": NOW + 1,
        "accounts": [BOB.hex()],
    }
    (case,) = await team("lena", lambda desk: desk.open_case(opening, take=True))
    order = {"case": json.loads(case)["id"], "target": "account", "place": BOB.hex(), "reason": "r"}
    (hold,) = await team("lena", lambda desk: desk.make("/holds", order))
    id_ = json.loads(hold)["id"]
    for who in ("sven", "sara"):
        (shown,) = await team(who, lambda desk: desk.approve_hold(id_, ask=False))
    assert json.loads(shown)["state"] == "in_force"
    await team("lena", lambda desk: desk.step(f"/holds/{id_}", "lift", {"reason": "over"}))
    for who in ("sven", "sara"):
        (shown,) = await team(who, lambda desk: desk.approve_hold(id_, ask=False))
    assert json.loads(shown)["state"] == "lifted"
    assert team.api.rig.relay.held == [(BOB, True), (BOB, False)]


# --- what is signed is what was asked for ---


@pytest.mark.asyncio
async def test_nothing_is_signed_that_is_not_what_was_shown(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay that shows one grant under another's id gets no signature for it."""
    case = await team.api.rig.opened("lena")
    asked = await team.api.rig.moderation.granting.ask(
        team.api.roster.people()["lena"], team.api.rig.grant(case)
    )
    get = Office.get

    def lying(self: Office, path: str, **query: object) -> Any:
        answer = get(self, path, **query)
        if "/grants/" not in path:
            return answer
        changed = answer.json
        changed["grant"]["last"] = 500
        return answer._replace(body=json.dumps(changed).encode())

    monkeypatch.setattr(Office, "get", lying)
    with pytest.raises(GrantRefused, match="another grant"):
        await team("sven", lambda desk: desk.approve(asked.id.hex(), ask=False))
    assert (
        await team.api.rig.moderation.granting.get(team.api.roster.people()["sven"], asked.id)
    ).approvals == ()


@pytest.mark.asyncio
async def test_without_a_yes_nothing_is_signed(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    case = await team.api.rig.opened("lena")
    sven = team.api.roster.people()["sven"]
    asked = await team.api.rig.moderation.granting.ask(
        team.api.roster.people()["lena"], team.api.rig.grant(case)
    )
    for typed in ("n\n", "\n", ""):
        monkeypatch.setattr("sys.stdin", Typed(typed))
        assert await team("sven", lambda desk: desk.approve(asked.id.hex(), ask=True)) == []
    assert (await team.api.rig.moderation.granting.get(sven, asked.id)).approvals == ()
    monkeypatch.setattr("sys.stdin", Typed("y\n"))
    await team("sven", lambda desk: desk.approve(asked.id.hex(), ask=True))
    assert len((await team.api.rig.moderation.granting.get(sven, asked.id)).approvals) == 1
    monkeypatch.setattr("sys.stdin", Typed("y\n", terminal=False))
    with pytest.raises(BadArgument, match="--yes"):
        await team("sara", lambda desk: desk.approve(asked.id.hex(), ask=True))


class Typed:
    """What somebody types."""

    def __init__(self, text: str, *, terminal: bool = True) -> None:
        self._text, self._terminal = text, terminal

    def isatty(self) -> bool:
        return self._terminal

    def readline(self) -> str:
        return self._text


def test_what_a_list_found_is_not_said_to_be_an_account() -> None:
    report = {
        "number": 3,
        "time": NOW,
        "state": "open",
        "assignee": "",
        "category": "",
        "settled": 0,
    }
    line = words.report({**report, "messages": 1, "reporter": SCANNER.hex()})
    assert "found by a list" in line
    assert "found by a list" not in words.report({**report, "messages": 1, "reporter": BOB.hex()})


def test_a_list_of_records_is_put_as_records() -> None:
    approvals = [{"approver": "sven", "signature": "00"}, {"approver": "sara", "signature": "01"}]
    assert list(words.fields({"approvals": approvals, "accounts": ["a", "b"]})) == [
        "approvals:",
        "  approver: sven",
        "  signature: 00",
        "  approver: sara",
        "  signature: 01",
        "accounts: a, b",
    ]


@pytest.mark.asyncio
async def test_what_was_opened_is_shown_where_the_relay_says_no_names(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    team.api.rig.relay.incoming.append(sealed(1))
    await team.api.rig.moderation.queue.sync()
    await team("mara", lambda desk: desk.step("/reports/1", "assign", {"to": ""}))
    get = Office.get

    def mute(self: Office, path: str, **query: object) -> Any:
        if path.startswith("/accounts"):
            raise ConnectionLost("nobody answers")
        return get(self, path, **query)

    monkeypatch.setattr(Office, "get", mute)
    shown = await team("mara", lambda desk: desk.open_report(1, note=True), as_json=False)
    assert "   HARM-0007" in shown
    assert f"  by           {ALICE.hex()}" in shown
