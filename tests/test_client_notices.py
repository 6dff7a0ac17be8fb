"""Notices, appeals and removed messages as users meet them: library, commands, words."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from client import Chat, notice_words
from client.wording import line
from crypto_modes import wire
from crypto_modes.errors import BadArgument, Forbidden, LimitExceeded
from crypto_modes.policy import conversation_id
from tests.conftest import StartRelay
from tests.moderation_rig import PEOPLE
from tests.test_client import enter, every_mode, first, take, texts
from tests.test_effects import act, at_work, undo
from tests.test_louver_cli import louver, register

ACTION = b"\xac" * 16


async def _told(chat: Chat) -> wire.Notices:
    found = await first(chat, lambda event: isinstance(event, wire.Notices))
    assert isinstance(found, wire.Notices)
    return found


@pytest.mark.asyncio
async def test_a_chat_hears_of_a_warning_reads_it_and_objects(start_relay: StartRelay) -> None:
    relay = await start_relay(tls=True)
    async with enter(relay, "alice") as alice:
        waiting = asyncio.ensure_future(_told(alice))
        await asyncio.sleep(0)  # the listener is there before anything can happen
        action = await act(relay, alice.account, "warn")
        pushed = await waiting
        assert notice_words.headline(pushed.notices[0]) == "You were warned"
        (told,) = await alice.notices.all()
        assert (told.action, told.facts, told.read) == (action.id, "you wrote it", False)
        await alice.notices.mark_read([told.id])
        assert [each.read for each in await alice.notices.all()] == [True]
        assert await alice.notices.all(told.number) == []
        with pytest.raises(LimitExceeded):
            await alice.notices.appeal(action.id, "ä" * 1001)
        with pytest.raises(BadArgument):
            await alice.notices.appeal(b"short", "words")
        taken = await alice.notices.appeal(action.id, "ä" * 1000)
        assert await alice.notices.appeal(action.id, "ä" * 1000) == taken
        with pytest.raises(Forbidden):
            await alice.notices.appeal(action.id, "other words")


@pytest.mark.asyncio
async def test_who_is_suspended_reads_why_and_appeals_with_commands(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(tls=True)
    home = tmp_path / "alice"
    await register(relay, "alice", home)
    code, out, _ = await louver("notices", "--home", home)
    assert (code, out) == (0, "There are no notices for you.\n")
    account = await relay.app.store.account_named("alice")
    assert account is not None
    action = await act(relay, account.id, "suspend")
    code, _, err = await louver("send", "--to", "bob", "hello", "--home", home)
    assert code == 1
    assert "is suspended; `louver notices` says why" in err
    code, out, err = await louver("notices", "--home", home)
    assert (code, err) == (0, "")
    for said in ("Your account is suspended  [new]", "Why: you wrote it", "Rule: house rule 4"):
        assert said in out
    assert f"louver appeal {action.id.hex()} 'YOUR WORDS'" in out
    code, out, _ = await louver("notices", "--json", "--home", home)
    assert (code, json.loads(out)["read"], json.loads(out)["kind"]) == (0, True, "suspend")
    code, _, err = await louver("appeal", "nonsense", "I did not", "--home", home)
    assert (code, "names no decision" in err) == (2, True)
    code, out, _ = await louver("appeal", action.id.hex(), "I did not", "--home", home)
    assert (code, "Your appeal was taken" in out) == (0, True)
    at_work(relay)
    appeals = relay.app.moderation.appeals
    await appeals.decide(PEOPLE["mara"], action.id, "reversed", "a mistake of ours")
    code, out, _ = await louver("notices", "--home", home)
    assert "Your appeal was right" in out
    assert "Why: a mistake of ours" in out
    code, out, _ = await louver("appeal", action.id.hex(), "once more", "--home", home)
    assert code == 1


@every_mode
@pytest.mark.asyncio
async def test_a_removed_message_is_a_gap_with_a_reason_and_comes_back(
    start_relay: StartRelay, tmp_path: Path, mode: str
) -> None:
    relay = await start_relay(mode=mode, tls=True)
    async with enter(relay, "alice") as alice:
        async with enter(relay, "bob", tmp_path) as bob:
            await alice.send("bob", "seen")
            await take(bob)
            place = {"conversation": conversation_id(alice.account, bob.account)}
        await alice.send("bob", "HARM-0007")
        seen = await act(relay, alice.account, "remove", seqs=(1,), **place)
        unseen = await act(relay, alice.account, "remove", seqs=(2,), **place)
        async with enter(relay, "bob", tmp_path) as bob:
            (removed,) = await take(bob)
            assert (removed.text, removed.warnings, removed.opened) == ("", ("removed",), False)
            assert "was removed by the relay's moderation" in line(removed)
            # What a device has is its user's: the relay cannot take it back.
            assert texts(await bob.history("alice")) == ["seen", ""]
            await undo(relay, unseen)
            assert texts(await bob.history("alice")) == ["seen", "HARM-0007"]
            await undo(relay, seen)
            await alice.send("bob", "and on")
            assert texts(await take(bob)) == ["and on"]
            assert texts(await bob.history("alice")) == ["seen", "HARM-0007", "and on"]


def test_every_kind_of_notice_is_put_in_plain_words() -> None:
    given = [
        ({"topic": "action", "kind": "warn"}, "You were warned"),
        ({"topic": "action", "kind": "mute", "until": 1}, "You may not send messages until 19"),
        ({"topic": "action", "kind": "suspend"}, "Your account is suspended"),
        ({"topic": "action", "kind": "remove", "count": 3}, "3 of your messages were removed"),
        ({"topic": "decision", "outcome": "upheld"}, "the decision stays"),
        ({"topic": "decision", "outcome": "reversed"}, "was reversed"),
        ({"topic": "report", "outcome": "acted"}, "something was done"),
        ({"topic": "report", "outcome": "nothing", "kind": "none"}, "nothing was done"),
        ({"topic": "opened", "basis": "legal_request", "count": 7}, "up to 7 messages"),
        ({"topic": "opened", "basis": "emergency"}, "an emergency"),
        ({"topic": "released", "facts": "a quotation"}, "send it again"),
        ({"topic": "later"}, "does not know"),
    ]
    for fields, wanted in given:
        told = wire.Told(id=ACTION, number=1, time=1, **fields)  # type: ignore[arg-type] - as named
        assert wanted in notice_words.headline(told)


def test_what_a_notice_quotes_does_not_steer_the_terminal() -> None:
    told = wire.Told(
        id=ACTION,
        number=1,
        time=1,
        topic="action\x1b[2J",
        kind="warn\x1b[2J",
        action=ACTION,
        facts="\x1b[2Jx",
        rule="y\u202e",
        redress="z\n",
        automated=True,
    )
    said = notice_words.lines(told)
    assert not any(mark in text for text in said for mark in ("\x1b", "\u202e", "\n"))
    assert said[-2:] == [
        "  Decided by a machine.",
        f"  To object: louver appeal {ACTION.hex()} 'YOUR WORDS'",
    ]
