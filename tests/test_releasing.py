"""Files whose message is gone leave the relay, by their sender's doing and nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from client import Chat
from client.memory import RELEASES
from client.trust import now_ms
from crypto_modes import wire
from crypto_modes.errors import Forbidden
from tests.conftest import StartRelay
from tests.hostile_relay import hostile_relay
from tests.test_client import enter, every_mode, take
from tests.test_client_attachments import BODY, names, sent_file, stored

pytestmark = pytest.mark.asyncio


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


def waiting(chat: Chat) -> int:
    return len(list(chat._memory.store.scan(RELEASES)))


@every_mode
async def test_a_deleted_file_leaves_the_relay_and_frees_its_room(
    start_relay: StartRelay, tmp_path: Path, mode: str
) -> None:
    # There is room for one of them, not for two.
    relay = await start_relay(mode=mode, limits={"blob": 10**6, "blob_account": 700_000})
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        for _ in range(3):
            message = await sent_file(alice, bob)
            await alice.compose.delete("bob", message.id)
            await until(lambda: not stored(relay))
            await until(lambda: waiting(alice) == 0)
            with pytest.raises(Forbidden, match="its sender took it back"):
                await bob.attachments.save(message, tmp_path)
            await take(bob)


async def test_a_file_that_disappears_leaves_the_relay_with_its_sender_s_copy(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.compose.timer("bob", 3600)
        await take(bob)
        await sent_file(alice, bob)
        alice._contents.sweep()
        assert (waiting(alice), len(stored(relay))) == (0, 1)
        # The peer's time is up first: what was sent to him is not his to release.
        bob._contents._now = lambda: now_ms() + 3_700_000
        bob._contents.sweep()
        assert (waiting(bob), len(stored(relay))) == (0, 1)
        alice._contents._now = bob._contents._now
        alice._contents.sweep()
        await until(lambda: not stored(relay))
        await until(lambda: waiting(alice) == 0)


async def test_a_release_outlives_a_kill_and_is_asked_once_more_without_harm(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "bob") as bob, hostile_relay(relay) as hostile:
        async with enter(relay, "alice", tmp_path) as alice:
            kept, gone = [await sent_file(alice, bob) for _ in range(2)]
        # Taken in, and not answered: whether it was done, nobody knows.
        hostile.down(wire.Blob, lambda line, frame: None)
        async with enter(hostile, "alice", tmp_path) as alice:  # type: ignore[arg-type]  # has url and ca
            await alice.compose.delete("bob", gone.id)
            await until(lambda: len(stored(relay)) == 1)
            assert waiting(alice) == 1
            alice._releases.close = _nothing  # type: ignore[method-assign]  # as a kill
        async with enter(relay, "alice", tmp_path) as alice:
            await until(lambda: waiting(alice) == 0)
            assert len(stored(relay)) == 1
            assert (await bob.attachments.save(kept, tmp_path / "kept")).read_bytes() == BODY


async def _nothing() -> None:
    pass


async def test_a_program_that_ends_at_once_has_released_before(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "bob") as bob:
        async with enter(relay, "alice", tmp_path) as alice:
            message = await sent_file(alice, bob)
            alice._contents.released = asyncio.Event()  # nobody wakes who would do it meanwhile
            await alice.compose.delete("bob", message.id)
            assert len(stored(relay)) == 1
        assert stored(relay) == []


async def test_a_recipient_who_is_still_saving_is_told(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee")
    async with (
        hostile_relay(relay) as hostile,
        enter(relay, "alice") as alice,
        enter(hostile, "bob") as bob,  # type: ignore[arg-type]  # has url and ca
    ):
        message = await sent_file(alice, bob)
        # All but the first piece is held back until the file is gone.
        held: list[wire.SetBlob] = []
        hostile.up(wire.SetBlob, lambda _, f: f if f.offset == 0 else held.append(f))
        saving = asyncio.ensure_future(bob.attachments.save(message, tmp_path))
        await until(lambda: len(held) == 4)
        await alice.compose.delete("bob", message.id)
        await until(lambda: not stored(relay))
        hostile.honest()
        await hostile.line("bob").to_relay(*held)
        with pytest.raises(Forbidden, match="its sender took it back, or its time was up"):
            await asyncio.wait_for(saving, 30)
    assert names(tmp_path) == []


async def test_another_device_of_the_sender_may_take_it_back(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    """Both of Alice's devices see the deletion, and both ask; the relay is asked for one file."""
    relay = await start_relay(mode="tls")
    async with (
        enter(relay, "alice") as phone,
        enter(relay, "alice") as laptop,
        enter(relay, "bob") as bob,
    ):
        message = await sent_file(phone, bob)
        await take(laptop)
        await laptop.compose.delete("bob", message.id)
        await take(phone)
        await until(lambda: not stored(relay))
        await until(lambda: waiting(phone) + waiting(laptop) == 0)
