"""Was my conversation opened, asked when the day is over: a real relay, vault, clients, one clock.

The clock is the test's, so that the day ends when it says so. What a lying relay or log does to
single pages is in ``test_openings``; here the two lie about one reading that really was.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from client import Chat
from client.cli.opened import _lines
from client.openings import Found
from client.trust import now_ms
from crypto_modes import disclosure
from crypto_modes.disclosure import Disclosure
from crypto_modes.errors import LogRefused
from crypto_modes.keys import SigningKey
from crypto_modes.policy import conversation_id
from crypto_modes.transparency import note
from crypto_modes.transparency.access_log import DAY, Leaf
from crypto_modes.transparency.note import Checkpoint
from crypto_modes.transparency.tiles import ENTRIES, Tile, Whole, bundle, unbundle
from server.access_log.exchange import DayKeys
from server.moderation.vault_client import VaultLog
from server.vault.app import App
from tests.conftest import Running, StartRelay
from tests.test_client import enter, take
from tests.test_door import with_door
from tests.test_vault_service import Service, start_vault

pytestmark = pytest.mark.asyncio


class Story(Service):
    """Alice wrote to Bob and to Carol; at noon Lena opens what Alice and Bob wrote."""

    def __init__(self, relay: Running, app: App, clock: list[int], chats: list[Chat]) -> None:
        super().__init__(relay, app)
        self.clock = clock
        self.alice, self.bob, self.carol = chats
        self.talk = conversation_id(self.alice.account, self.bob.account)

    async def read(self) -> Disclosure:
        order = self.order(expires=self.clock[0] + 60_000)
        status, raw = await self.call(disclosure.OPEN, order, "lena", now=self.clock[0])
        assert status == 200, raw
        return msgspec.json.decode(raw, type=Disclosure)

    async def asks(self, chat: Chat, peer: str) -> Found:
        """As ``louver opened`` does, at the hour of the story."""
        chat.openings._now = lambda: self.clock[0]
        return await chat.openings.check(peer)


@pytest_asyncio.fixture
async def story(start_relay: StartRelay, tmp_path: Path) -> AsyncIterator[Story]:
    keys, _ = with_door(tmp_path / "keys")
    clock = [now_ms() // DAY * DAY + DAY // 2]
    async with AsyncExitStack() as stack:
        relay = await start_relay("at_rest", keys=keys)
        app = await start_vault(
            relay,
            tmp_path / "keys" / "vault.key",
            tmp_path / "vault",
            now=lambda: clock[0],
            notice_days=0,
        )
        stack.push_async_callback(app.stop)
        token = (relay.data / "vault.token").read_text().strip()
        there = VaultLog(f"http://127.0.0.1:{app.host.port}", token)
        stack.callback(there.close)
        relay.app.relay.openings.vault = there
        chats = [
            await stack.enter_async_context(enter(relay, name))
            for name in ("alice", "bob", "carol")
        ]
        await chats[0].send("bob", "HARM-0007")
        await chats[0].send("carol", "good morning")
        for chat in chats[1:]:
            await take(chat)
        yield Story(relay, app, clock, chats)


async def test_the_day_after_both_users_are_told_and_nobody_else(story: Story) -> None:
    shown = await story.read()
    assert [each.text for each in shown.records] == ["HARM-0007"]
    today = story.clock[0] // DAY
    for chat, peer in ((story.alice, "bob"), (story.bob, "alice")):
        found = await story.asks(chat, peer)
        assert (found.times, found.end) == ((), today)
    # To the millisecond: the last one of the day, and the first of the next.
    read_at, story.clock[0] = story.clock[0], (today + 1) * DAY - 1
    assert (await story.asks(story.alice, "bob")).times == ()
    story.clock[0] += 1
    for chat, peer in ((story.alice, "bob"), (story.bob, "alice")):
        found = await story.asks(chat, peer)
        assert (found.times, found.indexes) == ((read_at,), (shown.receipt.index,))
        assert found.end == today + 1
        assert _lines(peer, found)[0].startswith(f"Yes: your conversation with {peer} was opened")
    for chat, peer in ((story.alice, "carol"), (story.carol, "alice"), (story.carol, "bob")):
        found = await story.asks(chat, peer)
        assert (found.times, found.end) == ((), today + 1)
        assert _lines(peer, found)[0].startswith(f"No: your conversation with {peer} was not")
    # And the log that they were shown is the one of the receipt.
    promised = note.open_checkpoint(shown.receipt.checkpoint, story.app.log.verifier)
    assert promised.size == shown.receipt.index + 1 <= found.head.size
    assert found.vkey == story.app.log.verifier.encode()


class Lying:
    """The relay's way to the vault, with what is told on the way changed."""

    def __init__(self, story: Story) -> None:
        vault = story.relay.app.relay.openings.vault
        assert isinstance(vault, VaultLog)
        self._vault = vault
        self.keys: Callable[[Sequence[bytes]], Sequence[bytes]] = lambda keys: keys
        self.leaves: list[bytes] | None = None
        self.key = SigningKey((story.app.settings.data / "access.key").read_bytes())
        self._name = story.app.log.verifier.name
        story.relay.app.relay.openings.vault = self

    async def day_keys(self, conversation: bytes, first: int) -> DayKeys:
        told = await self._vault.day_keys(conversation, first)
        return msgspec.structs.replace(told, keys=tuple(self.keys(told.keys)))

    async def checkpoint(self) -> bytes:
        if self.leaves is None:
            return await self._vault.checkpoint()
        head = Checkpoint(self._name, len(self.leaves), Whole(self.leaves).root)
        return note.sign(head, self.key).encode()

    async def tile(self, tile: Tile) -> bytes:
        if self.leaves is None:
            return await self._vault.tile(tile)
        return bundle(self.leaves[tile.number * 256 :][: tile.width])


LIES: dict[str, tuple[Callable[[Lying, list[bytes], int], None], str]] = {
    # The relay alone:
    "another key for the day": (
        lambda lying, leaves, at: setattr(lying, "keys", lambda keys: [*keys[:-1], os.urandom(32)]),
        "did not sign",
    ),
    "the day's key withheld": (
        lambda lying, leaves, at: setattr(lying, "keys", lambda keys: keys[:-1]),
        "did not sign",
    ),
    # With the log's own key, so that every signature holds:
    "the leaf withheld": (
        lambda lying, leaves, at: setattr(lying, "leaves", [*leaves[:at], *leaves[at + 1 :]]),
        "put back to an older state, or entries are hidden",
    ),
    "the leaf unmarked": (
        lambda lying, leaves, at: setattr(
            lying, "leaves", [*leaves[:at], unmarked(leaves[at]), *leaves[at + 1 :]]
        ),
        "another one than before",
    ),
    "the log grown over it": (
        lambda lying, leaves, at: setattr(
            lying, "leaves", [*leaves[:at], *leaves[at + 1 :], *map(unmarked, leaves)]
        ),
        "another one than before",
    ),
}


def unmarked(raw: bytes) -> bytes:
    return msgspec.structs.replace(Leaf.decode(raw), mark=os.urandom(16)).encode()


@pytest.mark.attack(39)
async def test_a_reading_that_is_hidden_from_who_saw_the_log_is_an_alarm(story: Story) -> None:
    shown = await story.read()
    # Alice asks on the day itself: she is told nothing, and knows the log from then on.
    assert (await story.asks(story.alice, "bob")).times == ()
    story.clock[0] += DAY
    size = story.app.log.size
    leaves = unbundle(await story.app.log.tile(Tile(ENTRIES, 0, size)), size)
    lying: Any = Lying(story)
    for change, words in LIES.values():
        change(lying, leaves, shown.receipt.index)
        with pytest.raises(LogRefused, match=words):
            await story.asks(story.alice, "bob")
        # Told the truth again, she finds it.
        lying.keys, lying.leaves = (lambda keys: keys), None
        assert len((await story.asks(story.alice, "bob")).times) == 1
