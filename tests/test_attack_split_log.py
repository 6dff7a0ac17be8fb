"""Attacks on the key log by showing two of them: row 19. What proves it, and what only claims it.

Real clients, a real relay, and a hostile one in between that holds the relay's own signing key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from client import LogRefusal, SplitView
from client.key_watch import Claim
from crypto_modes.contract import KEY_LOG, LOG_HEAD
from crypto_modes.errors import LogRefused
from crypto_modes.keys import SigningKey
from crypto_modes.transparency import key_log, note
from crypto_modes.transparency.note import Checkpoint
from tests.conftest import StartRelay
from tests.log_liar import false_list, row_of, rows_of
from tests.log_scene import looked, scenes
from tests.test_client import take
from tests.test_client_trust import events_of

pytestmark = pytest.mark.asyncio


@pytest.fixture
def scene(start_relay: StartRelay) -> Callable[[], Any]:
    return scenes(start_relay)


@pytest.mark.attack(14)
@pytest.mark.attack(19)
@pytest.mark.parametrize("longer", [False, True])
async def test_a_split_view_shows_when_the_two_sides_write_to_somebody(
    scene: Any, longer: bool
) -> None:
    """Alice sees a log of her own, with a false key for Bob. Carol sees the real one."""
    async with scene() as here:
        bob, carol = await here.enter("bob"), await here.enter("carol")
        false = false_list(bob.account)
        liar = await here.liar("alice")
        here.substitute(false, "alice")
        liar.rows[0] = row_of(false)
        alice = await here.enter("alice")
        liar.rows += [row for row in await rows_of(here.relay) if row.account == alice.account]
        await alice.devices("bob")
        assert alice._trust.verifying().pinned_key(bob.account) == false.key  # deceived, so far
        if longer:
            await here.enter("dave")
        await carol.key_watch.watch()
        await alice.send("carol", "have you seen Bob's key?")
        async with events_of(carol) as seen:
            (message,) = await take(carol)
            assert message.warnings == (() if longer else ("split_view",))
            claims = await carol.key_watch.hear()
            await asyncio.sleep(0.05)
        (event,) = (event for event in seen if isinstance(event, SplitView))
        assert event == SplitView(alice.account, alice.key_watch.log.head())
        assert claims == [Claim(alice.account, "alice", alice.key_watch.log.head())]


@pytest.mark.attack(19)
async def test_of_one_log_at_different_times_nothing_is_said(scene: Any) -> None:
    async with scene() as here:
        alice, bob = await here.enter("alice"), await here.enter("bob")
        await bob.send("alice", "early")
        await take(alice)
        for name in ("carol", "dave", "erin"):
            await here.enter(name)
        await alice.key_watch.watch()
        await alice.send("bob", "later")
        (message,) = await take(bob)
        assert message.warnings == ()
        await bob.send("alice", "back")
        assert (await take(alice))[0].warnings == ()
        for chat in (alice, bob):
            assert await chat.key_watch.hear() == []
            assert list(chat._memory.store.scan("key_log_heard")) == []


@pytest.mark.attack(19)
async def test_a_head_that_the_relay_denies_is_a_split_view(scene: Any) -> None:
    async with scene() as here:
        bob = await here.enter("bob")
        await bob.key_watch.watch()
        ahead = key_log.Head(99, b"r" * 32)
        assert key_log.heard(bob._memory.store, b"c" * 16, ahead) == ()
        assert await bob.key_watch.hear() == [Claim(b"c" * 16, "", ahead)]


@pytest.mark.attack(19)
@pytest.mark.parametrize("size", [1, 3, 99])
async def test_what_a_stranger_invents_of_the_log_stops_nothing_and_bears_his_name(
    scene: Any, size: int
) -> None:
    async with scene() as here:
        bob, alice = await here.enter("bob"), await here.enter("alice")
        mallory = await here.enter("mallory")
        await looked(alice)
        await mallory.look_up("alice")
        false = key_log.Head(size, b"f" * 32)
        mallory._memory.store.put(KEY_LOG, LOG_HEAD, false.encode())
        await mallory.send("alice", "the relay lies to you!")
        async with events_of(alice) as seen:
            (message,) = await take(alice)
            found = await alice.key_watch.verify("bob")
            await asyncio.sleep(0.05)
        assert message.warnings == (("split_view",) if size == 3 else ())
        assert [event for event in seen if isinstance(event, SplitView)] == [
            SplitView(mallory.account, false)
        ]
        assert found.claims == (Claim(mallory.account, "mallory", false),)
        # Said once: a stranger does not get to say it again with every start.
        assert (await alice.key_watch.verify("bob")).claims == ()
        assert bob.unlinked is None


@pytest.mark.attack(19)
async def test_two_signed_checkpoints_that_contradict_each_other_stop_everything(
    scene: Any, tmp_path: Path
) -> None:
    """Alice is shown another log than Carol; Carol tells her checkpoint by another way."""
    async with scene() as here:
        bob, carol = await here.enter("bob"), await here.enter("carol")
        alice = await here.enter("alice", tmp_path)
        await looked(alice)
        liar = await here.liar("carol")
        liar.rows[0] = row_of(false_list(bob.account))
        carol._memory.store.delete(KEY_LOG, b"head")
        await carol.key_watch.log.update()
        theirs = carol.key_watch.log.state().note
        with pytest.raises(LogRefused, match="two key logs that contradict"):
            await alice.key_watch.log.compare(theirs)
        assert alice.key_watch.log.proof() == theirs
        for _ in range(2):  # and it stays so
            with pytest.raises(LogRefused, match="two key logs that contradict"):
                await alice.key_watch.verify("bob")
        async with events_of(alice) as seen:
            await alice.key_watch.look()
            await asyncio.sleep(0.05)
        assert [type(event) for event in seen] == [LogRefusal]
        alice.key_watch.log.forget(alice.key_watch.log.state().vkey)
        await alice.key_watch.verify("bob")


@pytest.mark.attack(19)
async def test_a_relay_that_signs_another_root_for_one_size_has_proved_it_itself(
    scene: Any,
) -> None:
    async with scene() as here:
        bob, alice = await here.enter("bob"), await here.enter("alice")
        await looked(alice)
        liar = await here.liar("alice")
        liar.rows[0] = row_of(false_list(bob.account))
        with pytest.raises(LogRefused, match="two key logs that contradict"):
            await alice.key_watch.log.update()
        liar.lying = False
        with pytest.raises(LogRefused, match="two key logs that contradict"):
            await alice.key_watch.verify("bob")


@pytest.mark.attack(19)
async def test_a_checkpoint_that_the_log_has_not_signed_proves_nothing(scene: Any) -> None:
    async with scene() as here:
        await here.enter("bob")
        alice = await here.enter("alice")
        await looked(alice)
        log = alice.key_watch.log
        mine = log.state().note
        assert await log.compare(mine) == log.head()
        forged = Checkpoint(log.state().vkey.split("+")[0], 1, b"f" * 32)
        stranger = SigningKey(b"a key that somebody just made up")
        for said in (note.sign(forged, stranger).encode(), mine.replace(b"\n2\n", b"\n1\n")):
            with pytest.raises(LogRefused, match=r"trusted|does not hold"):
                await log.compare(said)
        assert log.proof() == b""
        await alice.key_watch.verify("bob")
