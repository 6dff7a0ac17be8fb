"""Pages of history, and what is kept, against a relay that lies about places and numbers.

What arrives live is in ``test_client_hostile.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from client import Chat, Keystore, Message, Password, connect
from client.memory import Memory
from crypto_modes import policy
from crypto_modes.contract import Evidence
from tests.fake_relay import FakeRelay, fake_relay

CONVERSATION = b"c" * 16


@pytest_asyncio.fixture
async def relay() -> AsyncIterator[FakeRelay]:
    """Alice talks with Bob under ``at_rest``, with Carol under ``tls``."""
    async with fake_relay() as relay:
        alice, bob, carol = (relay.account(name) for name in ("alice", "bob", "carol"))
        relay.mode = "at_rest"
        relay.policy(alice, bob)
        relay.mode = "tls"
        relay.policy(alice, carol)
        yield relay


@pytest_asyncio.fixture
async def chat(relay: FakeRelay) -> AsyncIterator[Chat]:
    credentials = Password("password", True)
    keystore = Keystore.in_memory()
    async with connect(relay.url, name="alice", keystore=keystore, credentials=credentials) as chat:
        yield chat


async def take(chat: Chat, count: int) -> list[Message]:
    async with asyncio.timeout(30):
        return [await anext(chat) for _ in range(count)]


def with_carol(relay: FakeRelay) -> bytes:
    return policy.conversation_id(relay.account("alice"), relay.account("carol"))


@pytest.mark.asyncio
async def test_a_page_is_held_to_the_floor_of_the_conversation_asked_for(
    relay: FakeRelay, chat: Chat
) -> None:
    injected = relay.message("bob", "alice", "transfer the money")
    # In the place of a weaker conversation it would come without a mark.
    moved = relay.message("bob", "alice", "and more", conversation=with_carol(relay))
    relay.page = (injected, moved)
    (shown,) = await chat.history("bob")
    assert (shown.text, shown.warnings) == ("transfer the money", ("below_floor", "wrong_mode"))


@pytest.mark.asyncio
async def test_a_page_shows_nothing_of_other_conversations(relay: FakeRelay, chat: Chat) -> None:
    carols = relay.message("carol", "alice", "for another window")
    relay.page = (
        carols,
        relay.message("bob", "carol", "not for alice"),
        msgspec.structs.replace(relay.message("alice", "bob", "self"), recipient=carols.recipient),
        relay.message("carol", "bob", "x", conversation=with_carol(relay)),
    )
    events = chat.events()
    dropped = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    assert await chat.history("bob") == []
    assert (await dropped).reason == "it is not of this conversation of this user"  # type: ignore[union-attr]  # an Unreadable, or it fails
    assert [each.text for each in await chat.history("carol")] == ["for another window"]


@pytest.mark.asyncio
async def test_a_number_given_twice_destroys_nothing(relay: FakeRelay, chat: Chat) -> None:
    genuine = relay.message("bob", "alice", "genuine", mode="at_rest", seq=7)
    forged = relay.message("bob", "alice", "forged", mode="at_rest", seq=7)
    await relay.push("alice", genuine, forged)
    shown = await take(chat, 2)
    assert [each.warnings for each in shown] == [(), ("reordered",)]
    relay.page = (genuine, forged)
    assert await chat.history("bob") == shown


def kept(text: bytes, *, seq: int = 1, id: bytes = b"i" * 16) -> Message:
    return Message(
        conversation=CONVERSATION,
        seq=seq,
        id=id,
        sender=b"s" * 16,
        device=b"d" * 16,
        recipient=b"r" * 16,
        kind="text",
        mode="e2ee",
        epoch=1,
        time=1,
        content=text,
        evidence=Evidence(reporter=b"r" * 16, message=text, key=b"k" * 32),
    )


def test_what_is_kept_stays_whatever_comes_under_its_number_or_id() -> None:
    memory = Memory(Keystore.in_memory())
    first = kept(b"an insult")
    memory.keep_message(first)
    memory.keep_message(kept(b"a kindness", id=b"j" * 16))
    memory.keep_message(kept(b"another", seq=2))
    assert memory.message_with(CONVERSATION, first.id) == first
    other = memory.message_with(CONVERSATION, b"j" * 16)
    assert other is not None
    assert other.text == "a kindness"
    assert memory.message_with(CONVERSATION, b"k" * 16) is None
    assert not memory.knows(CONVERSATION, b"k" * 16)


@pytest.mark.asyncio
async def test_what_a_page_cannot_open_comes_empty(relay: FakeRelay, chat: Chat) -> None:
    relay.page = (relay.message("bob", "alice", "?", mode="e2ee"),)
    (shown,) = await chat.history("bob")
    assert (shown.content, shown.warnings) == (b"", ("cannot_open",))


@pytest.mark.asyncio
async def test_nothing_is_told_read_that_was_not_or_is_ones_own(
    relay: FakeRelay, chat: Chat
) -> None:
    place = policy.conversation_id(relay.account("alice"), relay.account("bob"))
    for written in (False, True):
        if written:  # until then the reader tells a stranger nothing
            await chat.send("bob", "hello")
        for text in (b"", b"theirs"):
            for warnings in ((), ("no_copy",), ("gap:1", "cannot_open")):
                told = msgspec.structs.replace(kept(text), conversation=place, warnings=warnings)
                await chat.mark_read(told)
                await chat.mark_read(msgspec.structs.replace(told, own=True))
    last = msgspec.structs.replace(kept(b"last", seq=2), conversation=place)
    await chat.mark_read(last)
    async with asyncio.timeout(30):
        while not relay.reads or relay.reads[-1].seq != last.seq:
            await asyncio.sleep(0.01)
    assert [each.seq for each in relay.reads] == [1, 1, 2]
