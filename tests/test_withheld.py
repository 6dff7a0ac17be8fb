"""Messages that a relay keeps back show in the next answer, and nothing else looks like it."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest

from client import Chat, Keystore, Message, Password, connect
from client import memory as client_memory
from client.withheld import warnings
from crypto_modes import wire
from crypto_modes.contract import Opened
from tests.conftest import Running, StartRelay
from tests.hostile_relay import HostileRelay, Line, hostile_relay

PLACE = b"conversation-001"


def enter(relay: Running | HostileRelay, name: str) -> AbstractAsyncContextManager[Chat]:
    return connect(
        relay.url,
        name=name,
        keystore=Keystore.in_memory(),
        credentials=Password("correct horse", register=True),
    )


async def hear(chat: Chat, count: int = 1) -> list[Message]:
    found: list[Message] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            message = await anext(chat)
            if not message.own:
                found.append(message)
    return found


def to_bob(line: Line, frame: wire.Deliver) -> wire.Deliver | None:
    """The relay keeps back whatever is for Bob."""
    return None if line.name == "bob" else frame


@pytest.mark.attack(18)
@pytest.mark.asyncio
async def test_a_withheld_tail_shows_at_the_next_exchange(start_relay: StartRelay) -> None:
    async with (
        hostile_relay(await start_relay("e2ee")) as hostile,
        enter(hostile, "alice") as alice,
        enter(hostile, "bob") as bob,
    ):
        await alice.send("bob", "hello")
        await hear(bob)
        await bob.send("alice", "hello")
        await hear(alice)
        hostile.down(wire.Deliver, to_bob)
        await alice.send("bob", "kept back")
        await alice.send("bob", "kept back, too")
        # Bob's first answer may have crossed with them; when he writes the second he knows that
        # the conversation has gone on, and without them.
        await bob.send("alice", "are you still there?")
        await bob.send("alice", "hello?")
        await bob.send("alice", "well then")
        heard = await hear(alice, 3)
        assert [each.warnings for each in heard] == [(), ("withheld:2",), ()]


@pytest.mark.asyncio
async def test_messages_that_cross_raise_no_alarm(start_relay: StartRelay) -> None:
    relay = await start_relay("e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.send("bob", "hello")
        await hear(bob)
        names = (alice, "bob"), (bob, "alice")
        sent = [chat.send_soon(to, f"{n}") for n in range(40) for chat, to in names]
        heard = await asyncio.gather(hear(alice, 40), hear(bob, 40))
        sent += [chat.send_soon(to, f"{n}") for n in range(40) for chat, to in names]
        heard += await asyncio.gather(hear(alice, 40), hear(bob, 40))
        await asyncio.gather(*sent)
        assert {each.warnings for side in heard for each in side} == {()}


def kept(seq: int) -> Message:
    return Message(
        conversation=PLACE,
        seq=seq,
        id=b"%016d" % seq,
        sender=b"alice-account-01",
        device=b"alice-phone-0001",
        recipient=b"bobby-account-02",
        kind="text",
        mode="e2ee",
        epoch=1,
        time=0,
        content=b"",
        own=True,
    )


def test_what_was_refused_or_crossed_is_no_withheld_message() -> None:
    memory = client_memory.Memory(Keystore.in_memory())
    for seq in (5, 7, 9):
        memory.keep_message(kept(seq))
    refused = b"refused-message1"
    ids = (kept(5).id, refused, kept(7).id, kept(9).id)

    def told(position: int) -> tuple[str, ...]:
        opened = Opened(content=b"", kind="text", unopened=ids, position=position)
        return warnings(memory, PLACE, opened)

    assert told(0) == told(4) == ()
    assert told(5) == ("withheld:1",)
    assert told(6) == ()
    assert told(9) == ("withheld:2",)
    assert told(99) == ()
