"""``louver mod``: the team's story by its own commands, against the API and a vault that checks."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from client.cli.mod_options import milliseconds
from client.commands import Terms
from client.moderation import entering, words
from client.moderation.asking import Office, Server
from client.moderation.desk import Desk
from client.moderation.post import Addresses, Post, Session
from crypto_modes import disclosure, grants
from crypto_modes.disclosure import Disclosure, Entered, Opened, Shown
from crypto_modes.errors import (
    BadArgument,
    BadConfig,
    ConnectionLost,
    GrantRefused,
    LouverError,
    Unauthorized,
)
from crypto_modes.verdicts import Finding
from server.hosting import Host
from server.moderation.api import PREFIX
from tests.moderation_office import PASSWORD, OfficeRig, office
from tests.moderation_rig import ALICE, BOB, KEYS, NOW, TALK, sealed
from tests.test_louver_cli import louver


class FakeVault:
    """Checks who calls, notes what was asked, and answers with two messages."""

    def __init__(self, api: OfficeRig) -> None:
        self._api = api
        self.calls: list[tuple[str, object]] = []

    def routes(self) -> list[Route]:
        return [
            Route(disclosure.OPEN, self.open, methods=["POST"]),
            Route(disclosure.REPORT, self.report, methods=["POST"]),
        ]

    async def _call(self, request: Request, kind: Any) -> Any:
        body = await request.body()
        header = disclosure.from_header(request.headers[disclosure.HEADER])
        # The clock of these commands is the machine's.
        person = grants.check_signed(
            header, request.url.path, body, self._api.roster.people(), header.time
        )
        call = disclosure.decode(body, kind)
        self.calls.append((person.name, call))
        return call

    async def open(self, request: Request) -> Response:
        call = await self._call(request, disclosure.OpenCall)
        given = {"id": bytes(16), "device": bytes(16), "recipient": BOB, "kind": "text"}
        shown = (
            Shown(
                seq=1, sender=ALICE, mode="tls", time=NOW, readable=True, text="hi\x1b[2J", **given
            ),
            Shown(
                seq=2, sender=BOB, mode="e2ee", time=NOW, readable=False, reason="no key", **given
            ),
        )
        assert call.approvals
        return _json(Disclosure(receipt=Entered(7, b"note"), records=shown))

    async def report(self, request: Request) -> Response:
        call = await self._call(request, disclosure.ReportCall)
        finding = Finding(id=bytes(16), state="verified", content=b"HARM-0007")
        return _json(
            Opened(
                receipt=Entered(8, b"note"),
                report=call.report,
                reporter=ALICE,
                reported=BOB,
                conversation=TALK,
                category="threat",
                words="help",
                created=NOW,
                time=NOW,
                findings=(finding, Finding(id=bytes(16), state="claim", content=b"x")),
                notes=(),
            )
        )


def _json(answer: object) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")


class Team:
    """People at their desks: each has a directory, and what was printed there."""

    def __init__(self, api: OfficeRig, vault: FakeVault, url: str, data: Path) -> None:
        self.api, self.vault, self.url, self.data = api, vault, url, data
        self.printed: list[str] = []

    def seat(self, name: str) -> Path:
        """Somebody who has joined and logged in."""
        place = self.data / name
        post = Post(place)
        if post.knows() is None:
            place.mkdir(mode=0o700)
            key = place / "staff.key"
            key.touch(0o600)
            key.write_bytes(KEYS[name].raw)
            post.remember(Addresses(name=name, url=self.url, vault=self.url))
        post.open(Session(token=self.api.tokens[name], expires=1 << 52))
        return place

    async def __call__(
        self, name: str, work: Callable[[Desk], None], as_json: bool = True
    ) -> list[str]:
        """What a command of ``name`` prints; the calls block, so they run beside the loop."""
        lines: list[str] = []
        terms = Terms(self.seat(name), as_json, lines.append)
        await asyncio.to_thread(lambda: work(Desk(terms)))
        self.printed += lines
        return lines


@pytest_asyncio.fixture
async def team(tmp_path: Path) -> AsyncIterator[Team]:
    (tmp_path / "data").mkdir()
    async with office(tmp_path / "data") as api:
        vault = FakeVault(api)
        app = Starlette(routes=[Mount(PREFIX, api.app), *vault.routes()])
        host = Host(app, "127.0.0.1", 0, section="internal")
        await host.start()
        yield Team(api, vault, f"http://127.0.0.1:{host.port}", tmp_path)
        await host.stop()


# --- the story ---


@pytest.mark.asyncio
async def test_a_report_is_taken_opened_noted_and_settled(team: Team) -> None:
    team.api.rig.relay.incoming.append(sealed(1))
    await team.api.rig.moderation.queue.sync()
    listed = await team("mara", lambda desk: desk.list("/reports", words.report), as_json=False)
    assert len(listed) == 1
    assert "open" in listed[0]
    await team("mara", lambda desk: desk.step("/reports/1", "assign", {"to": ""}))
    shown = await team("mara", lambda desk: desk.open_report(1, note=True), as_json=False)
    assert "   HARM-0007" in shown
    assert shown[-1] == "This is number 8 in the access log."
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


# --- coming to the desk ---


@pytest.mark.asyncio
async def test_joining_and_logging_in_by_the_commands(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, invite = await team.api.staff.invite(None, "nina", "nina n.", "moderator")
    monkeypatch.setenv(entering.INVITE, invite)
    monkeypatch.setenv(entering.PASSWORD, PASSWORD)
    place, lines = team.data / "nina", []
    terms = Terms(place, say=lines.append)
    team.api.rig.now = _machine_now()
    addresses = entering.known(terms, "nina", team.url, team.url, ("", ""))
    assert addresses is not None
    # The invitation was made by the rig's clock.
    await team.api.roster.put(
        msgspec.structs.replace(
            team.api.roster.get("nina"), version=2, invited=team.api.rig.now + 1000
        )
    )
    await asyncio.to_thread(entering.join, terms, addresses, password=True)
    assert any(line.startswith("otpauth://totp/") for line in lines)
    monkeypatch.setenv(entering.CODE, team.api.code("nina"))
    await asyncio.to_thread(entering.login, terms, None, token=False)
    assert lines[-1] == "Logged in as nina: moderator."
    for name in ("staff.json", "staff.key", "staff-session.json"):
        assert stat.S_IMODE((place / name).stat().st_mode) == 0o600
    kept = b"".join(path.read_bytes() for path in place.iterdir())
    assert PASSWORD.encode() not in kept
    assert invite.encode() not in kept
    await asyncio.to_thread(entering.who, terms)
    assert lines[-1] == "nina: moderator"
    await asyncio.to_thread(entering.logout, terms)
    with pytest.raises(Unauthorized):
        Post(place).session  # noqa: B018 - reading it is the test


def _machine_now() -> int:
    return milliseconds("0m")


@pytest.mark.asyncio
async def test_a_session_is_renewed_while_somebody_works(team: Team) -> None:
    place = team.seat("mara")
    before = Post(place).session
    # What the relay gives ends by the rig's clock, which is ahead of the machine's.
    Post(place).open(Session(token=before.token, expires=_machine_now() + 1000))
    await asyncio.to_thread(lambda: Office(Post(place)).get("/sessions/current"))
    after = Post(place).session
    assert after.token != before.token
    with pytest.raises(Unauthorized):
        team.api.sessions.find(before.token)
    assert team.api.sessions.find(after.token).person.name == "mara"


@pytest.mark.asyncio
async def test_a_request_without_an_answer_is_sent_once_more_and_done_once(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, sent = Server.ask, []

    def loses_the_first(self: Server, method: str, path: str, body: bytes, headers: Any) -> Any:
        answer = ask(self, method, path, body, headers)
        if method == "POST":
            sent.append(headers["Idempotency-Key"])
            if len(sent) == 1:
                raise ConnectionLost("no answer")
        return answer

    monkeypatch.setattr(Server, "ask", loses_the_first)
    opening = {"basis": "emergency", "reason": "tonight", "accounts": [BOB.hex()]}
    await team("sven", lambda desk: desk.open_case(opening, take=False))
    assert (len(sent), len(set(sent))) == (2, 1)
    people = team.api.roster.people()
    assert len(await team.api.rig.moderation.cases.page(people["sven"])) == 1


# --- errors are one sentence, and nothing is asked in the clear ---


@pytest.mark.parametrize(
    "url", ["http://relay.example", "ftp://127.0.0.1", "relay", "https://", "https://x/path"]
)
def test_nothing_is_asked_over_an_address_that_is_not_safe(url: str) -> None:
    with pytest.raises(BadArgument, match="https://HOST:PORT"):
        Server(url)


@pytest.mark.asyncio
async def test_refusals_are_errors_with_the_relays_words(team: Team) -> None:
    with pytest.raises(GrantRefused, match="a moderator may not ask hold"):
        await team("mara", lambda desk: desk.make("/holds", {}))
    with pytest.raises(LouverError, match="no such report"):
        await team("mara", lambda desk: desk.show("/reports/9"))
    with pytest.raises(BadArgument, match="body"):
        await team("lena", lambda desk: desk.make("/cases", {"basis": "whim"}))
    team.api.sessions.end(team.api.tokens["mara"])
    with pytest.raises(Unauthorized, match="log in"):
        await team("mara", lambda desk: desk.show("/reports/9"))


@pytest.mark.asyncio
async def test_the_command_line_says_what_to_do_and_ends_with_its_code(tmp_path: Path) -> None:
    home = tmp_path / "nobody"
    code, out, err = await louver("mod", "queue", "--home", home)
    assert (code, out) == (2, "")
    assert err.startswith(
        "louver: this profile is of nobody of the staff yet; run: louver mod join"
    )
    code, out, _ = await louver("mod", "keygen", "--home", home, "--json")
    assert code == 0
    assert Post(home).key().public.hex() == json.loads(out)["key"]
    Post(home).remember(Addresses(name="nina", url="http://127.0.0.1:1"))
    Post(home).open(Session(token="lvs_x", expires=1 << 52))
    code, _, err = await louver("mod", "case", "list", "--home", home)
    assert (code, err.startswith("louver: nobody answers at http://127.0.0.1:1")) == (3, True)
    code, _, err = await louver("mod", "read", "00", "--home", home)
    assert code == 3
    code, _, err = await louver("mod", "login", "--home", home)
    assert (code, f"set {entering.PASSWORD}" in err) == (2, True)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("2026-12-31", True),
        ("2026-12-31T12:00", True),
        ("90m", True),
        ("soon", False),
        ("1y", False),
    ],
)
def test_times_are_typed_as_people_write_them(text: str, what: bool) -> None:
    if what:
        assert milliseconds(text) > 1_700_000_000_000
    else:
        with pytest.raises(BadArgument, match="is no time"):
            milliseconds(text)
    assert milliseconds("") == 0


def test_a_broken_file_is_told_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "staff.json").write_text("{")
    with pytest.raises(BadConfig, match=r"staff\.json"):
        Post(tmp_path).knows()
