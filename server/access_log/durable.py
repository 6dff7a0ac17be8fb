"""The access log of a vault: entries in, receipts out, on a disk of its own.

What may live here: marks, salts, and the group commit. What may not: files and SQL (``disk``),
witnesses, and who may enter or read. All that is asked for while one commit runs goes into the
next, so that one sync serves many; nothing is promised before its checkpoint is on the disk.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from crypto_modes.errors import BadArgument, LogUnavailable
from crypto_modes.transparency import access_log
from crypto_modes.transparency.access_log import DAY, MARK_SIZE, SALT_SIZE, Entry, Leaf, Opened
from crypto_modes.transparency.note import Note, Verifier
from crypto_modes.transparency.tiles import Tile
from crypto_modes.transparency.tree import Proof
from server.access_log import AccessLog, Receipt
from server.access_log.disk import DECODE, WIRE_TEXT, Disk, Make, Row
from server.access_log.exchange import ENTRIES_LIMIT
from server.access_log.witnesses import Contradicted, Witnesses

# Waiting callers beyond this are refused: the disk does not keep up, and memory is not one.
BACKLOG = 1000
PAGE = 256
# Seconds between two heads that are shown to the witnesses where no quorum waits for them.
INTERVAL = 3.0

T = TypeVar("T")
_ENCODE = msgspec.msgpack.Encoder().encode


class _Waiting(NamedTuple):
    makes: list[Make]
    future: asyncio.Future[Receipt]


class DurableLog:
    """``AccessLog`` in ``data``, for one process. ``open`` once, ``close`` once."""

    def __init__(
        self,
        data: Path,
        random: Callable[[int], bytes] = os.urandom,
        witnesses: Witnesses | None = None,
        interval: float = INTERVAL,
    ) -> None:
        self._disk = Disk(data)
        self._random = random
        self._witnesses = witnesses or Witnesses()
        self._interval = interval
        self._witnessed: Note | None = None
        self._grown, self._showing = asyncio.Event(), asyncio.Lock()
        self._spreading: asyncio.Task[None] | None = None
        # Set for good where a witness has seen entries that this log does not have.
        self._contradicted: LogUnavailable | None = None
        # One thread: SQLite's calls block, and the order of writes is the order of this queue.
        self._thread = ThreadPoolExecutor(1, "access log")
        self._waiting: list[_Waiting] = []
        self._turning: asyncio.Task[None] | None = None
        self._closed = True

    async def open(self) -> None:
        """Raises ``BadConfig`` where the files contradict each other or what was signed,
        ``LogUnavailable`` where the disk fails."""
        try:
            await self._on_thread(self._disk.open)
        except BaseException:
            await self.close()
            raise
        self._closed = False
        if self._witnesses:
            self._grown.set()
            self._spreading = asyncio.create_task(self._spread(), name="witnesses")

    async def close(self) -> None:
        """Enter what was asked for, then let the files go."""
        self._closed = True
        if self._spreading is not None:
            self._spreading.cancel()
            with suppress(asyncio.CancelledError):
                await self._spreading
        if self._turning is not None:
            await self._turning
        await self._on_thread(self._disk.close)
        self._thread.shutdown()

    @property
    def verifier(self) -> Verifier:
        """The log's name and public key."""
        return self._disk.verifier

    @property
    def head(self) -> Note:
        """The newest checkpoint with the log's own signature; durable."""
        return self._disk.head

    @property
    def checkpoint(self) -> bytes:
        """A checkpoint for everybody: the newest one, or the newest that witnesses were shown."""
        return (self._witnessed or self.head).encode()

    @property
    def size(self) -> int:
        """How many entries are durable."""
        return self._disk.size

    async def append(self, entries: Sequence[Entry]) -> Receipt:
        if not 1 <= len(entries) <= ENTRIES_LIMIT:
            raise BadArgument(f"1 to {ENTRIES_LIMIT} entries are entered at once")
        self._check_open()
        loop = asyncio.get_running_loop()
        waiting = _Waiting([self._make(each) for each in entries], loop.create_future())
        self._waiting.append(waiting)
        if self._turning is None:
            self._turning = loop.create_task(self._turn(), name="access log")
        return await waiting.future

    async def show(self) -> None:
        """Show the newest head to the witnesses now. Raises ``LogUnavailable`` where this log takes
        no entry: it is closed, its disk is lost, or too few of them sign."""
        self._check_open()
        if self._disk.lost:
            raise LogUnavailable(WIRE_TEXT, advice=self._disk.lost)
        if self._witnesses:
            await self._shown()

    async def tile(self, tile: Tile) -> bytes:
        """See ``Disk.tile``."""
        return await self._on_thread(lambda: self._disk.tile(tile))

    async def opened(self, start: int, limit: int = PAGE) -> list[Opened]:
        """Entries with their salts from index ``start`` on, at most ``limit`` and ``PAGE``."""
        return await self._on_thread(lambda: self._disk.opened(start, min(limit, PAGE)))

    async def consistency(self, old: int) -> tuple[Note, Proof]:
        """The head, and the proof that it continues the log of ``old`` leaves.

        Raises ``BadArgument`` where ``old`` is more than there are.
        """

        def work() -> tuple[Note, Proof]:
            return self._disk.head, self._disk.consistency(old, self._disk.size)

        return await self._on_thread(work)

    async def erase(self, numbers: Sequence[int]) -> int:
        """Overwrite entries and salts, of which the leaves stay; how many there were."""
        return await self._on_thread(lambda: self._disk.erase(numbers))

    def day_keys(self, conversation: bytes, first: int, last: int) -> list[bytes]:
        """By which a conversation's users find its leaves of the days ``first`` to ``last``."""
        secret = self._disk.secret
        return [access_log.day_key(secret, conversation, day) for day in range(first, last + 1)]

    def _check_open(self) -> None:
        if self._closed or len(self._waiting) >= BACKLOG:
            why = "the access log is closed" if self._closed else "the disk does not keep up"
            raise LogUnavailable(WIRE_TEXT, advice=why)
        if self._contradicted is not None:
            raise LogUnavailable(WIRE_TEXT, advice=self._contradicted.advice)

    def sign_days(self, conversation: bytes, first: int, keys: Sequence[bytes]) -> bytes:
        """That these are they; see ``access_log.sign_days``."""
        return access_log.sign_days(self._disk.key, conversation, first, keys)

    async def _turn(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                first, head = await self._on_thread(partial(self._commit, batch))
                if self._witnesses.quorum:
                    head = await self._shown()
            except Exception as error:  # noqa: BLE001 - whatever it was, every caller is told
                for each in batch:
                    _fail(each.future, error)
                continue
            for each in batch:
                if (
                    not each.future.done()
                ):  # else who asked was cancelled; it is entered all the same
                    each.future.set_result(Receipt(first, head.encode()))
                first += len(each.makes)
            self._grown.set()
        self._turning = None

    async def _spread(self) -> None:
        """Show the witnesses each new head, or the newest of those that came within a while."""
        while True:
            await self._grown.wait()
            self._grown.clear()
            signatures = 0
            with suppress(LogUnavailable):  # kept, or tried again
                signatures = len((await self._shown()).signatures)
            await asyncio.sleep(self._interval)
            if signatures <= len(self._witnesses) and self._contradicted is None:
                self._grown.set()  # one is missing, and may be back

    async def _shown(self) -> Note:
        """The head with what the witnesses gave. Raises ``LogUnavailable``."""
        async with self._showing:
            try:
                self._witnessed = await self._witnesses.sign(self.head, self._prove)
            except Contradicted as error:
                self._contradicted = error
                raise
        return self._witnessed

    async def _prove(self, old: int, size: int) -> Proof:
        return await self._on_thread(lambda: self._disk.consistency(old, size))

    def _commit(self, batch: Sequence[_Waiting]) -> tuple[int, Note]:
        """On the thread: the first index, and the checkpoint over all of the batch."""
        first = self._disk.append([make for each in batch for make in each.makes])
        self._disk.sign()
        return first, self._disk.head

    def _make(self, entry: Entry) -> Make:
        """Everything that may refuse ``entry`` happens here, before it shares a transaction."""
        salt, raw = self._random(SALT_SIZE), _ENCODE(entry)
        try:
            DECODE(raw)
        except msgspec.ValidationError as error:
            raise BadArgument(f"an entry of the access log is malformed: {error}") from None
        sealed = access_log.commitment(salt, entry)

        def make(index: int) -> Row:
            leaf = Leaf(entry.time, self._mark(entry, index), sealed)
            return Row(leaf.encode(), leaf.hash, salt, raw)

        return make

    def _mark(self, entry: Entry, index: int) -> bytes:
        if not access_log.opens(entry):
            return self._random(MARK_SIZE)
        day = entry.time // DAY
        key = access_log.day_key(self._disk.secret, entry.conversation, day)
        return access_log.mark(key, index)

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _fail(future: asyncio.Future[Receipt], error: Exception) -> None:
    if future.done():
        return
    if isinstance(error, LogUnavailable):
        # One each: an exception that several tasks raise collects all their tracebacks.
        error = LogUnavailable(str(error), retry_after=error.retry_after, advice=error.advice)
    future.set_exception(error)


_conforms: type[AccessLog] = DurableLog
