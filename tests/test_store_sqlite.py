"""The SQLite store keeps the contract of every store, and its files keep their own promises."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest
import pytest_asyncio

from crypto_modes.errors import BadArgument, BadConfig, StoreUnavailable
from server.store.sqlite import (
    Durability,
    ReadOnlySqliteStore,
    SqliteStore,
    files,
    marks,
    rows,
)
from server.store.sqlite import messages as messages_module
from tests.store_contract import CursorContract, MessageContract
from tests.store_directory_contract import AccountContract, DirectoryContract, PolicyContract
from tests.store_entries import ALICE, BOB, CAROL, PHONE, TALK, Entry, device, populate, settle
from tests.store_keys_contract import DataKeyContract, data_key


class SqlitePlace:
    def __init__(self, data: Path) -> None:
        self.data = data
        self.fatal: list[StoreUnavailable] = []
        self._opened: SqliteStore | None = None

    async def open(self, durability: Durability = "full") -> SqliteStore:
        await self.close()
        store = SqliteStore(self.data, durability=durability, on_fatal=self.fatal.append)
        await store.open()
        self._opened = store
        return store

    async def close(self) -> None:
        if self._opened:
            await self._opened.close()


@pytest_asyncio.fixture
async def place(tmp_path: Path) -> AsyncIterator[SqlitePlace]:
    place = SqlitePlace(tmp_path / "data")
    yield place
    await place.close()
    assert place.fatal == []


class TestMessages(MessageContract): ...


class TestCursors(CursorContract): ...


class TestDataKeys(DataKeyContract): ...


class TestAccounts(AccountContract): ...


class TestDirectory(DirectoryContract): ...


class TestPolicies(PolicyContract): ...


@pytest.mark.asyncio
async def test_files_are_private_also_under_a_lax_umask(place: SqlitePlace) -> None:
    before = os.umask(0)
    try:
        store = await place.open()
        await settle(store, Entry())
        await store.put_data_key(data_key())
        found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.data.iterdir()}
    finally:
        os.umask(before)
    assert {"louver.db", "louver.db-wal", "keys.db", "keys.db-wal", "louver.lock"} <= set(found)
    assert set(found.values()) == {0o600}
    assert stat.S_IMODE(place.data.stat().st_mode) == 0o700


@pytest.mark.asyncio
async def test_a_file_that_others_may_read_is_refused_with_the_cure(place: SqlitePlace) -> None:
    await (await place.open()).close()
    (place.data / "keys.db").chmod(0o644)
    with pytest.raises(BadConfig, match=r"chmod 600 .*keys\.db"):
        await place.open()
    (place.data / "keys.db").chmod(0o600)
    await place.open()


@pytest.mark.asyncio
async def test_a_second_relay_is_refused_until_the_first_is_gone(place: SqlitePlace) -> None:
    first = await place.open()
    second = SqliteStore(place.data, on_fatal=place.fatal.append)
    with pytest.raises(BadConfig, match=f"process {os.getpid()}"):
        await second.open()
    await settle(first, Entry())
    await first.close()
    await second.open()
    await second.close()


def test_another_process_is_refused_too(tmp_path: Path) -> None:
    program = f"""
import pathlib, server.store.sqlite.files as files
from crypto_modes.errors import BadConfig
try:
    files.hold(pathlib.Path({str(tmp_path)!r}))
except BadConfig as error:
    print(error)
"""
    held = files.hold(tmp_path)
    ask = [sys.executable, "-c", program]
    refused = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    os.close(held)
    allowed = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    assert f"process {os.getpid()}" in refused
    assert "stop it" in refused
    assert allowed == ""


@pytest.mark.asyncio
async def test_an_impossible_directory_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadConfig, match="set `data`"):
        await SqliteStore(tmp_path / "file" / "data", on_fatal=print).open()


@pytest.mark.asyncio
async def test_a_file_that_is_no_database_is_an_error_and_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "louver.db"
    path.touch(0o600)
    path.write_bytes(b"my only copy of something else\n" * 100)
    with pytest.raises(StoreUnavailable) as refused:
        await SqliteStore(tmp_path, on_fatal=print).open()
    assert "damaged: keep a copy" in refused.value.advice
    assert path.read_bytes() == b"my only copy of something else\n" * 100


@pytest.mark.asyncio
async def test_a_store_that_was_never_opened_refuses(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, on_fatal=print)
    (entry,) = await settle(store, Entry())
    assert isinstance(entry.outcome, StoreUnavailable)
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.set_block(ALICE, BOB, True)
    await store.close()


def test_durability_is_one_of_two_words(tmp_path: Path) -> None:
    with pytest.raises(BadArgument, match="full or relaxed"):
        SqliteStore(tmp_path, durability="off", on_fatal=print)  # type: ignore[arg-type]  # that is the test


@pytest.mark.asyncio
@pytest.mark.parametrize(("durability", "synchronous"), [("full", 2), ("relaxed", 1)])
async def test_durability_reaches_both_files(
    place: SqlitePlace, durability: Durability, synchronous: int
) -> None:
    store = await place.open(durability)
    assert store.durability == durability
    for writer in (store._writer, store._key_writer):
        assert await writer.run(lambda db: db.pragma("synchronous")) == synchronous
        assert await writer.run(lambda db: db.pragma("journal_mode")) == "wal"
        assert await writer.run(lambda db: db.pragma("secure_delete")) == 1


@pytest.mark.asyncio
async def test_readers_cannot_write_and_never_see_what_is_not_committed(
    place: SqlitePlace,
) -> None:
    store = await place.open()
    await settle(store, Entry())
    seen: list[int] = []
    reader = files.reader(place.data / files.MESSAGES)

    class Watched(Entry):
        def settled(self, outcome: object, duplicate: bool) -> None:
            seen.append(reader.execute("SELECT count(*) FROM message").get)
            super().settled(outcome, duplicate)  # type: ignore[arg-type]  # as Entry takes it

    def look(db: apsw.Connection) -> int:
        db.execute("INSERT INTO conversation (id, first, second) VALUES (x'00', x'00', x'00')")
        return int(reader.execute("SELECT count(*) FROM conversation").get)

    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("DELETE FROM message")
    assert await store._writer.run(look) == 1
    assert reader.execute("SELECT count(*) FROM conversation").get == 2
    await settle(store, Watched())
    assert seen == [2]
    reader.close()


@pytest.mark.asyncio
async def test_an_operators_tool_reads_beside_the_relay_and_cannot_write(
    place: SqlitePlace,
) -> None:
    with pytest.raises(BadConfig, match="no database"):
        await ReadOnlySqliteStore(place.data).open()
    store = await place.open()
    await populate(store)
    await store.put_data_key(data_key())
    (entry,) = await settle(store, Entry())
    tool = ReadOnlySqliteStore(place.data)
    await tool.open()
    assert tool.deployment == store.deployment
    assert await tool.scan(b"", 0, 10) == [entry.stored]
    assert await tool.data_key(b"k" * 16) == data_key()
    (refused,) = await settle(tool, Entry())
    assert isinstance(refused.outcome, StoreUnavailable)
    with pytest.raises(StoreUnavailable):
        await tool.set_block(ALICE, BOB, True)
    with pytest.raises(StoreUnavailable):
        tool.advance(PHONE, TALK, 1)
    with pytest.raises(StoreUnavailable):
        tool.advance_read(ALICE, TALK, 1)
    await tool.close()
    (later,) = await settle(store, Entry())
    assert later.seq == 2


@pytest.mark.asyncio
async def test_data_keys_lie_in_a_file_of_their_own(place: SqlitePlace) -> None:
    store = await place.open()
    await store.put_data_key(data_key(serving=b"SERVING-CANARY-0001" * 3))
    await settle(store, Entry(record=b"RECORD-CANARY-0001"))
    await store.close()
    main, keys = ((place.data / name).read_bytes() for name in (files.MESSAGES, files.KEYS))
    assert b"SERVING-CANARY" in keys
    assert b"SERVING-CANARY" not in main
    assert b"RECORD-CANARY" in main


@pytest.mark.asyncio
async def test_a_removed_token_is_gone_from_the_files_after_closing(place: SqlitePlace) -> None:
    store = await place.open()
    await populate(store)
    await store.bind_device(device(token=b"TOKEN-CANARY-000000000000000001!"))
    await store.remove_device(PHONE)
    await store.close()
    left = b"".join(path.read_bytes() for path in place.data.iterdir())
    assert b"TOKEN-CANARY" not in left
    assert not (place.data / "louver.db-wal").exists()


@pytest.mark.asyncio
async def test_marks_are_durable_within_seconds_without_any_other_write(
    place: SqlitePlace,
) -> None:
    store = await place.open()
    await populate(store)
    await settle(store, Entry())
    store.advance(PHONE, TALK, 1)
    async with asyncio.timeout(30):
        while store._cursors.of(PHONE):  # the store's own clock is the test
            await asyncio.sleep(0.05)
    reader = files.reader(place.data / files.MESSAGES)
    assert marks.cursors(reader, PHONE, {}) == {TALK: 1}
    reader.close()


@pytest.mark.asyncio
async def test_marks_of_strangers_take_no_room(place: SqlitePlace) -> None:
    store = await place.open()
    await populate(store)
    await settle(store, Entry())
    store.advance_read(CAROL, TALK, 1)
    store.advance(b"no such device 0", TALK, 1)
    store = await place.open()
    for table in ("read_mark", "cursor"):
        count = f"SELECT count(*) FROM {table}"
        assert await store._readers.run(lambda db, count=count: db.execute(count).get) == 0  # type: ignore[misc]  # mypy knows no defaults in lambdas


@pytest.mark.asyncio
async def test_conversations_beyond_the_memory_of_heads(place: SqlitePlace) -> None:
    store = await place.open()
    store._writer._appender = messages_module.Appender(capacity=2)
    talks = [bytes([n]) * 16 for n in range(5)]
    for _ in range(3):
        for talk in talks:
            await settle(store, Entry(talk))
    assert len(store._writer._appender._tails) == 2
    assert [head.seq for head in await store.heads(ALICE)] == [3] * 5


@pytest.mark.asyncio
async def test_an_owner_that_fails_does_not_silence_the_batch(place: SqlitePlace) -> None:
    def fail(_: Entry) -> None:
        raise RuntimeError("owner")

    store = await place.open()
    failures: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    store.append(Entry(told=fail))
    (entry,) = await settle(store, Entry())
    assert entry.seq == 2
    assert [type(failure["exception"]) for failure in failures] == [RuntimeError]


@pytest.mark.asyncio
async def test_a_cancelled_wait_leaves_the_store_working(place: SqlitePlace) -> None:
    store = await place.open()
    task = asyncio.create_task(store.set_block(ALICE, BOB, True))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.set_block(ALICE, PHONE, True)
    assert await store.blocks(ALICE) == {BOB, PHONE}


@pytest.mark.parametrize(
    "sql",
    [
        messages_module._AFTER,
        messages_module._BEFORE,
        messages_module._BEYOND,
        messages_module._HEADS,
        messages_module._TAILS._sql[4],
        messages_module._KNOWN._sql[4],
    ],
)
@pytest.mark.asyncio
async def test_no_query_slows_down_with_what_is_stored(place: SqlitePlace, sql: str) -> None:
    """Every step is an index search: nothing is scanned but the rows that were passed in, and
    nothing is sorted."""
    await place.open()
    reader = files.reader(place.data / files.MESSAGES)
    values = (None,) * max(sql.count("?") - sql.count("?1"), 1)
    plan = [row[3] for row in reader.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    reader.close()
    assert any(step.startswith("SEARCH") for step in plan)
    scanned = [step for step in plan if step.startswith("SCAN") and "VALUES" not in step]
    assert [step for step in scanned if step != "SCAN CONSTANT ROW"] == []
    assert [step for step in plan if "TEMP B-TREE" in step] == []


def test_bulk_statements_take_any_number_of_rows() -> None:
    db = apsw.Connection(":memory:")
    db.execute("CREATE TABLE number (value INTEGER)")
    bulk = rows.Bulk("INSERT INTO number VALUES", 1)
    for count in (0, 1, 63, 64, 65, 200):
        db.execute("DELETE FROM number")
        bulk.write(db, [(value,) for value in range(count)])
        stored = db.execute("SELECT value FROM number ORDER BY value").fetchall()
        assert stored == [(value,) for value in range(count)]
