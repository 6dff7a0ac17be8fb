"""Known attacks that play again what was sent: rows 12 and 17, and reflection of row 7.

Real clients, a real relay, and a hostile one in between.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from client import Chat, Message
from crypto_modes import wire
from tests.conftest import StartRelay
from tests.hostile_relay import changed, hostile_relay
from tests.test_client import enter, every_mode, take, texts


async def rest(chat: Chat) -> list[Message]:
    """What else comes, until nothing has come for a while."""
    came: list[Message] = []
    while True:
        try:
            came.append(await asyncio.wait_for(anext(chat), 0.3))
        except TimeoutError:
            return came


@every_mode
@pytest.mark.asyncio
@pytest.mark.attack(17)
async def test_each_envelope_is_shown_once_however_often_it_comes(
    start_relay: StartRelay, mode: str, tmp_path: Path
) -> None:
    """One to a hundred times, then all of them backwards, then all of them after a restart."""
    said = [f"{n}" for n in range(12)]
    counts = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 100, 1)
    async with (
        hostile_relay(await start_relay(mode=mode)) as hostile,
        enter(hostile, "alice") as alice,
    ):
        times = dict(zip(range(1, 13), counts, strict=True))
        hostile.down(wire.Deliver, lambda line, frame: [frame] * times[frame.seq])
        async with enter(hostile, "bob", tmp_path) as bob:
            for text in said:
                await alice.send("bob", text)
            assert texts(await take(bob, 12)) == said
            again = hostile.deliveries("bob")
            await hostile.line("bob").to_client(*reversed(again))
            assert await rest(bob) == []
        async with enter(hostile, "bob", tmp_path) as bob:
            await hostile.line("bob").to_client(*again, *reversed(again))
            await alice.look_up("bob")
            times[13] = 100
            await alice.send("bob", "after")
            assert texts(await take(bob)) == ["after"]
            assert await rest(bob) == []


@every_mode
@pytest.mark.asyncio
@pytest.mark.attack(17)
async def test_an_old_envelope_under_another_number_is_not_shown_again(
    start_relay: StartRelay, mode: str
) -> None:
    async with (
        hostile_relay(await start_relay(mode=mode)) as hostile,
        enter(hostile, "alice") as alice,
        enter(hostile, "bob") as bob,
    ):
        await alice.send("bob", "once")
        assert texts(await take(bob)) == ["once"]
        (old,) = hostile.deliveries("bob")
        for seq in (2, 3, 2**53 - 1):
            await hostile.line("bob").to_client(changed(old, seq=seq, time=old.time + seq))
        assert await rest(bob) == []


@pytest.mark.asyncio
@pytest.mark.attack(17)
async def test_an_old_ciphertext_under_another_id_is_not_shown_again(
    start_relay: StartRelay,
) -> None:
    """Only `e2ee` can promise this: in the others the relay may write what it likes."""
    async with (
        hostile_relay(await start_relay(mode="e2ee")) as hostile,
        enter(hostile, "alice") as alice,
        enter(hostile, "bob") as bob,
    ):
        await alice.send("bob", "once")
        assert texts(await take(bob)) == ["once"]
        (old,) = hostile.deliveries("bob")
        await hostile.line("bob").to_client(changed(old, id=bytes(16), seq=2))
        assert await rest(bob) == []


@pytest.mark.asyncio
@pytest.mark.attack(12)
async def test_a_first_message_begins_no_second_session_also_after_a_restart(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    """The relay serves the last-resort key alone, and plays the first message again and again."""

    def only_last_resort(line: object, keys: wire.Keys) -> wire.Keys:
        return changed(keys, bundles=tuple(changed(each, once=None) for each in keys.bundles))  # type: ignore[no-any-return]  # the same type

    async with hostile_relay(await start_relay(mode="e2ee")) as hostile:
        hostile.down(wire.Keys, only_last_resort)
        async with enter(hostile, "alice") as alice:
            async with enter(hostile, "bob", tmp_path) as bob:
                await alice.send("bob", "hello")
                assert texts(await take(bob)) == ["hello"]
                (first,) = hostile.deliveries("bob")
                other_id = changed(first, id=bytes(16), seq=2)
                await hostile.line("bob").to_client(first, other_id)
                assert await rest(bob) == []
            async with enter(hostile, "bob", tmp_path) as bob:
                await hostile.line("bob").to_client(first, changed(other_id, seq=3))
                assert await rest(bob) == []
                await alice.send("bob", "still the same session")
                (message,) = await take(bob)
                assert message.text == "still the same session"
                assert "session_reset" not in message.warnings


@pytest.mark.asyncio
@pytest.mark.attack(7)
async def test_what_alice_wrote_is_nothing_that_bob_wrote(start_relay: StartRelay) -> None:
    """Reflection: her own ciphertext comes back to her under every name it could have."""
    async with (
        hostile_relay(await start_relay(mode="e2ee")) as hostile,
        enter(hostile, "alice") as alice,
        enter(hostile, "bob") as bob,
    ):
        await alice.send("bob", "mine")
        await take(bob)
        await bob.send("alice", "yours")
        assert texts(await take(alice)) == ["yours"]
        (hers,), (his,) = hostile.deliveries("bob"), hostile.deliveries("alice")
        assert hers.body != his.body
        for fields in (
            {"sender": bob.account, "recipient": alice.account},
            {"sender": bob.account, "recipient": alice.account, "device": his.device},
            {"sender": bob.account, "recipient": alice.account, "id": bytes(16)},
            {"device": his.device},
            {"device": bytes(16), "id": bytes(16)},
            {},
        ):
            await hostile.line("alice").to_client(changed(hers, seq=9, **fields))
        assert await rest(alice) == []
