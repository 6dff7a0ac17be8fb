"""The data keys a relay holds in memory: made, stored wrapped, unwrapped, and forgotten again.

What may live here: the cache between ``at_rest``, the store and a keyring. What may not: how a
keyring wraps, and anything about messages.

``at_rest`` asks synchronously, on whatever thread it runs on, and gets ``Need`` where a key is
missing; ``supply`` then fetches it on the event loop. A new key is durable, wrapped, before its
first use, so no record can outlive its key. An unwrapped key ages::

    fresh ──5 min──► due: unwrapped again ──provider unreachable──► lent, 30 s at a time
                          │                                            │
                          └─► fresh                60 min since it was unwrapped ──► lost

so that taking the key-encryption key away takes effect within five minutes, and an outage of
the provider is survived for an hour. After that there is ``KeyServiceUnavailable``: nothing is
stored in the clear and nothing is acknowledged.

Keys are *made ahead* by ``renew``: the context that wraps a key names its conversation, sender
and epoch, so no pool of nameless keys can be wrapped beforehand. What can is the successor of a
key in use. It is made in the last tenth of an epoch, 64 at a time, and takes over at once, so a
running conversation never waits for a key and an outage does not find its epoch ending.

Where a moderation ``door`` is given, each new key is also wrapped for it; nothing here can open
that. A key whose door is not the configured one takes no further message: the next one begins an
epoch, so that closing the door, opening one or changing its lock holds from the next message on.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Protocol

from crypto_modes import door as moderation
from crypto_modes.contract import ID_SIZE, Need, NeedDataKey, NeedWrappedKey
from crypto_modes.errors import CannotOpen, KeyServiceRefuses, KeyServiceUnavailable
from crypto_modes.keyring import Keyring, dek_context
from server.keyrings.checked import SERVING
from server.store import WrappedKey

CAPACITY = 10_000
SOFT = 5 * 60 * 1000
HARD = 60 * 60 * 1000
LOAN = 30 * 1000
EPOCH_TIME = 7 * 24 * 60 * 60 * 1000
EPOCH_RECORDS = 1 << 20
OVER = 1.0
ENDING = 0.9
AHEAD = 64  # also how many requests the provider gets at once

KeyNeed = NeedDataKey | NeedWrappedKey


class Generations(Keyring, Protocol):
    """A keyring that says which generation of its key wraps now."""

    @property
    def generation(self) -> int: ...


class KeyTable(Protocol):
    """The part of a ``Store`` that keeps wrapped keys."""

    @property
    def deployment(self) -> bytes: ...
    async def put_data_key(self, key: WrappedKey) -> bool: ...
    async def data_key(self, dek_id: bytes) -> WrappedKey | None: ...
    async def newest_data_key(self, conversation: bytes, sender: bytes) -> WrappedKey | None: ...


@dataclass(slots=True, repr=False)
class _Entry:
    """An unwrapped data key; without a repr, so that no log line or traceback shows it.

    ``unwrapped`` and ``due`` are monotonic, ``ending`` is wall time.
    """

    stored: WrappedKey
    key: bytes
    unwrapped: int
    due: int
    ending: int
    records: int = 0


def _wrong_key() -> KeyServiceUnavailable:
    return KeyServiceUnavailable(
        "the relay cannot open this conversation's keys now; wait until its operator has helped",
        advice="the key file does not open the stored keys: restore the one they were made with,"
        " and keys.db, from their backups",
    )


def _used(stored: WrappedKey, records: int, now: int) -> float:
    """How much of a key's epoch is over; 1.0 ends it. ``now`` is wall time."""
    return max((now - stored.created) / EPOCH_TIME, records / EPOCH_RECORDS)


class DataKeyCache:
    """Conforms to ``DataKeys``. ``current`` and ``find`` may be called from any thread, the rest
    belongs to the event loop.

    ``now()`` gives wall time in milliseconds and ends epochs; ``monotonic()`` gives milliseconds
    of a clock that never steps back, for the ages above. Records are counted while a key is in
    memory: the bound of 2^20 limits what one key protects, and no nonce depends on it, since
    every record has a key of its own.
    """

    def __init__(
        self,
        store: KeyTable,
        keyring: Generations,
        *,
        now: Callable[[], int],
        monotonic: Callable[[], int],
        door: moderation.Door | None = None,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._door = door
        self._now = now
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._writing: dict[NeedDataKey, _Entry] = {}
        self._ending: dict[NeedDataKey, None] = {}
        self._flights: dict[KeyNeed, asyncio.Task[None]] = {}
        self._provider = asyncio.Semaphore(AHEAD)
        self._generation = 0

    def current(self, conversation: bytes, sender: bytes, now: int) -> tuple[bytes, bytes]:
        """``(dek_id, dek)`` for a new record, 16 and 32 bytes; counts the record.

        Raises ``Need`` where there is no key, its epoch is over, or it is due.
        """
        need = NeedDataKey(conversation, sender)
        with self._lock:
            entry = self._writing.get(need)
            if entry is None or self._monotonic() >= entry.due:
                raise Need(need)
            if now >= entry.ending or entry.records >= ENDING * EPOCH_RECORDS:
                self._end(entry, need, now)
            entry.records += 1
            self._entries.move_to_end(entry.stored.dek_id)
            return entry.stored.dek_id, entry.key

    def find(self, dek_id: bytes) -> bytes:
        """The 32-byte data key with this id. Raises ``Need`` where it is missing or due."""
        with self._lock:
            entry = self._entries.get(dek_id)
            if entry is None or self._monotonic() >= entry.due:
                raise Need(NeedWrappedKey(dek_id))
            self._entries.move_to_end(dek_id)
            return entry.key

    def _end(self, entry: _Entry, need: NeedDataKey, now: int) -> None:
        if _used(entry.stored, entry.records, now) >= OVER:
            raise Need(need)
        if len(self._ending) < AHEAD:
            self._ending[need] = None

    async def supply(self, need: KeyNeed) -> None:
        """Fetch or make the key that ``need`` names. All who need one key wait for one flight.

        Raises:
            KeyServiceUnavailable: the provider is unreachable, and for longer than a loan lasts;
                or it does not open the stored key, and may once the right one is put back.
            StoreUnavailable: the key could not be read, or not be made durable.
            CannotOpen: the key was shredded: it is not stored any more.
        """
        if isinstance(need, NeedWrappedKey):
            await self._fly(need, self._lookup(need))
        else:
            await self._fly(need, self._open(need, OVER))

    async def renew(self) -> int:
        """Make the successors of keys whose epoch is ending; how many. Call it every minute.

        Raises ``KeyServiceUnavailable`` or ``StoreUnavailable``; the keys in use stay in use.
        """
        with self._lock:
            ending, self._ending = list(self._ending), {}
        flights = [self._fly(need, self._open(need, ENDING)) for need in ending]
        outcomes = await asyncio.gather(*flights, return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome
        return len(outcomes)

    def flush(self) -> None:
        """Forget every unwrapped key, also those under way: after a shredding or a revocation."""
        with self._lock:
            self._generation += 1
            self._entries.clear()
            self._writing.clear()
            self._ending.clear()

    async def close(self) -> None:
        """Forget every key and stop what is under way. The keyring stays open."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        self.flush()

    async def _fly(self, need: KeyNeed, fetch: Coroutine[None, None, None]) -> None:
        """Run ``fetch``, or wait for the one that is under way for the same key."""
        flight = self._flights.get(need)
        if flight is None:
            flight = self._flights[need] = asyncio.create_task(fetch)
            flight.add_done_callback(lambda done: self._landed(need, done))
        else:
            fetch.close()
        # A caller that gives up must not take the key away from the others.
        await asyncio.shield(flight)

    def _landed(self, need: KeyNeed, flight: asyncio.Task[None]) -> None:
        del self._flights[need]
        if not flight.cancelled():
            flight.exception()  # seen, even where every waiter has given up

    async def _lookup(self, need: NeedWrappedKey) -> None:
        generation = self._generation
        stored = await self._store.data_key(need.dek_id)
        if stored is None:
            self._forget(need.dek_id)
            raise CannotOpen("this message's key was destroyed; nobody can open it")
        await self._unwrap(stored, generation)

    async def _open(self, need: NeedDataKey, limit: float) -> None:
        """Go on with the newest stored key of this sender, or begin the next epoch.

        The epoch is counted from what is stored, so a crash at any point repeats none.
        """
        generation = self._generation
        newest = await self._store.newest_data_key(need.conversation, need.sender)
        if newest is None:
            await self._make(need, 1, generation)
        elif (
            not self._has_right_door(newest)
            or _used(newest, self._records(newest.dek_id), self._now()) >= limit
        ):
            await self._make(need, newest.epoch + 1, generation)
        else:
            await self._unwrap(newest, generation, need)

    async def _make(self, need: NeedDataKey, epoch: int, generation: int) -> None:
        key, stored = await self._wrap_new(need, epoch)
        while not await self._store.put_data_key(stored):
            # Its key-encryption key was rotated meanwhile, and may be gone any moment.
            key, stored = await self._wrap_new(need, epoch)
        self._install(stored, key, generation, need)

    async def _wrap_new(self, need: NeedDataKey, epoch: int) -> tuple[bytes, WrappedKey]:
        place = self._store.deployment, need.conversation, need.sender, epoch
        wrapped_by = self._keyring.generation  # before it wraps: it may turn while it does
        async with self._provider:
            key, wrapped = await self._keyring.generate(dek_context(*place, SERVING))
        behind = b""
        if self._door is not None:
            behind = self._door.wrap(key, dek_context(*place, moderation.PURPOSE))
        return key, WrappedKey(
            dek_id=os.urandom(ID_SIZE),
            conversation=need.conversation,
            sender=need.sender,
            epoch=epoch,
            created=self._now(),
            serving=wrapped,
            moderation=behind,
            generation=wrapped_by,
        )

    async def _unwrap(
        self, stored: WrappedKey, generation: int, need: NeedDataKey | None = None
    ) -> None:
        place = self._store.deployment, stored.conversation, stored.sender, stored.epoch
        context = dek_context(*place, SERVING)
        try:
            async with self._provider:
                key = await self._keyring.unwrap(stored.serving, context)
        except KeyServiceRefuses:
            # The key was taken away, and that must take effect: nothing is lent.
            self._forget(stored.dek_id)
            raise
        except KeyServiceUnavailable:
            if not self._lend(stored.dek_id, need):
                raise
        except CannotOpen:
            if again := await self._rewrapped(stored):
                await self._unwrap(again, generation, need)
                return
            self._forget(stored.dek_id)
            # Not `CannotOpen`: that would skip the message for good, and it is readable again as
            # soon as the right key-encryption key is back.
            raise _wrong_key() from None
        else:
            self._install(stored, key, generation, need)

    async def _rewrapped(self, stored: WrappedKey) -> WrappedKey | None:
        """``stored`` as it is now, where a rotation has wrapped it anew since it was read."""
        again = await self._store.data_key(stored.dek_id)
        return again if again is not None and again.serving != stored.serving else None

    def _has_right_door(self, stored: WrappedKey) -> bool:
        if self._door is None:
            return not stored.moderation
        return self._door.closes(stored.moderation)

    def _records(self, dek_id: bytes) -> int:
        with self._lock:
            entry = self._entries.get(dek_id)
            return entry.records if entry else 0

    def _install(
        self, stored: WrappedKey, key: bytes, generation: int, need: NeedDataKey | None
    ) -> None:
        with self._lock:
            if generation != self._generation:
                return  # flushed meanwhile: whoever needs it asks again
            now = self._monotonic()
            entry = self._entries.get(stored.dek_id)
            if entry is None:
                ending = stored.created + int(ENDING * EPOCH_TIME)
                entry = self._entries[stored.dek_id] = _Entry(stored, key, now, now, ending)
            entry.unwrapped, entry.due = now, now + SOFT
            if need is not None:
                self._writing[need] = entry
            self._entries.move_to_end(stored.dek_id)
            if len(self._entries) > CAPACITY:
                self._drop(next(iter(self._entries)))

    def _lend(self, dek_id: bytes, need: NeedDataKey | None) -> bool:
        """Keep a due key a little longer while the provider is away; False if it is lost."""
        with self._lock:
            entry = self._entries.get(dek_id)
            now = self._monotonic()
            if entry is None:
                return False
            if now >= entry.unwrapped + HARD:
                self._drop(dek_id)
                return False
            entry.due = min(now + LOAN, entry.unwrapped + HARD)
            if need is not None:
                self._writing[need] = entry
            return True

    def _forget(self, dek_id: bytes) -> None:
        with self._lock:
            if dek_id in self._entries:
                self._drop(dek_id)

    def _drop(self, dek_id: bytes) -> None:
        entry = self._entries.pop(dek_id)
        need = NeedDataKey(entry.stored.conversation, entry.stored.sender)
        if self._writing.get(need) is entry:
            del self._writing[need]
