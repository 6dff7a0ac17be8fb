"""Messages of a device whose keys are shown falsely: kept, not acked, shown once it is cured."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from client import Chat, HeldBack, Unreadable
from client.held import OF_ALL, OF_ONE, Arrived, Held
from client.sequence import Arrival, Sequence
from client.terminal import Talk
from crypto_modes import wire
from tests.conftest import Running, StartRelay
from tests.hostile_relay import HostileRelay, Line, Passed, changed, edit, hostile_relay
from tests.log_liar import false_list
from tests.test_client import enter, take, texts
from tests.test_client_terminal import Lines
from tests.test_client_trust import events_of


def false_keys(hostile: HostileRelay, account: bytes) -> None:
    """Alice is shown keys of this account that are not theirs."""
    false = false_list(account)

    def rule(line: Line, frame: wire.Devices) -> Passed:
        if line.name != "alice" or frame.account != account:
            return frame
        return changed(frame, key=false.key, list=false.list)  # type: ignore[no-any-return]  # the same type

    hostile.down(wire.Devices, rule)


def false_log(hostile: HostileRelay, _: bytes) -> None:
    """Alice is shown proofs of the key log that do not hold."""
    lie = edit(inclusion=lambda path: (b"\0" * 32, *path[1:]))
    hostile.down(wire.Log, lambda line, frame: lie(line, frame) if line.name == "alice" else frame)


LIES = pytest.mark.parametrize("lie", [false_keys, false_log])


@asynccontextmanager
async def between(relay: Running) -> AsyncIterator[tuple[HostileRelay, Any]]:
    async with hostile_relay(relay) as hostile:
        yield hostile, hostile


async def held(chat: Chat, account: bytes) -> list[Any]:
    """Wait until a message of ``account`` is held back; what was told meanwhile."""
    async with events_of(chat) as seen, asyncio.timeout(30):
        reading = asyncio.create_task(anext(chat))
        while not any(isinstance(each, HeldBack) for each in seen):
            await asyncio.sleep(0.01)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    assert {each.sender for each in seen if isinstance(each, HeldBack)} == {account}
    assert not any(isinstance(each, Unreadable) for each in seen)
    return seen


def acks(hostile: HostileRelay) -> list[wire.Ack]:
    return [f for by, f in hostile.said if by == "alice" and isinstance(f, wire.Ack)]


@LIES
@pytest.mark.asyncio
@pytest.mark.attack(14)
async def test_what_came_under_false_keys_waits_and_is_shown_in_order_once_they_are_true(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch, lie: Any
) -> None:
    monkeypatch.setattr("client.incoming.AGAIN_SECONDS", 0.2)
    async with (
        between(await start_relay(mode="e2ee")) as (hostile, relay),
        enter(relay, "alice") as alice,
        enter(relay, "bob") as bob,
        enter(relay, "carol") as carol,
    ):
        await alice.key_watch.watch()
        await alice.send("carol", "known before")
        lie(hostile, bob.account)
        await bob.send("alice", "first")
        await bob.send("alice", "second")
        await held(alice, bob.account)
        # Nobody else waits for him, and nothing of his is acked.
        await carol.send("alice", "good morning")
        assert texts(await take(alice)) == ["good morning"]
        async with asyncio.timeout(30):
            while not acks(hostile):
                await asyncio.sleep(0.01)
        assert {ack.conversation for ack in acks(hostile)} == {
            hostile.deliveries("alice")[-1].conversation
        }
        hostile.honest()
        found = await take(alice, 2)
        assert [(each.text, each.warnings) for each in found] == [("first", ()), ("second", ())]
        await bob.send("alice", "third")
        assert texts(await take(alice)) == ["third"]


@LIES
@pytest.mark.asyncio
@pytest.mark.attack(14)
async def test_it_waits_also_over_a_restart_and_over_a_break(
    start_relay: StartRelay, tmp_path: Path, lie: Any
) -> None:
    async with (
        between(await start_relay(mode="e2ee")) as (hostile, relay),
        enter(relay, "bob") as bob,
    ):
        async with enter(relay, "alice", tmp_path) as alice:
            lie(hostile, bob.account)
            await bob.send("alice", "first")
            await held(alice, bob.account)
            await bob.send("alice", "second")
            await hostile.line("alice").hang_up()
            await held(alice, bob.account)
        async with enter(relay, "alice", tmp_path) as alice:
            await held(alice, bob.account)
            hostile.honest()
            await hostile.line("alice").hang_up()
            found = await take(alice, 2)
            assert [(each.text, each.warnings) for each in found] == [("first", ()), ("second", ())]


@pytest.mark.asyncio
async def test_that_messages_are_held_back_is_said_in_words(start_relay: StartRelay) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        talk = Talk(alice, "bob", bob.account, Lines())
        event = HeldBack(b"c" * 16, bob.account, "it \x1b[2Jlies")
        assert "messages of bob are held back until their keys verify" in talk._words(event)
        assert "\x1b" not in talk._words(event)
        assert talk._words(HeldBack(b"c" * 16, b"o" * 16, "of others")) == ""


def arrived(sender: int, device: int, seq: int = 1) -> Arrived:
    delivery = wire.Deliver(
        conversation=b"c" * 16,
        seq=seq,
        id=b"i" * 16,
        sender=b"%016d" % sender,
        device=b"%016d" % device,
        recipient=b"r" * 16,
        kind="text",
        mode="e2ee",
        epoch=1,
        body=b"",
        time=1,
    )
    return Arrived(delivery, Arrival())


def test_one_device_has_so_much_room_and_all_together_have() -> None:
    waiting = Held()
    kept = [waiting.add(arrived(1, 1, seq)) for seq in range(1, OF_ONE + 2)]
    assert kept == [True] * OF_ONE + [False]
    assert waiting.add(arrived(2, 1))
    for sender in range(3, OF_ALL + 10):
        waiting.add(arrived(sender, 1))
    assert arrived(2, 1).device in waiting
    assert arrived(OF_ALL + 9, 1).device not in waiting
    found = waiting.take()
    assert len(found) == OF_ALL
    assert [each.delivery.seq for each in found[:OF_ONE]] == list(range(1, OF_ONE + 1))
    assert waiting.take() == []


def test_what_had_no_room_holds_back_the_ack_until_it_came_again() -> None:
    sequence = Sequence(4)
    for seq in (5, 6, 7, 8):
        sequence.arrived(seq)
    sequence.dropped(7)
    sequence.dropped(6)
    sequence.handled(8)
    assert sequence.after(5) == 5
    sequence.handled(5)
    assert sequence.to_ack() == 5
    sequence.reconnected()
    # They are neither late nor is anything missing before them.
    assert [sequence.arrived(seq) for seq in (6, 7, 8)] == [Arrival()] * 3
    for seq in (6, 7, 8):
        sequence.handled(seq)
    assert sequence.to_ack() == 8


def test_of_what_waits_the_lowest_number_holds_back_the_ack_whenever_it_came() -> None:
    sequence = Sequence(4)
    for seq in (5, 8, 7):
        sequence.arrived(seq)
    sequence.handled(5)
    sequence.handled(8)
    assert sequence.to_ack() == 6


@pytest.mark.asyncio
async def test_what_is_released_while_another_is_taken_loses_neither(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message is looked at while the sender's keys are fetched; those of another come first."""
    monkeypatch.setattr("client.incoming.AGAIN_SECONDS", 3600.0)
    async with (
        between(await start_relay(mode="e2ee")) as (hostile, relay),
        enter(relay, "alice") as alice,
        enter(relay, "bob") as bob,
        enter(relay, "carol") as carol,
    ):
        await alice.key_watch.watch()
        false_keys(hostile, bob.account)
        await bob.send("alice", "held")
        await held(alice, bob.account)
        hostile.honest()
        look_up, asked = alice._trust.look_up, asyncio.Event()

        async def slowly(*given: Any, **more: Any) -> wire.Devices:
            if not asked.is_set():
                asked.set()
                alice._incoming._take_again()
            return await look_up(*given, **more)

        monkeypatch.setattr(alice._trust, "look_up", slowly)
        await carol.send("alice", "meanwhile")
        assert sorted(texts(await take(alice, 2))) == ["held", "meanwhile"]
        assert len(alice._incoming._queue) == 0
