"""What the SQLite store does when the disk is full, failing, locked or read-only.

Nothing may be told stored that is not, what passes must heal by itself, and after a failed sync
nothing may ever be written again.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import apsw
import msgspec
import pytest
import pytest_asyncio

from crypto_modes.contract import Stored
from crypto_modes.errors import StoreUnavailable
from server.store.sqlite import SqliteStore, faults, files, writer
from tests.faulty_disk import FaultyDisk, faulty_disk, io_error
from tests.store_entries import ALICE, BOB, PHONE, TALK, Entry, populate, settle
from tests.store_keys_contract import data_key

FSYNC = apsw.SQLITE_IOERR_FSYNC


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    with faulty_disk("-wal") as disk:
        yield disk


class Watched:
    """A store and what it told its owner."""

    def __init__(self, data: Path) -> None:
        self.fatal: list[StoreUnavailable] = []
        self.outages: list[StoreUnavailable | None] = []
        self.store = SqliteStore(data, on_fatal=self.fatal.append, on_outage=self.outages.append)

    async def ended(self) -> None:
        async with asyncio.timeout(30):
            while self.outages[-1:] != [None]:
                await asyncio.sleep(0.02)


@pytest_asyncio.fixture
async def watched(tmp_path: Path, disk: FaultyDisk) -> AsyncIterator[Watched]:
    watched = Watched(tmp_path)
    await watched.store.open()
    yield watched
    await watched.store.close()


async def seqs(store: SqliteStore) -> list[int]:
    return [message.meta.seq for message in await store.after(TALK, 0, 1000)]


@pytest.mark.asyncio
async def test_a_full_disk_refuses_the_whole_batch_and_heals(
    watched: Watched, disk: FaultyDisk
) -> None:
    store = watched.store
    await settle(store, Entry())
    disk.on_write = apsw.FullError("planted")
    lost = await settle(store, *(Entry() for _ in range(5)))
    for entry in lost:
        assert isinstance(entry.outcome, StoreUnavailable)
        assert "free space" in entry.outcome.advice
        assert str(files.MESSAGES) in entry.outcome.advice
        assert entry.outcome.temporary
    with pytest.raises(StoreUnavailable, match="nothing was acknowledged"):
        await store.set_block(ALICE, BOB, True)
    assert await seqs(store) == [1]
    disk.on_write = None
    again = await settle(store, *(Entry(id=entry.id) for entry in lost))
    assert [entry.seq for entry in again] == [2, 3, 4, 5, 6]
    assert not any(entry.duplicate for entry in again)
    assert watched.fatal == []


@pytest.mark.asyncio
async def test_a_database_at_its_limit_refuses_and_heals(watched: Watched) -> None:
    """The same by SQLite's own hand: a limit of pages instead of a planted error."""
    store = watched.store
    await settle(store, Entry())
    pages = await store._writer.run(lambda db: db.pragma("page_count"))
    await store._writer.run(lambda db: db.pragma("max_page_count", pages))
    lost = await settle(store, *(Entry(record=bytes(5000)) for _ in range(20)))
    assert {type(entry.outcome) for entry in lost} == {StoreUnavailable}
    await store._writer.run(lambda db: db.pragma("max_page_count", 1 << 30))
    (entry,) = await settle(store, Entry())
    assert entry.seq == 2
    assert watched.fatal == []


@pytest.mark.asyncio
async def test_marks_outlive_a_full_disk(watched: Watched, disk: FaultyDisk) -> None:
    store = watched.store
    await populate(store)
    await settle(store, Entry(), Entry())
    disk.on_write = apsw.FullError("planted")
    store.advance(PHONE, TALK, 2)
    async with asyncio.timeout(30):
        while not disk.failed:  # the store's own clock is the test
            await asyncio.sleep(0.02)
    assert await store.cursors(PHONE) == {TALK: 2}
    disk.on_write = None
    async with asyncio.timeout(30):
        while store._cursors.of(PHONE):  # the store's own clock is the test
            await asyncio.sleep(0.02)
    assert await store.cursors(PHONE) == {TALK: 2}


@pytest.mark.asyncio
async def test_a_failed_sync_stops_everything_for_good(
    watched: Watched, disk: FaultyDisk, tmp_path: Path
) -> None:
    store = watched.store
    await settle(store, Entry())
    disk.on_sync = io_error(FSYNC)
    first, second = await settle(store, Entry(), Entry())
    assert isinstance(first.outcome, StoreUnavailable)
    assert isinstance(second.outcome, StoreUnavailable)
    assert len(watched.fatal) == 1
    assert "check it, then start Louver again" in watched.fatal[0].advice
    assert disk.failed == 1
    disk.on_sync = None

    def written() -> int:
        return disk.written["louver.db"] + disk.written["louver.db-wal"]

    before = written()
    (later,) = await settle(store, Entry())
    assert isinstance(later.outcome, StoreUnavailable)
    with pytest.raises(StoreUnavailable):
        await store.set_block(ALICE, BOB, True)
    await store.close()
    assert written() == before > 0
    assert len(watched.fatal) == 1
    # A new process reads what is really there; whatever it is, nothing acknowledged is missing.
    restarted = Watched(tmp_path)
    await restarted.store.open()
    assert (await seqs(restarted.store))[:1] == [1]
    (again,) = await settle(restarted.store, Entry(id=first.id))
    assert again.seq == 2
    await restarted.store.close()


@pytest.mark.asyncio
async def test_work_that_waits_when_the_sync_fails_is_refused(
    watched: Watched, disk: FaultyDisk
) -> None:
    store = watched.store
    disk.on_sync = io_error(FSYNC)
    entries = [Entry() for _ in range(3 * writer.BATCH)]
    await settle(store, *entries)
    assert {type(entry.outcome) for entry in entries} == {StoreUnavailable}
    assert disk.failed == 1


@pytest.mark.asyncio
async def test_a_failed_sync_of_a_checkpoint_is_fatal_too(
    watched: Watched, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHECKPOINT_PAGES", 1)
    disk.suffix = files.MESSAGES
    await watched.store.close()
    reopened = SqliteStore(watched.store._data, on_fatal=watched.fatal.append)
    await reopened.open()
    disk.on_sync = io_error(FSYNC)
    (entry,) = await settle(reopened, Entry())
    assert entry.seq == 1
    async with asyncio.timeout(30):
        while not watched.fatal:  # told by another thread
            await asyncio.sleep(0.01)
    (later,) = await settle(reopened, Entry())
    assert isinstance(later.outcome, StoreUnavailable)
    await reopened.close()
    assert disk.failed == 1


@pytest.mark.asyncio
async def test_a_checkpoint_that_finds_no_room_is_tried_again(
    watched: Watched, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHECKPOINT_PAGES", 1)
    await watched.store.close()
    disk.suffix = files.MESSAGES
    reopened = SqliteStore(watched.store._data, on_fatal=watched.fatal.append)
    await reopened.open()
    disk.on_write = apsw.FullError("planted")
    entries = [(await settle(reopened, Entry()))[0] for _ in range(3)]
    assert [entry.seq for entry in entries] == [1, 2, 3]
    assert disk.failed >= 2
    disk.on_write = None
    await settle(reopened, Entry())
    await reopened.close()
    assert watched.fatal == []
    assert not (reopened._data / "louver.db-wal").exists()


@pytest.mark.asyncio
async def test_a_data_key_is_durable_or_refused(
    watched: Watched, disk: FaultyDisk, tmp_path: Path
) -> None:
    disk.suffix = "keys.db-wal"
    disk.on_sync = io_error(FSYNC)
    with pytest.raises(StoreUnavailable) as refused:
        await watched.store.put_data_key(data_key())
    assert "keys.db" in refused.value.advice
    assert len(watched.fatal) == 1
    with pytest.raises(StoreUnavailable):
        await watched.store.put_data_key(data_key(b"l" * 16))


@pytest.mark.asyncio
async def test_a_foreign_lock_is_waited_for_then_refused_and_heals(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = watched.store
    await store._writer.run(lambda db: db.set_busy_timeout(10))
    foreign = apsw.Connection(str(store._data / files.MESSAGES))
    foreign.execute("BEGIN IMMEDIATE")
    (entry,) = await settle(store, Entry())
    assert isinstance(entry.outcome, StoreUnavailable)
    assert "close it" in entry.outcome.advice
    foreign.execute("ROLLBACK")
    foreign.close()
    (again,) = await settle(store, Entry(id=entry.id))
    assert again.seq == 1
    assert watched.fatal == []


@pytest.mark.asyncio
async def test_a_read_only_database_refuses_and_heals(watched: Watched) -> None:
    store = watched.store
    await store._writer.run(lambda db: db.pragma("query_only", 1))
    (entry,) = await settle(store, Entry())
    assert isinstance(entry.outcome, StoreUnavailable)
    assert "writable" in entry.outcome.advice
    await settle(store, Entry())
    assert await seqs(store) == []
    assert watched.fatal == []


@pytest.mark.asyncio
async def test_more_than_the_disk_can_take_is_refused_at_once(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "BACKLOG", 10)
    entries = await settle(watched.store, *(Entry() for _ in range(2000)))
    refused = [entry for entry in entries if isinstance(entry.outcome, StoreUnavailable)]
    assert refused
    assert isinstance(refused[0].outcome, StoreUnavailable)
    assert "wait for the disk" in refused[0].outcome.advice
    assert len(await seqs(watched.store)) == min(2000 - len(refused), 1000)


@pytest.mark.asyncio
async def test_a_fault_of_the_program_refuses_its_batch_and_nothing_more(
    watched: Watched,
) -> None:
    """A stamp that cannot be bound; the relay never makes one."""

    class Broken(Entry):
        def admit(self, seq: int, previous: bytes) -> Stored:
            return msgspec.structs.replace(super().admit(seq, previous), stamp=object())

    store = watched.store
    for entry in await settle(store, Broken(), Entry()):
        assert isinstance(entry.outcome, StoreUnavailable)
        assert isinstance(entry.outcome.__cause__, TypeError)
    (later,) = await settle(store, Entry())
    assert later.seq == 1
    assert watched.fatal == []


@pytest.mark.asyncio
async def test_a_job_that_fails_is_undone_alone(watched: Watched) -> None:
    store = watched.store

    def half(db: apsw.Connection) -> None:
        db.execute("INSERT INTO block (account, blocked) VALUES (?, ?)", (ALICE, PHONE))
        raise LookupError("half way")

    outcomes = await asyncio.gather(
        store.set_block(ALICE, BOB, True), store._writer.run(half), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), LookupError]
    assert await store.blocks(ALICE) == {BOB}


FAULTS = [
    (apsw.FullError(), 0, True, False),
    (io_error(apsw.SQLITE_IOERR_SHMSIZE), 0, True, False),
    (io_error(apsw.SQLITE_IOERR_WRITE), errno.ENOSPC, True, False),
    (io_error(apsw.SQLITE_IOERR_WRITE), errno.EDQUOT, True, False),
    (io_error(apsw.SQLITE_IOERR_WRITE), errno.EIO, False, True),
    (io_error(FSYNC), errno.ENOSPC, False, True),
    (io_error(apsw.SQLITE_IOERR_DIR_FSYNC), 0, False, True),
    (apsw.CorruptError(), 0, False, True),
    (apsw.NotADBError(), 0, False, True),
    (apsw.BusyError(), 0, False, False),
    (apsw.ReadOnlyError(), 0, False, False),
    (apsw.CantOpenError(), 0, False, False),
    (apsw.SQLError(), 0, False, False),
]


@pytest.mark.parametrize(("error", "system", "full", "fatal"), FAULTS)
def test_each_error_has_one_meaning(
    error: apsw.Error, system: int, full: bool, fatal: bool
) -> None:
    path = Path("data") / "louver.db"
    assert faults.no_room(error, system) is full
    assert faults.fatal(error, system) is fatal
    answer = faults.unavailable(error, path, system)
    assert answer.code == 141
    assert answer.retry_after > 0
    assert str(path) in answer.advice
    assert ("free space" in answer.advice) is full


@pytest.mark.asyncio
async def test_no_refusal_names_a_path_to_strangers(
    watched: Watched, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, during and after the failure for good; and where too much waits."""
    monkeypatch.setattr(writer, "BACKLOG", 10)
    disk.on_write = apsw.FullError("planted")
    outcomes = [
        entry.outcome for entry in await settle(watched.store, *(Entry() for _ in "x" * 99))
    ]
    disk.on_write, disk.on_sync = None, io_error(FSYNC)
    outcomes += [entry.outcome for entry in await settle(watched.store, Entry())]
    outcomes += [entry.outcome for entry in await settle(watched.store, Entry())]
    place = str(watched.store._data)
    for outcome in outcomes:
        assert isinstance(outcome, StoreUnavailable)
        assert place not in str(outcome)
        assert place in outcome.advice
    assert len({str(outcome) for outcome in outcomes}) == 2


@pytest.mark.asyncio
async def test_an_outage_is_told_once_and_so_is_its_end(
    watched: Watched, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both files fail, many times; then one write works and the disk fills again at once."""
    monkeypatch.setattr(writer, "CALM", 0.5)
    disk.suffix = ".db-wal"
    disk.on_write = apsw.FullError("planted")
    for _ in range(5):
        await settle(watched.store, Entry())
        with pytest.raises(StoreUnavailable):
            await watched.store.put_data_key(data_key())
    disk.on_write = None
    await settle(watched.store, Entry())
    disk.on_write = apsw.FullError("planted")
    await settle(watched.store, Entry())
    (begun,) = watched.outages
    assert begun is not None
    assert "free space" in begun.advice
    # Nobody sends any more: the store itself must notice that there is room again.
    disk.on_write = None
    await watched.ended()
    assert len(watched.outages) == 2
    assert await seqs(watched.store) == [1]


@pytest.mark.asyncio
async def test_while_the_disk_is_full_nobody_sends_and_no_end_is_told(
    watched: Watched, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CALM", 0.0)
    monkeypatch.setattr(writer, "MARKS_EVERY", 0.01)
    disk.on_write = apsw.FullError("planted")
    await settle(watched.store, Entry())
    failed = disk.failed
    async with asyncio.timeout(30):
        while disk.failed < failed + 3:
            await asyncio.sleep(0.02)
    assert len(watched.outages) == 1
    disk.on_write = None
    await watched.ended()
