"""The embedded store: SQLite through apsw, one writing thread and a few readers for each file.

This file ties each method of ``Store`` to a function of the noun it is about, on the writer's
or a reader's thread; SQL lives with the nouns, threads and faults in ``writer`` and ``readers``.
Two files: ``louver.db`` holds everything but the wrapped data keys, ``keys.db`` those alone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Concatenate, Literal, ParamSpec, TypeVar

import apsw
import msgspec

from crypto_modes import wire
from crypto_modes.contract import Stored
from crypto_modes.errors import BadArgument, StoreUnavailable
from server.store import (
    Account,
    Append,
    Blob,
    BlobState,
    Chained,
    Device,
    Head,
    HeldMessage,
    LogProofs,
    LogRow,
    SealedReport,
    Sunset,
    migrate,
)
from server.store.sqlite import (
    accounts,
    blobs,
    directory,
    files,
    held,
    key_log,
    marks,
    messages,
    reports,
    service,
    upgrade,
)
from server.store.sqlite.key_file import KeyFile
from server.store.sqlite.readers import Readers
from server.store.sqlite.writer import Fatal, Outage, Writer

Durability = Literal["full", "relaxed"]
SCHEMA = migrate.SCHEMAS / "sqlite"
P = ParamSpec("P")
T = TypeVar("T")
Call = Callable[Concatenate[apsw.Connection, P], T]


class SqliteStore(KeyFile):
    """``Store`` in two files of ``data``.

    ``on_fatal`` is called once, on the event loop, when a sync failed or a file is damaged: the
    process must then stop, and start again on what is really on the disk. ``on_outage`` is
    called there with the reason when writes begin to fail, a full disk say, and with None when
    they work again.
    """

    def __init__(
        self,
        data: Path,
        *,
        durability: Durability = "full",
        on_fatal: Fatal,
        on_outage: Outage = lambda _: None,
    ) -> None:
        if durability not in files.SYNCHRONOUS:
            raise BadArgument(f"durability must be full or relaxed, not {durability!r}")
        self._data = data
        self._durability: Durability = durability
        self._deployment = b""
        self._lock = -1
        self._log_synced = 0
        self._cursors = marks.Marks(marks.CURSORS)
        self._reads = marks.Marks(marks.READS)
        main, key_file = data / files.MESSAGES, data / files.KEYS
        self._readers = Readers(main)
        self._key_readers = Readers(key_file)
        connect = self._connect
        self._on_outage = on_outage
        self._out: set[str] = set()
        self._writer = Writer(
            main,
            lambda: connect(main, SCHEMA),
            (self._cursors, self._reads),
            on_fatal,
            partial(self._outage, main.name),
        )
        self._key_writer = Writer(
            key_file,
            lambda: connect(key_file, SCHEMA / "keys"),
            (),
            on_fatal,
            partial(self._outage, key_file.name),
        )

    @property
    def deployment(self) -> bytes:
        return self._deployment

    @property
    def durability(self) -> Durability:
        return self._durability

    async def open(self) -> None:
        """Make or upgrade the files and become their only relay.

        Nothing here grows with what is stored, except a copy before an upgrade, the first
        filling of the key log after one, and a look at what was shredded. Raises
        ``BadConfig`` or ``StoreUnavailable``; the store is then closed again.
        """
        try:
            self._lock = await asyncio.to_thread(files.hold, self._data)
            await self._writer.open()
            await self._key_writer.open()
            self._deployment = await self._writer.run(service.make_deployment)
            await self._writer.run(key_log.adopt)
            await self._agree_on_shredded()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self._readers.close()
        await self._key_readers.close()
        await self._writer.close()
        await self._key_writer.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _outage(self, file: str, refusal: StoreUnavailable | None) -> None:
        """Both files lie on one disk: what takes both away is one outage."""
        before = bool(self._out)
        self._out = self._out | {file} if refusal else self._out - {file}
        if bool(self._out) != before:
            self._on_outage(refusal)

    def _connect(self, path: Path, schema: Path) -> apsw.Connection:
        files.prepare(path)
        db = files.writer(path, self._durability)
        try:
            upgrade.upgrade(db, path, migrate.load(schema))
            db.pragma("foreign_keys", 1)
        except BaseException:
            db.close()
            raise
        return db

    async def _read(self, call: Call[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._readers.run(lambda db: call(db, *args, **kwargs))

    async def _write(self, call: Call[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._writer.run(lambda db: call(db, *args, **kwargs))

    # messages

    def append(self, entry: Append) -> None:
        self._writer.append(entry)

    async def after(self, conversation: bytes, seq: int, limit: int) -> list[Stored]:
        return await self._read(messages.after, conversation, seq, limit)

    async def before(self, conversation: bytes, seq: int, limit: int) -> list[Stored]:
        return await self._read(messages.before, conversation, seq, limit)

    async def scan(self, conversation: bytes, seq: int, limit: int) -> list[Stored]:
        return await self._read(messages.scan, conversation, seq, limit)

    async def chained(self, place: int) -> Chained:
        return await self._read(messages.chained, place)

    async def parties(self, conversation: bytes) -> tuple[bytes, bytes] | None:
        return await self._read(messages.parties, conversation)

    async def heads(self, account: bytes) -> list[Head]:
        heads = await self._read(messages.heads, account)
        return [self._with_read(head) for head in heads]

    async def cursors(self, device: bytes) -> dict[bytes, int]:
        return await self._read(marks.cursors, device, self._cursors.of(device))

    def advance(self, device: bytes, conversation: bytes, seq: int) -> None:
        self._cursors.set(device, conversation, seq)

    def advance_read(self, account: bytes, conversation: bytes, seq: int) -> None:
        self._reads.set(account, conversation, seq)

    def _with_read(self, head: Head) -> Head:
        """``head`` with what its peer has read and the disk does not know yet."""
        read = min(head.seq, self._reads.of(head.peer).get(head.conversation, 0))
        return msgspec.structs.replace(head, peer_read=read) if read > head.peer_read else head

    # accounts and devices

    async def add_account(self, account: Account) -> None:
        await self._write(accounts.add, account)

    async def account(self, id: bytes) -> Account | None:
        return await self._read(accounts.by_id, id)

    async def account_named(self, name: str) -> Account | None:
        return await self._read(accounts.by_name, name)

    async def suspend(self, account: bytes, *, on: bool) -> None:
        await self._write(accounts.suspend, account, on)

    async def bind_device(self, device: Device) -> None:
        await self._write(accounts.bind, device)

    async def device(self, id: bytes) -> Device | None:
        return await self._read(accounts.device_by_id, id)

    async def has_devices(self) -> bool:
        return await self._read(accounts.has_devices)

    async def devices(self, account: bytes) -> list[Device]:
        return await self._read(accounts.devices_of, account)

    async def remove_device(self, id: bytes) -> None:
        self._cursors.forget(id)
        await self._write(accounts.remove_device, id)

    # directory

    async def put_list(
        self, account: bytes, key: bytes, devices: wire.DeviceList
    ) -> frozenset[bytes]:
        removed = await self._write(accounts.put_list, account, key, devices)
        for device in removed:
            self._cursors.forget(device)
        return removed

    async def log_key(self) -> bytes:
        return await self._read(service.log_key)

    async def keep_log_key(self, public: bytes) -> None:
        await self._write(service.keep_log_key, public)

    async def log_proofs(self, size: int, since: int, leaf: bytes) -> LogProofs:
        found = await self._read(key_log.proofs, size, since, leaf)
        if self._durability == "relaxed" and found.newest[0] > self._log_synced:
            # What is signed must outlive a power cut, or clients would see a log that shrank.
            await asyncio.to_thread(files.sync_wal, self._data / files.MESSAGES)
            self._log_synced = found.newest[0]
        return found

    async def log_rows(self, start: int, limit: int) -> list[LogRow]:
        return await self._read(key_log.rows, start, limit)

    async def put_prekeys(self, device: bytes, prekeys: Iterable[wire.Prekey]) -> None:
        await self._write(directory.put_prekeys, device, tuple(prekeys))

    async def take_bundle(self, requester: bytes, device: bytes, now: int) -> wire.Bundle | None:
        return await self._write(directory.take_bundle, requester, device, now)

    async def count_prekeys(self, device: bytes) -> tuple[int, int]:
        return await self._read(directory.count_prekeys, device)

    # policies and blocks

    async def policies(self, conversation: bytes) -> list[wire.Policy]:
        return await self._read(directory.policies, conversation)

    async def put_policy(self, policy: wire.Policy) -> None:
        await self._write(directory.put_policy, policy)

    async def service_epoch(self, modes: Mapping[wire.Kind, str]) -> int:
        return await self._write(service.epoch, modes)

    async def sunset(self) -> Sunset | None:
        return await self._read(service.sunset)

    async def put_sunset(self, plan: Sunset) -> None:
        await self._write(service.put_sunset, plan)

    async def conversations_in(self, mode: str) -> int:
        return await self._read(service.conversations_in, mode)

    async def set_block(self, account: bytes, blocked: bytes, on: bool) -> None:
        await self._write(accounts.set_block, account, blocked, on)

    async def blocks(self, account: bytes) -> set[bytes]:
        return await self._read(accounts.blocks, account)

    # reports

    async def put_report(
        self, report: SealedReport, limit: int, held: HeldMessage | None = None
    ) -> SealedReport:
        return await self._write(reports.put, report, limit, held)

    async def release_held(self, report: bytes) -> HeldMessage:
        return await self._write(held.release, report)

    async def released(self, limit: int) -> list[bytes]:
        return await self._read(held.released, limit)

    async def reports(self, after: int, limit: int) -> list[SealedReport]:
        return await self._read(reports.page, after, limit)

    async def report(self, id: bytes) -> SealedReport | None:
        return await self._read(reports.find, id)

    # attachments

    async def add_blob(self, blob: Blob, quota: int) -> None:
        await self._write(blobs.add, blob, quota)

    async def blob(self, id: bytes) -> Blob | None:
        return await self._read(blobs.by_id, id)

    async def blobs(self, after: bytes, limit: int) -> list[Blob]:
        return await self._read(blobs.page, after, limit)

    async def settle_blob(self, id: bytes, state: BlobState, now: int) -> None:
        await self._write(blobs.settle, id, state, now)

    async def remove_blob(self, id: bytes) -> None:
        await self._write(blobs.remove, id)

    async def stale_blobs(self, before: int, limit: int) -> list[Blob]:
        return await self._read(blobs.stale, before, limit)


class ReadOnlySqliteStore(SqliteStore):
    """The same files for an operator's tools, also while a relay runs on them.

    It takes no lock and starts no writer, so every method that would write is refused.
    """

    def __init__(self, data: Path) -> None:
        super().__init__(data, on_fatal=lambda _: None)

    async def open(self) -> None:
        """Raises ``BadConfig`` where the files are missing or of another schema."""
        await _verify(self._readers, self._data / files.MESSAGES, SCHEMA)
        await _verify(self._key_readers, self._data / files.KEYS, SCHEMA / "keys")
        self._deployment = await self._readers.run(service.deployment)

    def append(self, entry: Append) -> None:
        asyncio.get_running_loop().call_soon(entry.settled, _read_only(), False)

    def advance(self, device: bytes, conversation: bytes, seq: int) -> None:
        raise _read_only()

    def advance_read(self, account: bytes, conversation: bytes, seq: int) -> None:
        raise _read_only()


async def _verify(readers: Readers, path: Path, schema: Path) -> None:
    files.check(path)
    known = migrate.load(schema)
    await readers.run(lambda db: upgrade.verify(db, path, known))


def _read_only() -> StoreUnavailable:
    return StoreUnavailable("the store was opened for reading only")
