"""A stolen device: its key store, taken in the middle of a conversation, tried on all of it.

What may live here: the conversation, the theft, what the thief reads, and the verdict. What may
not: any reading of a store or a message that is not the real client's.

The thief has the files of an unlocked device, key file included: identity, token, sessions. He
opens them with the real client, comes to the relay as that device, and asks it for the whole
conversation: what it then gives is every message as it was recorded for this device, from before
the theft and after. What the device itself still shows, its kept history, is taken out first and
counted apart. He only reads: who also writes in its name is another adversary (threat-model.md).

The control is a message that had arrived and not been opened when the device was stolen: its key
was there, so the thief must read it, in every mode.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from client import Chat, Keystore, Message
from client.compare import probes
from client.compare.canary import THEFT, WAITING, Canaries
from client.compare.results import Exposure
from client.compare.search import Found, Searcher
from client.memory import Memory
from crypto_modes import policy

VICTIM, FRIEND = "theft-victim", "theft-friend"
# Messages to the device: before it is stolen, until it has answered once, and after both have
# answered twice. In between lie the answers themselves.
MESSAGES = 8
HEALING_TURNS = 2
PAST, FUTURE, HEALED = "stolen_device_past", "stolen_device_future", "stolen_device_healed"
PARTS = (PAST, FUTURE, HEALED)
_CARRY_SECONDS = 20.0
_PAGE = 500

# A chat of this user with this key store.
Enter = Callable[[str, Keystore], AbstractAsyncContextManager[Chat]]


@dataclass(frozen=True)
class Loot:
    """What the thief found: ``read`` in the recorded messages, ``kept`` in the device's own
    history, and how many messages were ``tried``."""

    read: Found
    kept: frozenset[int]
    tried: int


def planted(part: str) -> frozenset[int]:
    """The numbers of the canaries of this part of the conversation."""
    first = THEFT + PARTS.index(part) * MESSAGES
    return frozenset(range(first, first + MESSAGES))


async def suffer(enter: Enter, place: Path, canaries: Canaries) -> Loot:
    """The whole story on a running relay, which is entered by ``enter``; device and loot lie below
    ``place``.

    Raises ``RuntimeError`` or ``TimeoutError`` where the device itself does not get a message.
    """
    home, stolen = place / "device", place / "stolen"
    async with (
        enter(FRIEND, Keystore.in_memory()) as friend,
        enter(VICTIM, _store(home)) as victim,
    ):
        await _talk(friend, victim, canaries, lambda: shutil.copytree(home, stolen))
        peer = friend.account
    return await _read(enter, _store(stolen), peer, canaries)


async def _talk(
    friend: Chat, victim: Chat, canaries: Canaries, steal: Callable[[], object]
) -> None:
    """The conversation; ``steal`` is called in its middle, at a moment when nothing is written."""

    async def say(part: str, texts: slice = slice(None)) -> None:
        numbers = sorted(planted(part))[texts]
        await _carry(friend, victim, *map(canaries.make, numbers))

    half = MESSAGES // 2
    for texts in (slice(half), slice(half, None)):
        await say(PAST, texts)
        await _carry(victim, friend, "an answer")
    await friend.send(victim.account, canaries.make(WAITING))
    # Without an await: the device's own tasks, of this loop, write nothing meanwhile.
    steal()
    await _take(victim)
    await say(FUTURE)
    for _ in range(HEALING_TURNS):
        await _carry(victim, friend, "an answer")
        await _carry(friend, victim, "and one to it")
    await say(HEALED)


async def _carry(sender: Chat, recipient: Chat, *texts: str) -> None:
    sent = [sender.send_soon(recipient.account, text) for text in texts]
    for _ in texts:
        await _take(recipient)
    await asyncio.gather(*sent)


async def _take(recipient: Chat) -> None:
    async with asyncio.timeout(_CARRY_SECONDS):
        message = await anext(recipient)
    if not message.opened:
        raise RuntimeError("the device itself could not open a message")


async def _read(enter: Enter, store: Keystore, peer: bytes, canaries: Canaries) -> Loot:
    """What the stolen ``store`` shows, and what it opens of the conversation with ``peer``."""
    kept = _searched(canaries, _taken_out(store))
    async with enter(VICTIM, store) as thief:
        recorded = [message async for message in _recorded(thief, peer)]
    return Loot(_searched(canaries, recorded), frozenset(kept.numbers), len(recorded))


def _taken_out(store: Keystore) -> list[Message]:
    """The history that the device keeps; from here on it does not."""
    memory = Memory(store)
    mine = memory.identity().account
    conversations = [policy.conversation_id(mine, peer) for peer in memory.peers()]
    kept = [message for each in conversations for message in memory.messages(each)]
    for message in kept:
        memory.forget_message(message.conversation, message.id)
    return kept


async def _recorded(thief: Chat, peer: bytes) -> AsyncIterator[Message]:
    """Every message to this device, as the relay has it; empty where it does not open."""
    before = 0
    while page := await thief.history(peer, before=before, limit=_PAGE):
        for message in page:
            if not message.own:
                yield message
        before = page[0].seq


def _searched(canaries: Canaries, messages: Iterable[Message]) -> Found:
    searcher = Searcher(canaries)
    for message in messages:
        searcher.feed(message.content, headless=False)
    return searcher.found


def _store(place: Path) -> Keystore:
    return Keystore.open(place / "keystore.db", key_file=place / "keystore.key")


def exposure(loot: Loot, declared: Mapping[str, bool]) -> dict[str, Exposure]:
    """The verdict on each part of the conversation."""
    heard = WAITING in loot.read.numbers
    found = {}
    for part in PARTS:
        wanted = planted(part)
        told = f"{loot.tried} recorded messages were tried on the stolen key store"
        found[part] = probes.verdict(
            declared[part],
            loot.read,
            wanted,
            heard=heard,
            kept=len(loot.kept & wanted),
            note=told,
        )
    return found
