"""Heads of conversations in the access log: once an hour, one digest over all that changed.

What may live here: finding what changed, entering its digest, and keeping what it covers. What may
not: making a digest again from the records (``server.chain_check``). Whoever rolls a conversation
back in the database, or deletes its end, leaves records that give another digest than the log has.

The order is: kept, entered, marked as entered. After a crash in between it is entered again, and
the log has one digest twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from crypto_modes import at_rest
from crypto_modes.transparency.access_log import Entry
from server.access_log import AccessLog
from server.moderation.records import Record
from server.moderation.store import ModerationStore
from server.store import Store

HOUR = 3_600_000
# Pages of messages that are looked at in one minute; the store says how long one is.
PAGES = 20
LIMIT = 10_000  # conversations in one digest; what is beyond goes into the next
KEPT = 9_000  # a year of hours
HEADS = "heads"  # the outcome of such an entry
_PLACE = b"chains' place...."[:16]
_LINE = 24


class Covered(Record, frozen=True, kw_only=True):
    """One digest, 32 bytes, and the messages (conversation, seq) whose heads it is over."""

    id: bytes
    time: int
    digest: bytes
    entry: int = -1
    places: bytes

    def each(self) -> list[tuple[bytes, int]]:
        """Conversation and seq."""
        lines = (self.places[at : at + _LINE] for at in range(0, len(self.places), _LINE))
        return [(line[:16], int.from_bytes(line[16:], "big")) for line in lines]


class Reached(Record, frozen=True, kw_only=True):
    """How far the relay has come, and when; ``pending`` is the id of what it could not enter."""

    id: bytes = _PLACE
    place: int
    time: int
    pending: bytes
    kept: int


class Chains:
    """Enters heads. ``tick`` about once a minute; nothing happens in most of them."""

    def __init__(
        self,
        kept: ModerationStore,
        store: Store,
        log: AccessLog,
        *,
        now: Callable[[], int],
        random: Callable[[int], bytes],
    ) -> None:
        self._kept = kept
        self._store = store
        self._log = log
        self._now = now
        self._random = random
        self._turn = asyncio.Lock()
        self._reached: Reached | None = None
        self._place = self._due = 0
        self._found: dict[bytes, tuple[int, bytes]] = {}

    async def tick(self) -> None:
        """Raises ``Unavailable``: then it is done the next time."""
        async with self._turn:
            reached = self._reached or await self._load()
            if reached.pending:
                reached = await self._enter(reached)
            if self._now() < self._due:
                return
            ended = await self._look()
            if ended:
                self._due = self._now() + HOUR
            # Until all was looked at only a full digest is entered.
            if len(self._found) >= LIMIT or (ended and self._found):
                await self._enter(await self._keep(reached))

    async def _load(self) -> Reached:
        found = await self._kept.get(Reached, _PLACE)
        self._due = (found.time if found else self._now()) + HOUR
        self._reached = found or Reached(version=0, place=0, time=0, pending=b"", kept=0)
        self._place = self._reached.place
        return self._reached

    async def _look(self) -> bool:
        """Collect what changed; whether that is all."""
        for _ in range(PAGES):
            page = await self._store.chained(self._place)
            self._found |= {conversation: (seq, head) for conversation, seq, head in page.heads}
            ended, self._place = page.last, page.place
            if ended or len(self._found) >= LIMIT:
                return ended
        return False

    async def _keep(self, reached: Reached) -> Reached:
        heads = sorted((each, *self._found[each]) for each in self._found)
        covered = Covered(
            id=self._random(16),
            time=self._now(),
            digest=at_rest.heads_digest(heads),
            places=b"".join(each + seq.to_bytes(8, "big") for each, seq, _ in heads),
        )
        after = msgspec.structs.replace(
            reached,
            version=reached.version + 1,
            place=self._place,
            time=covered.time,
            pending=covered.id,
            kept=reached.kept + 1,
        )
        await self._kept.put(covered, after)
        self._found, self._reached = {}, after
        return after

    async def _enter(self, reached: Reached) -> Reached:
        covered = await self._kept.get(Covered, reached.pending)
        if covered is not None and covered.entry < 0:
            number = len(covered.each())
            detail = {"outcome": HEADS, "digest": covered.digest.hex()}
            entry = Entry(kind="keys", time=self._now(), count=number, detail=detail)
            receipt = await self._log.append([entry])
            covered = msgspec.structs.replace(
                covered, version=covered.version + 1, entry=receipt.index
            )
            await self._kept.put(covered)
        kept = reached.kept
        if kept > KEPT:
            for oldest in await self._kept.find(Covered, 0, 1):
                await self._kept.drop(Covered, oldest.id)
            kept -= 1
        after = msgspec.structs.replace(
            reached, version=reached.version + 1, pending=b"", kept=kept
        )
        await self._kept.put(after)
        self._reached = after
        return after
