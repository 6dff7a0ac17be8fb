"""The thread that owns a database's only writing connection: group commit, checkpoints, faults.

No SQL about Louver's own tables lives here. All that was asked for while the last commit ran
goes into the next transaction, so one fsync serves many messages, and what became of them goes
back to the event loop in one call. Between two batches the thread sleeps in its queue.

::

    state     on                                      what new work gets
    running   a commit that failed for the moment → outage
    outage    a commit, ``CALM`` after the last failure → running
    outage    -                                       the next transaction
    either    a failed sync or a damaged file → failed
    failed    -                                       StoreUnavailable, until the process stops
    closed    -                                       StoreUnavailable
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any, Generic, TypeVar

import apsw

from crypto_modes.errors import StoreUnavailable
from server.store import Append
from server.store.sqlite import faults
from server.store.sqlite.marks import Marks
from server.store.sqlite.messages import Appender, Settled

BATCH = 512
BACKLOG = 65_536
MARKS_EVERY = 1.0
CALM = 5.0
CHECKPOINT_PAGES = 4000
T = TypeVar("T")


class Job(Generic[T]):
    """A use of the connection whose result somebody awaits."""

    __slots__ = ("call", "future")

    def __init__(self, call: Callable[[apsw.Connection], T], future: asyncio.Future[T]) -> None:
        self.call = call
        self.future = future


Outcome = tuple[Job[Any], Any]
Fatal = Callable[[StoreUnavailable], None]
# Told why when writes begin to fail, and None when they work again.
Outage = Callable[[StoreUnavailable | None], None]


class Writer:
    """Runs ``connect`` and everything after it on its own thread.

    ``fatal`` is called once, on the event loop, when the process must stop; ``outage`` twice for
    each time that writes fail for a while.
    """

    def __init__(
        self,
        path: Path,
        connect: Callable[[], apsw.Connection],
        marks: Sequence[Marks],
        fatal: Fatal,
        outage: Outage,
    ) -> None:
        self._path = path
        self._connect = connect
        self._marks = marks
        self._fatal = fatal
        self._outage = outage
        self._out = False
        self._stumbled = 0.0
        self._queue: SimpleQueue[Append | Job[Any] | None] = SimpleQueue()
        self._appender = Appender()
        self._refusal: StoreUnavailable | None = StoreUnavailable("the store is not open")
        self._failed: StoreUnavailable | None = None
        self._flushed = monotonic()
        self._wal_pages = 0
        self._thread: Thread | None = None

    async def open(self) -> None:
        """Raises whatever ``connect`` raises; errors of SQLite as ``StoreUnavailable``."""
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = self._loop.create_future()
        # A daemon, for a process that must stop may not be able to close; the WAL allows it.
        self._thread = Thread(
            target=self._main, args=(opened,), name=f"store {self._path.name}", daemon=True
        )
        self._thread.start()
        try:
            await opened
        except BaseException:
            await self.close()
            raise
        self._refusal = None

    async def close(self) -> None:
        """Finish what was asked for, write the marks, empty the WAL into the database."""
        if self._refusal is None:
            self._refusal = StoreUnavailable("the store is closed")
        if self._thread:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    # On the event loop:

    def append(self, entry: Append) -> None:
        """Never raises and never blocks; ``entry.settled`` tells."""
        if refusal := self._refuse():
            asyncio.get_running_loop().call_soon(entry.settled, refusal, False)
        else:
            self._queue.put(entry)

    async def run(self, call: Callable[[apsw.Connection], T]) -> T:
        """The result of ``call`` once it is durable; what it raises undoes it alone."""
        if refusal := self._refuse():
            raise refusal
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(Job(call, future))
        return await future

    def _refuse(self) -> StoreUnavailable | None:
        if self._refusal:
            return StoreUnavailable(str(self._refusal), advice=self._refusal.advice)
        if self._queue.qsize() >= BACKLOG:
            return StoreUnavailable(
                "the relay is too busy to store anything now; try again",
                retry_after=faults.RETRY_AFTER,
                advice=f"{BACKLOG} writes wait for the disk under {self._path}: use a faster disk",
            )
        return None

    def _settle(self, entries: Sequence[Settled], jobs: Sequence[Outcome]) -> None:
        for entry, outcome, duplicate in entries:
            try:
                entry.settled(outcome, duplicate)
            except Exception as error:  # noqa: BLE001 - the others of the batch must hear too
                self._loop.call_exception_handler(
                    {"message": "a stored message's owner failed", "exception": error}
                )
        for job, outcome in jobs:
            _finish(job.future, outcome)

    def _stop(self, refusal: StoreUnavailable) -> None:
        self._refusal = refusal
        self._fatal(refusal)

    # On the writer's thread:

    def _main(self, opened: asyncio.Future[None]) -> None:
        try:
            self._db = self._connect()
            self._db.set_wal_hook(self._count_pages)
        except Exception as error:  # noqa: BLE001 - the opener gets it, whatever it is
            if isinstance(error, apsw.Error):
                error = faults.unavailable(error, self._path)
            self._call_loop(_finish, opened, error)
            return
        self._call_loop(_finish, opened, None)
        try:
            while self._turn():
                pass
        finally:
            self._db.close()

    def _turn(self) -> bool:
        """One batch; False after the last."""
        items = self._take()
        last = None in items
        entries: list[Append] = []
        jobs: list[Job[Any]] = []
        for item in items:
            if isinstance(item, Job):
                jobs.append(item)
            elif item is not None:
                entries.append(item)
        due = last or monotonic() - self._flushed >= MARKS_EVERY
        marks = [mark for mark in self._marks if mark] if due else []
        if self._failed:
            self._refuse_all(self._failed, entries, jobs)
        elif entries or jobs or marks or (self._out and not last):
            self._commit(entries, jobs, marks)
        if not self._failed and (last or self._wal_pages >= CHECKPOINT_PAGES):
            self._checkpoint(last)
        return not last

    def _take(self) -> list[Append | Job[Any] | None]:
        """What waits, at most ``BATCH`` of it; else whatever comes first within a second."""
        try:
            items = [self._queue.get(timeout=MARKS_EVERY)]
        except Empty:
            return []
        waiting = min(self._queue.qsize(), BATCH - 1)
        items += [self._queue.get_nowait() for _ in range(waiting)]
        return items

    def _commit(
        self, entries: Sequence[Append], jobs: Sequence[Job[Any]], marks: Sequence[Marks]
    ) -> None:
        """One transaction, and one call to the loop that tells what became of everything.

        Jobs go first: a device that is bound together with a message gets that message.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            outcomes = [(job, self._attempt(job)) for job in jobs]
            settled = self._appender.append(self._db, entries)
            for mark in marks:
                mark.write(self._db)
            if self._out:
                self._touch()
            self._db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it was, the batch is told
            self._refuse_all(self._undo(error, marks), entries, jobs)
            return
        self._appender.committed()
        for mark in marks:
            mark.committed()
        if marks:
            self._flushed = monotonic()
        self._call_loop(self._settle, settled, outcomes)
        self._recover()

    def _refuse_all(
        self, refusal: StoreUnavailable, entries: Sequence[Append], jobs: Sequence[Job[Any]]
    ) -> None:
        settled = [(entry, refusal, False) for entry in entries]
        self._call_loop(self._settle, settled, [(job, refusal) for job in jobs])

    def _attempt(self, job: Job[Any]) -> Any:
        self._db.execute("SAVEPOINT job")
        try:
            result = job.call(self._db)
        except apsw.Error:
            raise  # the disk's trouble is everybody's
        except Exception as error:  # noqa: BLE001 - whatever else it is, it is this job's outcome
            self._db.execute("ROLLBACK TO job")
            result = error
        self._db.execute("RELEASE job")
        return result

    def _undo(self, error: Exception, marks: Sequence[Marks]) -> StoreUnavailable:
        self._appender.rolled_back()
        for mark in marks:
            mark.rolled_back()
        self._flushed = monotonic()
        system = self._db.system_errno
        lost = False
        if isinstance(error, apsw.Error):
            refusal = faults.unavailable(error, self._path, system)
            lost = faults.fatal(error, system)
        else:
            refusal = StoreUnavailable(
                faults.WIRE_TEXT, advice=f"the store failed ({type(error).__name__})"
            )
        refusal.__cause__ = error
        if lost or not self._roll_back():
            self._fail(refusal)
        elif isinstance(error, apsw.Error):
            self._stumble(refusal)
        return refusal

    def _stumble(self, refusal: StoreUnavailable) -> None:
        self._stumbled = monotonic()
        if not self._out:
            self._out = True
            self._call_loop(self._outage, refusal)

    def _recover(self) -> None:
        """Not at the first success: a full disk may take a small commit and refuse the next."""
        if self._out and monotonic() - self._stumbled >= CALM:
            self._out = False
            self._call_loop(self._outage, None)

    def _touch(self) -> None:
        """Write a page, so that an outage ends also where nobody sends, because of the outage."""
        self._db.pragma("user_version", self._db.pragma("user_version"))

    def _roll_back(self) -> bool:
        """Whether the connection is out of the transaction; SQLite may have left it already."""
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except apsw.Error:
            return False
        return True

    def _checkpoint(self, last: bool) -> None:
        """Move the WAL into the database, after the batch was told and not before.

        A checkpoint that readers or a full disk hold up is tried again with a later batch.
        """
        mode = apsw.SQLITE_CHECKPOINT_TRUNCATE if last else apsw.SQLITE_CHECKPOINT_PASSIVE
        self._wal_pages = 0
        try:
            self._db.wal_checkpoint(mode=mode)
        except apsw.Error as error:
            if faults.fatal(error, self._db.system_errno):
                self._fail(faults.unavailable(error, self._path))

    def _count_pages(self, _db: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _fail(self, refusal: StoreUnavailable) -> None:
        """Nothing is written after this: not by later batches, not when the database closes."""
        self._failed = refusal
        self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._call_loop(self._stop, refusal)

    def _call_loop(self, call: Callable[..., None], *values: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *values)
        except RuntimeError:
            return  # the loop is closed: nobody is left who could be told


def _finish(future: asyncio.Future[Any], outcome: Any) -> None:
    if future.done():
        return  # whoever asked was cancelled
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
