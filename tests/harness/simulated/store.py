"""The simulated disk: the real store on a database in memory, its threads replaced by timers.

What may live here: when commits and reads happen, when their results are told, and which of them
fail. What may not: what is stored; SQL, group commit and recovery are the product's. What was
committed survives a crash; what was only asked for does not, and neither does an answer that was
not told yet.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw

from crypto_modes.errors import StoreUnavailable
from server.store import Append, migrate
from server.store.sqlite import SCHEMA, SqliteStore, service, upgrade
from server.store.sqlite.marks import Marks
from server.store.sqlite.writer import MARKS_EVERY, Job, Writer

T = TypeVar("T")
_NOWHERE = Path("simulated")
_TOLD = 1e-6  # no two results are told at the same time


class Disk:
    """Two databases in memory that outlive the relays on them, and the trouble they are in.

    ``lazy`` is a planted fault: a commit is durable only so many seconds after it was reported.
    """

    def __init__(self, chance: random.Random, lazy: float = 0.0) -> None:
        self.chance = chance
        self.full = False
        self.unreadable = False
        self.slowest = chance.choice((0.001, 0.01, 0.05))
        self.batch = chance.choice((1, 3, 512))
        self._lazy = lazy
        self._images: list[tuple[float, bytes]] = []
        self.main = self._database(_template(SCHEMA))
        self.keys = self._database(_template(SCHEMA / "keys"))

    def delay(self) -> float:
        """How long a step takes, in seconds."""
        return self.chance.random() ** 3 * self.slowest + 0.0001

    def committed(self, now: float) -> None:
        """Something was written."""
        if self._lazy:
            self._images.append((now, self.main.serialize("main")))

    def crash(self, now: float) -> None:
        """The power fails: what was not durable is gone."""
        kept = [image for time, image in self._images if time <= now - self._lazy]
        self._images = []
        if self._lazy and kept:
            self.main = self._database(kept[-1])

    def _database(self, image: bytes) -> apsw.Connection:
        db = apsw.Connection(":memory:")
        db.deserialize("main", image)
        db.pragma("foreign_keys", 1)
        db.set_commit_hook(self._may_commit)
        return db

    def _may_commit(self) -> bool:
        if self.full:
            error = apsw.FullError("simulated")
            error.extendedresult = apsw.SQLITE_FULL
            raise error
        return False


@functools.cache
def _template(schema: Path) -> bytes:
    """An empty database of today's version."""
    db = apsw.Connection(":memory:")
    upgrade.upgrade(db, _NOWHERE, migrate.load(schema))
    return db.serialize("main")


class SimulatedStore(SqliteStore):
    """The store of one relay on a disk. After ``die`` it does nothing and tells nobody."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(_NOWHERE, on_fatal=_fatal)
        main, keys = disk.main, disk.keys
        self._writer: _Writer = _Writer(disk, main, (self._cursors, self._reads))
        self._key_writer: _Writer = _Writer(disk, keys, ())
        self._readers: Any = _Readers(disk, main)
        self._key_readers: Any = _Readers(disk, keys)

    async def open(self) -> None:
        await self._writer.open()
        await self._key_writer.open()
        self._deployment = await self._writer.run(service.make_deployment)

    def die(self) -> None:
        """The process is gone, from one step to the next."""
        for part in (self._writer, self._key_writer, self._readers, self._key_readers):
            part.dead = True


class _Writer(Writer):
    """The real writer, whose thread is a timer: a batch begins a while after it was asked for."""

    def __init__(self, disk: Disk, db: apsw.Connection, marks: Sequence[Marks]) -> None:
        super().__init__(_NOWHERE, lambda: db, marks, _fatal, lambda _: None)
        self.dead = False
        self._disk = disk
        self._db = db
        self._due: asyncio.TimerHandle | None = None
        self._told = 0.0

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._refusal = None
        self._wake(MARKS_EVERY)

    async def close(self) -> None:
        if self._refusal is None:
            self._refusal = StoreUnavailable("the store is closed")
            self._queue.put(None)
            self._work()

    def append(self, entry: Append) -> None:
        super().append(entry)
        self._wake(self._disk.delay())

    async def run(self, call: Callable[[apsw.Connection], T]) -> T:
        self._wake(self._disk.delay())
        return await super().run(call)

    def _wake(self, seconds: float) -> None:
        at = self._loop.time() + seconds
        if self._due is not None:
            if self._due.when() <= at:
                return
            self._due.cancel()
        self._due = self._loop.call_at(at, self._work)

    def _work(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self.dead:
            return
        going_on = self._turn()
        self._disk.committed(self._loop.time())
        if going_on:
            self._wake(self._disk.delay() if self._queue.qsize() else MARKS_EVERY)

    def _take(self) -> list[Append | Job[Any] | None]:
        wanted = min(self._queue.qsize(), self._disk.batch)
        return [self._queue.get_nowait() for _ in range(wanted)]

    def _call_loop(self, call: Callable[..., None], *values: object) -> None:
        self._told = max(self._told + _TOLD, self._loop.time() + self._disk.delay())
        self._loop.call_at(self._told, self._tell, call, values)

    def _tell(self, call: Callable[..., None], values: tuple[object, ...]) -> None:
        if not self.dead:
            call(*values)


class _Readers:
    """Reads happen a while after they were asked for, and are told a while later."""

    def __init__(self, disk: Disk, db: apsw.Connection) -> None:
        self.dead = False
        self._disk = disk
        self._db = db
        self._never: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, call: Callable[[apsw.Connection], T]) -> T:
        await self._take_time()
        if self._disk.unreadable:
            raise StoreUnavailable("the store cannot be read now; try again", retry_after=0.1)
        found = call(self._db)
        await self._take_time()
        return found

    async def _take_time(self) -> None:
        await asyncio.sleep(self._disk.delay())
        if self.dead:
            await self._never

    async def close(self) -> None:
        """Nothing is open."""


def _fatal(error: Exception) -> None:
    raise error
