"""The client against a relay that fails, repeats itself, or lies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from client import Chat, ChatState, Keystore, Message, Password, StateChange, connect
from client.incoming import CROWD
from crypto_modes import policy, wire
from crypto_modes.errors import (
    BelowFloor,
    CannotResume,
    ConnectionLost,
    Forbidden,
    KeyServiceUnavailable,
    ModeMismatch,
    Unauthorized,
)
from tests.fake_relay import CODEC, FakeRelay, fake_relay, ignore, refuse


@pytest_asyncio.fixture
async def relay() -> AsyncIterator[FakeRelay]:
    async with fake_relay() as relay:
        relay.account("bob")
        yield relay


def enter(
    relay: FakeRelay, name: str = "alice", place: Path | None = None
) -> AbstractAsyncContextManager[Chat]:
    keystore = Keystore.in_memory()
    if place is not None:
        keystore = Keystore.open(place / "store.db", key_file=place / "store.key")
    return connect(relay.url, name=name, keystore=keystore, credentials=Password("password", True))


async def take(chat: Chat, count: int) -> list[Message]:
    async with asyncio.timeout(30):
        return [await anext(chat) for _ in range(count)]


async def nothing(chat: Chat) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(chat), 0.2)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


# --- sending ---


@pytest.mark.asyncio
async def test_a_lost_answer_is_asked_for_again_with_the_same_bytes(relay: FakeRelay) -> None:
    relay.rules.append(ignore)
    async with enter(relay) as chat:
        await chat.look_up("bob")
        sent = chat.send_soon("bob", "once")
        await until(lambda: len(relay.sends) == 1)
        await relay.hang_up("alice")
        assert (await sent).seq == 1
        assert relay.sends[0] == relay.sends[1]
        assert relay.hellos[1].resume == relay.id


@pytest.mark.asyncio
@pytest.mark.attack
async def test_26_a_crash_before_the_answer_sends_the_same_bytes_later(
    relay: FakeRelay, tmp_path: Path
) -> None:
    relay.rules.append(ignore)
    async with enter(relay, place=tmp_path) as chat:
        await chat.look_up("bob")
        lost = chat.send_soon("bob", "kept")
        await until(lambda: len(relay.sends) == 1)
    with pytest.raises(ConnectionLost):
        await lost
    async with enter(relay, place=tmp_path) as chat:
        await until(lambda: len(relay.sends) == 2)
        assert relay.sends[0] == relay.sends[1]
        await until(lambda: len(next(iter(relay.log.values()))) == 1)
        assert (await chat.send("bob", "next")).seq == 2
    assert CODEC.decode_client(relay.sends[2]).body == b"next"


@pytest.mark.asyncio
async def test_a_refusal_for_now_is_tried_again_in_order(relay: FakeRelay) -> None:
    relay.rules += [refuse(140), refuse(141), refuse(111, retry_after=0.05), refuse(100)]
    async with enter(relay) as chat:
        peer = await chat.look_up("bob")
        sent = [chat.send_soon(peer, f"{n}") for n in range(4)]
        assert [(await each).seq for each in sent] == [1, 2, 3, 4]
    log = next(iter(relay.log.values()))
    assert [each.body for each in log] == [b"0", b"1", b"2", b"3"]


@pytest.mark.asyncio
async def test_a_refusal_for_now_is_not_tried_for_ever(
    relay: FakeRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.lane.DEADLINE_SECONDS", 0.0)
    relay.rules.append(refuse(140))
    async with enter(relay) as chat:
        with pytest.raises(KeyServiceUnavailable, match="test 140"):
            await chat.send("bob", "never")
        assert (await chat.send("bob", "later")).seq == 1


@pytest.mark.asyncio
async def test_a_refusal_for_good_is_raised_and_the_next_message_goes_out(relay: FakeRelay) -> None:
    relay.rules.append(refuse(103))
    async with enter(relay) as chat:
        with pytest.raises(Forbidden, match="test 103"):
            await chat.send("bob", "refused")
        assert (await chat.send("bob", "fine")).seq == 1
    assert len(relay.sends) == 2


@pytest.mark.asyncio
async def test_a_relay_that_contradicts_itself_is_not_asked_for_ever(relay: FakeRelay) -> None:
    relay.rules += [refuse(120)] * 50
    async with enter(relay) as chat:
        with pytest.raises(ModeMismatch):
            await asyncio.wait_for(chat.send("bob", "?"), 30)
    assert len(relay.sends) < 10


@pytest.mark.asyncio
@pytest.mark.attack
async def test_15_nothing_is_sent_below_the_floor(relay: FakeRelay) -> None:
    relay.mode = "at_rest"
    async with enter(relay) as chat:
        await chat.send("bob", "under at_rest")
        conversation, current = next(iter(relay.policies.items()))
        relay.policies[conversation] = msgspec.structs.replace(
            policy.successor(
                current,
                {"text": "tls"},
                current.created,
                dict(zip((current.first, current.second), current.keys, strict=True)),
            ),
            state="in_force",
        )
        relay.rules.append(refuse(120))
        with pytest.raises(BelowFloor):
            await chat.send("bob", "a secret")
    modes = [CODEC.decode_client(data).mode for data in relay.sends]
    assert modes == ["at_rest", "at_rest"]


@pytest.mark.asyncio
async def test_too_much_is_refused_before_it_is_sent(relay: FakeRelay) -> None:
    async with enter(relay) as chat:
        with pytest.raises(Exception, match="at most 16384 bytes"):
            await chat.send("bob", b"x" * 16385)
        with pytest.raises(Forbidden):
            await chat.send("nobody", "x")
    assert relay.sends == []


# --- receiving ---


@pytest.mark.asyncio
@pytest.mark.attack
async def test_17_a_replayed_message_is_shown_once_also_after_a_restart(
    relay: FakeRelay, tmp_path: Path
) -> None:
    async with enter(relay, place=tmp_path) as chat:
        message = relay.message("bob", "alice", "once")
        await relay.push("alice", *[message] * 100)
        assert (await take(chat, 1))[0].text == "once"
        await relay.push("alice", msgspec.structs.replace(message, seq=7))
        await nothing(chat)
    async with enter(relay, place=tmp_path) as chat:
        await relay.push("alice", message)
        await nothing(chat)
        await relay.push("alice", relay.message("bob", "alice", "two"))
        assert (await take(chat, 1))[0].text == "two"


@pytest.mark.asyncio
@pytest.mark.attack
async def test_5_and_18_missing_and_late_messages_are_marked(relay: FakeRelay) -> None:
    async with enter(relay) as chat:
        messages = [relay.message("bob", "alice", f"{n}") for n in range(5)]
        await relay.push("alice", *(messages[n] for n in (0, 1, 4, 3)))
        shown = await take(chat, 4)
    assert [each.text for each in shown] == ["0", "1", "4", "3"]
    assert [each.warnings for each in shown] == [(), (), ("gap:2",), ("reordered",)]


@pytest.mark.asyncio
@pytest.mark.attack
async def test_15_a_message_below_the_floor_is_marked(relay: FakeRelay) -> None:
    relay.mode = "at_rest"
    async with enter(relay) as chat:
        await relay.push("alice", relay.message("bob", "alice", "fine"))
        await relay.push("alice", relay.message("bob", "alice", "injected", mode="tls"))
        fine, injected = await take(chat, 2)
    assert fine.warnings == ()
    assert "below_floor" in injected.warnings


@pytest.mark.asyncio
async def test_messages_of_other_peoples_conversations_are_dropped(relay: FakeRelay) -> None:
    async with enter(relay) as chat:
        foreign = relay.message("bob", "carol", "not for alice")
        moved = relay.message("bob", "alice", "x", conversation=foreign.conversation)
        await relay.push("alice", foreign, moved)
        await nothing(chat)


@pytest.mark.asyncio
async def test_acks_follow_what_was_taken_and_nothing_else(relay: FakeRelay) -> None:
    async with enter(relay) as chat:
        await relay.push("alice", *(relay.message("bob", "alice", f"{n}") for n in range(10)))
        await take(chat, 4)
        await until(lambda: any(each.seq == 4 for each in relay.acks))
        await asyncio.sleep(0.2)
        assert relay.acks[-1].seq == 4
        await take(chat, 6)
    await until(lambda: relay.acks[-1].seq == 10)
    assert len(relay.acks) < 10


@pytest.mark.asyncio
async def test_a_slow_reader_slows_the_relay_and_loses_nothing(relay: FakeRelay) -> None:
    total = 4 * CROWD
    async with enter(relay) as chat:
        messages = [relay.message("bob", "alice", "x" * 4000) for _ in range(total)]
        pushing = asyncio.create_task(relay.push("alice", *messages))
        await until(chat._incoming.crowded)
        await asyncio.sleep(0.1)
        assert len(chat._incoming._queue) == CROWD
        assert not pushing.done()
        assert [each.seq for each in await take(chat, total)] == list(range(1, total + 1))
        await pushing


@pytest.mark.asyncio
async def test_whoever_answers_each_message_is_not_stuck_behind_the_others(
    relay: FakeRelay,
) -> None:
    """The answer to a send stands behind a backlog that only its sender can take away."""
    async with enter(relay) as chat:
        messages = [relay.message("bob", "alice", "x" * 1000) for _ in range(2 * CROWD)]
        await relay.push("alice", *messages[:-1])
        async with asyncio.timeout(30):
            message = await anext(chat)
            assert (await chat.send(message.sender, "an answer")).seq == 2 * CROWD + 1


# --- connections ---


@pytest.mark.asyncio
async def test_a_close_code_that_says_stop_stops(relay: FakeRelay) -> None:
    async with enter(relay) as chat:
        await chat.send("bob", "before")
        relay.rules.append(ignore)
        unanswered = chat.send_soon("bob", "unanswered")
        await relay.hang_up("alice", 4503, "removed")
        with pytest.raises(Forbidden, match="removed from the account"):
            await asyncio.wait_for(anext(chat), 30)
        with pytest.raises(Forbidden):
            await unanswered
        with pytest.raises(Forbidden):
            await chat.send("bob", "after")
        assert chat.state is ChatState.CLOSED


@pytest.mark.asyncio
async def test_a_goodbye_says_when_to_come_back(relay: FakeRelay) -> None:
    async with enter(relay) as chat:
        changes: list[StateChange] = []

        async def watch() -> None:
            async for event in chat.events():
                if isinstance(event, StateChange):
                    changes.append(event)  # noqa: PERF401 - seen from outside meanwhile

        watching = asyncio.create_task(watch())
        await asyncio.sleep(0)
        await relay.push("alice", wire.Bye(reason="draining", reconnect_after=0.2))
        await relay.hang_up("alice", 4001)
        await until(lambda: len(changes) == 3)
        watching.cancel()
    states = [ChatState.DISCONNECTED, ChatState.CONNECTING, ChatState.CONNECTED]
    assert [each.state for each in changes] == states
    assert 0.2 <= changes[0].retry <= 0.45
    assert "4001" in changes[0].reason


@pytest.mark.asyncio
async def test_another_relay_is_not_resumed_with(relay: FakeRelay, tmp_path: Path) -> None:
    async with enter(relay, place=tmp_path):
        pass
    relay.id = bytes(16)
    with pytest.raises(CannotResume, match="another relay"):
        async with enter(relay, place=tmp_path):
            pass


@pytest.mark.asyncio
async def test_a_void_token_is_replaced_where_there_are_credentials(
    relay: FakeRelay, tmp_path: Path
) -> None:
    async with enter(relay, place=tmp_path):
        pass
    expired = wire.Error(ref=2, code=109, name="token_expired", message="expired")
    relay.refusals.append(expired)
    async with enter(relay, place=tmp_path) as chat:
        assert chat.state is ChatState.CONNECTED
    relay.refusals += [expired, msgspec.structs.replace(expired, code=101)]
    with pytest.raises(Unauthorized):
        async with enter(relay, place=tmp_path):
            pass


@pytest.mark.asyncio
async def test_nobody_there_is_said_at_once(unused_tcp_port: int) -> None:
    keystore = Keystore.in_memory()
    with pytest.raises(ConnectionLost, match="nobody answers"):
        async with connect(
            f"ws://127.0.0.1:{unused_tcp_port}/",
            name="alice",
            keystore=keystore,
            credentials=Password("password", True),
        ):
            pass
