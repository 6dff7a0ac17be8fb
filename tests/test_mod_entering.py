"""``louver mod``: joining, sessions, addresses, and errors as the team meets them."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from jwt.algorithms import OKPAlgorithm

from client.cli.mod_options import milliseconds
from client.commands import Terms
from client.moderation import entering
from client.moderation.asking import Office, Server, Vault
from client.moderation.post import Addresses, Post, Session
from crypto_modes import disclosure
from crypto_modes.disclosure import ShareCall, Sharing
from crypto_modes.errors import (
    BadArgument,
    BadConfig,
    ConnectionLost,
    GrantRefused,
    LouverError,
    Unauthorized,
)
from tests.moderation_office import PASSWORD
from tests.moderation_rig import BOB
from tests.moderation_team import Team, seated
from tests.test_jwks import ED, entry, known, token
from tests.test_louver_cli import louver


@pytest_asyncio.fixture
async def team(tmp_path: Path) -> AsyncIterator[Team]:
    async with seated(tmp_path) as made:
        yield made


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


@pytest.mark.asyncio
async def test_an_id_token_of_the_provider_logs_in_and_one_for_another_program_does_not(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real tokens: signed, and checked by the keys that the provider publishes."""
    provider = known(entry(OKPAlgorithm, ED, kid="ed"), issuer="https://id", audience="louver-mod")
    monkeypatch.setattr(team.api.staff, "_provider", provider)
    lines: list[str] = []
    terms = Terms(team.seat("milo"), say=lines.append)
    fits = {"sub": "milo m.", "iss": "https://id", "aud": "louver-mod"}
    for wrong in ({"aud": "chat"}, {"iss": "https://other"}, {"sub": "stranger"}, {"exp": 1}):
        monkeypatch.setenv(entering.ID_TOKEN, token(**{**fits, **wrong}))
        with pytest.raises(Unauthorized):
            await asyncio.to_thread(entering.login, terms, None, token=True)
    monkeypatch.setenv(entering.ID_TOKEN, token(**fits))
    await asyncio.to_thread(entering.login, terms, None, token=True)
    assert lines == ["Logged in as milo: moderator."]


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


# --- officers ---


def test_a_share_is_handed_in_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    handed: list[object] = []

    def call(_: Vault, place: str, call: object, answer: type[Sharing]) -> Sharing:
        assert (place, answer) == (disclosure.SHARES, Sharing)
        handed.append(call)
        return Sharing(2, 3)

    monkeypatch.setattr(Vault, "call", call)
    post = Post(tmp_path)
    post.key(make=True)
    post.remember(Addresses(name="sven", url="http://127.0.0.1:1", vault="http://127.0.0.1:2"))
    (tmp_path / "share-2-of-5.txt").write_text("lvs_abc\n")
    terms = Terms(tmp_path, say=lines.append)
    entering.share(terms, tmp_path / "share-2-of-5.txt")
    assert handed == [ShareCall("lvs_abc")]
    assert lines == ["2 of 3 shares are there."]
    (tmp_path / "picture").write_bytes(b"\xff\xd8")
    for wrong, why in (("picture", "holds no share"), ("nothing", "cannot read")):
        with pytest.raises(BadArgument, match=why):
            entering.share(terms, tmp_path / wrong)
    assert len(handed) == 1
