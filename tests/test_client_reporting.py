"""Reporting from end to end: the user's client, the relay, the team's files, the verdicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from client import Chat, Message
from client.verifying import Platform, Verified, lines, objects, preview, verify
from crypto_modes import reports, wire
from crypto_modes.errors import (
    BadArgument,
    BadConfig,
    CannotOpen,
    ConnectionLost,
    Forbidden,
    KeyChanged,
    KeyRefused,
    ReportRefused,
)
from server import team
from tests.conftest import Running, StartRelay
from tests.test_client import enter, take, texts
from tests.test_client_trust import meddle
from tests.test_louver_cli import louver, register
from tests.test_reports_relay import keys, with_team

__all__ = ["keys"]  # a fixture


def here(relay: Running) -> dict[str, Any]:
    """How to ask this relay."""
    port = relay.app.internal.port
    return {"confirm": f"http://127.0.0.1:{port}", "token": relay.data / "admin.token"}


async def exported(relay: Running, tmp_path: Path) -> list[Path]:
    await team.export(relay.app.settings, tmp_path / "exported")
    return sorted((tmp_path / "exported").iterdir())


async def judged(file: Path, keys: Path, platform: Platform) -> Verified:
    """In a thread, as the relay that is asked runs in this one."""
    import asyncio

    return await asyncio.to_thread(verify, file, keys / "team.key", platform)


async def insulted(alice: Chat, bob: Chat, *said: str) -> list[Message]:
    for text in said:
        await alice.send("bob", text)
    return await take(bob, len(said))


# --- end to end ---


@pytest.mark.asyncio
async def test_what_a_user_reports_the_team_can_believe(
    start_relay: StartRelay, keys: Path, tmp_path: Path
) -> None:
    relay = await with_team(start_relay, keys, "e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        messages = await insulted(alice, bob, "one", "two", "three", "four")
        filed = await bob.reports.send([messages[1], messages[3]], "threat", "since May")
        assert filed.blocked is False
        await alice.send("bob", "not blocked")
        assert texts(await take(bob)) == ["not blocked"]
        reported = alice.account, bob.account
    (file,) = await exported(relay, tmp_path)
    for platform in (Platform(relay.data / "franking"), Platform(**here(relay))):
        found = await judged(file, keys, platform)
        assert found.proven
        assert (found.sealed.id, found.sealed.time) == (filed.id, filed.time)
        assert (found.report.reported, found.report.reporter) == reported
        assert [each.content for each in found.findings] == [b"two", b"four"]
        assert [(note.kind, note.count) for note in found.notes] == [("earlier", 1), ("omitted", 1)]
    for content in (b"two", b"since May", reported[0]):
        assert content not in file.read_bytes()


@pytest.mark.parametrize("mode", ["tls", "at_rest"])
@pytest.mark.asyncio
async def test_in_the_other_modes_only_the_relay_can_confirm(
    start_relay: StartRelay, keys: Path, tmp_path: Path, mode: str
) -> None:
    relay = await with_team(start_relay, keys, mode)
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        (first,) = await insulted(alice, bob, "one")
        await alice.send("bob", "two", reply_to=first.id)
        second = await take(bob)
        await bob.reports.send([first, *second], "spam")
    (file,) = await exported(relay, tmp_path)
    found = await judged(file, keys, Platform(**here(relay)))
    assert [each.state for each in found.findings] == ["confirmed", "confirmed"]
    assert [each.content for each in found.findings] == [b"one", b"two"]
    assert found.findings[1].reply_to == first.id
    for platform in (Platform(), Platform(relay.data / "franking")):
        claimed = await judged(file, keys, platform)
        assert [each.state for each in claimed.findings] == ["claim", "claim"]
        assert not claimed.proven


@pytest.mark.attack(41)
@pytest.mark.asyncio
async def test_a_client_that_lies_is_not_believed(
    start_relay: StartRelay, keys: Path, tmp_path: Path
) -> None:
    """Another text, another sender, in every mode; each as well sealed as an honest one."""
    for mode in ("tls", "e2ee"):
        relay = await with_team(start_relay, keys, mode)
        async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
            said, other = await insulted(alice, bob, "hello", "bye")
            forged = msgspec.structs.replace(said, content=b"I will find you")
            if said.evidence is not None:
                evidence = msgspec.structs.replace(said.evidence, key=bytes(32))
                forged = msgspec.structs.replace(forged, evidence=evidence)
            framed = msgspec.structs.replace(other, sender=b"somebody-else-03")
            for lie in (forged, framed):
                await bob.reports.send([lie], "threat")
        for file in await exported(relay, tmp_path / mode):
            found = await judged(file, keys, Platform(**here(relay)))
            assert [each.state for each in found.findings] == ["refused"]
            assert found.findings[0].content == b""


@pytest.mark.attack(41)
@pytest.mark.asyncio
async def test_expired_months_are_refused_even_with_a_kept_key(
    start_relay: StartRelay, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = await with_team(start_relay, keys, "e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        messages = await insulted(alice, bob, "one")
        await bob.reports.send(messages, "other")
    (file,) = await exported(relay, tmp_path)
    later = messages[0].time + 130 * 86_400_000
    monkeypatch.setattr("client.verifying.now_ms", lambda: later)
    found = await judged(file, keys, Platform(relay.data / "franking"))
    assert [each.state for each in found.findings] == ["refused"]
    assert "expired" in found.findings[0].reason
    monkeypatch.undo()
    empty = tmp_path / "empty"
    empty.mkdir()
    found = await judged(file, keys, Platform(empty))
    assert [each.state for each in found.findings] == ["claim"]


# --- choosing and sending ---


@pytest.mark.asyncio
async def test_reporting_and_blocking_are_two_things(start_relay: StartRelay, keys: Path) -> None:
    relay = await with_team(start_relay, keys, "e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        messages = await insulted(alice, bob, "one")
        assert (await bob.reports.send(messages, "spam", also_block=True)).blocked
        with pytest.raises(Forbidden):
            await alice.send("bob", "hello?")
        with pytest.raises(Forbidden, match="reported message 1"):
            await bob.reports.send(messages, "spam")


@pytest.mark.asyncio
async def test_only_what_was_received_and_opened_is_reported(
    start_relay: StartRelay, keys: Path
) -> None:
    relay = await with_team(start_relay, keys, "e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        (message,) = await insulted(alice, bob, "one")
        await bob.send("alice", "stop it")
        (mine,) = [each for each in await bob.history("alice") if each.own]
        replaced = msgspec.structs.replace
        for wrong, words in (
            (mine, "not your own"),
            (replaced(message, warnings=("no_copy",)), "could not open"),
            (replaced(message, evidence=None), "no proof"),
        ):
            with pytest.raises(BadArgument, match=words):
                bob.reports.compose([wrong], "spam")
        with pytest.raises(BadArgument, match="nothing to report"):
            bob.reports.compose([], "spam")
        received = await bob.reports.received("alice")
        assert texts(received) == ["one"]


@pytest.mark.asyncio
async def test_another_key_for_the_team_stops_reports_until_it_was_compared(
    start_relay: StartRelay, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = await with_team(start_relay, keys, "e2ee")
    other = tmp_path / "other"
    _, public, shown = team.keygen(other)
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        messages = await insulted(alice, bob, "one", "two", "three")
        assert (await bob.reports.team()).state == "first"
        with pytest.raises(KeyRefused, match="not the one that"):
            await bob.reports.send(messages[:1], "spam", team=shown)
        await bob.reports.send(messages[:1], "spam")
        assert (await bob.reports.team()).state == "known"

        async def lying(request: Any, honest: Any) -> Any:
            if isinstance(request, wire.GetTeam):
                return wire.Team(ref=0, key=public.read_bytes())
            return await honest(request)

        meddle(bob, monkeypatch, lying)
        assert (await bob.reports.team()).state == "changed"
        with pytest.raises(KeyChanged, match=shown[:9]):
            await bob.reports.send(messages[1:2], "spam")
        await bob.reports.send(messages[1:2], "spam", team=shown.upper())
        await bob.reports.send(messages[2:], "spam")
    files = await exported(relay, tmp_path)
    with pytest.raises(CannotOpen, match="another key"):
        await judged(files[1], keys, Platform())
    assert (await judged(files[1], other, Platform())).report.items[0].seq == 2


@pytest.mark.asyncio
async def test_a_relay_without_a_team_or_with_nonsense_for_its_key(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = await start_relay("e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        messages = await insulted(alice, bob, "one")
        with pytest.raises(Forbidden, match="no moderation team"):
            await bob.reports.send(messages, "spam")

        async def nonsense(request: Any, honest: Any) -> Any:
            return wire.Team(ref=0, key=bytes(1216))

        meddle(bob, monkeypatch, nonsense)
        with pytest.raises(KeyRefused):
            await bob.reports.team()


# --- in words ---


@pytest.mark.asyncio
async def test_words_for_reporters_and_moderators(
    start_relay: StartRelay, keys: Path, tmp_path: Path
) -> None:
    relay = await with_team(start_relay, keys, "e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        messages = await insulted(alice, bob, "harm\x1b[2J", "gone", "more")
        report = bob.reports.compose([messages[0], messages[2]], "hate", "please\x1b[2J help")
        told = "\n".join(preview(report))
        assert "harm\ufffd[2J" in told
        assert "\x1b" not in told
        assert "proof" in told
        assert "gone" not in told
        await bob.reports.send([messages[0], messages[2]], "hate", "please\x1b[2J help")
    (file,) = await exported(relay, tmp_path)
    found = await judged(file, keys, Platform(relay.data / "franking"))
    shown = "\n".join(lines(found))
    assert "\x1b" not in shown
    assert shown.count("VERIFIED") == 2
    assert "1 message(s) of the same device before number 3 were left out" in shown
    head, first, _ = map(json.loads, objects(found))
    assert (head["proven"], head["category"], head["notes"][0][0]) == (True, "hate", "omitted")
    assert (first["verdict"], first["text"]) == ("verified", "harm\x1b[2J")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "no sealed report"),
        (b"{}", "no sealed report"),
        (b'{"louver":"report/2"}', "no sealed report"),
        (b"[" * 100_000, "large"),
        (b"\xff", "no sealed report"),
    ],
)
def test_files_that_are_no_reports(tmp_path: Path, raw: bytes, words: str) -> None:
    with pytest.raises(ReportRefused, match=words):
        reports.Sealed.from_json(raw)
    file = tmp_path / "x.report"
    team.keygen(tmp_path)
    file.write_bytes(raw)
    with pytest.raises(ReportRefused):
        verify(file, tmp_path / "team.key", Platform())
    with pytest.raises(BadConfig):
        verify(tmp_path / "missing", tmp_path / "team.key", Platform())


@pytest.mark.asyncio
async def test_a_relay_that_does_not_answer_is_no_verdict(
    start_relay: StartRelay, keys: Path, tmp_path: Path, unused_tcp_port: int
) -> None:
    relay = await with_team(start_relay, keys, "e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await bob.reports.send(await insulted(alice, bob, "one"), "spam")
    (file,) = await exported(relay, tmp_path)
    wrong = tmp_path / "wrong"
    wrong.write_text("lva_wrong")
    good = here(relay)
    for error, asked in (
        (ConnectionLost, good | {"confirm": f"http://127.0.0.1:{unused_tcp_port}"}),
        (ConnectionLost, good | {"token": wrong}),
        (BadArgument, good | {"token": None}),
        (BadArgument, good | {"confirm": "https://x"}),
        (BadConfig, good | {"token": tmp_path / "missing"}),
    ):
        with pytest.raises(error):
            await judged(file, keys, Platform(**asked))


# --- the command line ---


@pytest.mark.asyncio
async def test_the_commands_from_report_to_verdict(
    start_relay: StartRelay, keys: Path, tmp_path: Path
) -> None:
    relay = await with_team(start_relay, keys, "e2ee", tls=True)
    alice, bob = tmp_path / "alice", tmp_path / "bob"
    await register(relay, "alice", alice)
    await register(relay, "bob", bob)
    for text in ("one", "two"):
        assert (await louver("send", "--to", "bob", text, "--home", alice))[0] == 0
    code, out, _ = await louver("history", "--with", "alice", "--json", "--home", bob)
    ids = [json.loads(line)["id"] for line in out.splitlines()]
    send = ("report", "send", "--with", "alice", "--category", "threat", "--home", bob)
    code, out, err = await louver(*send, "--message", ids[1])
    assert (code, "add --yes" in err) == (2, True)
    assert '"' not in out.splitlines()[0]
    assert "two" in out
    assert "seen for the first time" in out
    for arguments, words in (
        (("--message", "99"), "no message '99'"),
        (("--message", "1", "--category", "rude"), "--category is one of"),
    ):
        code, _, err = await louver(*send, *arguments, "--yes")
        assert (code, words in err) == (2, True)
    code, out, err = await louver(*send, "--message", "2", "--words", "w", "--yes", "--block")
    assert (code, err) == (0, "")
    assert "alice is blocked" in out
    (file,) = await exported(relay, tmp_path)
    check = ("report", "verify", file, "--key", keys / "team.key")
    code, out, _ = await louver(*check, "--franking-keys", relay.data / "franking")
    assert (code, "VERIFIED" in out) == (0, True)
    code, out, _ = await louver(*check, "--json")
    assert code == 5
    assert json.loads(out.splitlines()[1])["verdict"] == "claim"
    code, _, err = await louver("report", "verify", file, "--key", relay.data / "kek")
    assert (code, "does not open" in err) == (5, True)
    (tmp_path / "none").write_text("{}")
    code, _, err = await louver("report", "verify", tmp_path / "none", "--key", keys / "team.key")
    assert (code, "no sealed report" in err) == (5, True)
