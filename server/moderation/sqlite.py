"""``moderation.db``: the records of moderation in an SQLite file with a writing thread of its own.

What may live here: tables made of structs, and the queries of ``ModerationStore``. Threads, faults
and migrations are those of the relay's store. A field is a column of the same name; what is no
number, text or bytes is stored as MessagePack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import apsw
import msgspec
from msgspec.inspect import BytesType, IntType, LiteralType, StrType, UnionType, type_info

from server.moderation.chains import Covered, Reached
from server.moderation.once import Kept
from server.moderation.records import (
    Action,
    Appeal,
    Asked,
    Audit,
    Backlog,
    Case,
    Flood,
    Hold,
    Notice,
    Pressed,
    Record,
    Report,
    Stale,
    Standing,
)
from server.moderation.roster import Member
from server.moderation.store import PAGE_LIMIT, ModerationStore, Value
from server.moderation.webhook import Told
from server.store import migrate
from server.store.sqlite import files, upgrade
from server.store.sqlite.readers import Readers
from server.store.sqlite.rows import Row
from server.store.sqlite.writer import Fatal, Outage, Writer

T = TypeVar("T", bound=Record)
R = TypeVar("R")
FILE = "moderation.db"
SCHEMA = Path(__file__).parent / "schema"
_HOUR = 3_600_000
_PLAIN = (BytesType, IntType, LiteralType, StrType)


class Table(Generic[T]):
    """One table and the struct whose fields are its columns."""

    def __init__(self, name: str, kind: type[T]) -> None:
        self._kind = kind
        fields = msgspec.structs.fields(kind)
        self._fields = tuple(field.name for field in fields)
        self._decoders = {
            field.name: msgspec.msgpack.Decoder(field.type)
            for field in fields
            if not _is_plain(field.type)
        }
        quoted = [f'"{field}"' for field in self._fields]
        places = ", ".join("?" for _ in quoted)
        self._table = f'"{name}"'
        # Names come from structs of this program, never from a request.
        self._select = f"SELECT {', '.join(quoted)} FROM {self._table}"  # noqa: S608 - see above
        self._insert = f"INSERT INTO {self._table} ({', '.join(quoted)}) VALUES ({places})"  # noqa: S608 - too
        # A record that was just made does not know its number, which never changes anyway.
        self._changing = tuple(field for field in self._fields if field != "number")
        changed = ", ".join(f'"{field}" = ?' for field in self._changing)
        self._update = (
            f"UPDATE {self._table} SET {changed}"  # noqa: S608 - as above
            f' WHERE "{kind.KEY}" = ? AND version = ?'
        )

    def put(self, db: apsw.Connection, record: T) -> None:
        """See ``ModerationStore.put``."""
        if record.version == 1:
            try:
                db.execute(self._insert, [self._packed(record, each) for each in self._fields])
            except apsw.ConstraintError:
                raise Stale("this exists already; look at it again") from None
            return
        before = (getattr(record, record.KEY), record.version - 1)
        values = [self._packed(record, each) for each in self._changing]
        db.execute(self._update, [*values, *before])
        if db.changes() != 1:
            raise Stale("somebody else changed this meanwhile; look at it again")

    def get(self, db: apsw.Connection, key: bytes | int) -> T | None:
        """The record under its key."""
        return next(iter(self.query(db, f'WHERE "{self._kind.KEY}" = ?', (key,))), None)

    def find(
        self, db: apsw.Connection, after: int, limit: int, until: int, where: Mapping[str, Value]
    ) -> list[T]:
        """See ``ModerationStore.find``. Raises ``KeyError`` for what is no plain field."""
        plain = [name for name in where if name in self._fields and name not in self._decoders]
        if len(plain) != len(where):
            raise KeyError(f"{self._table} cannot be searched by {', '.join(where)}")
        parts = "".join(f' AND "{name}" = ?' for name in plain)
        before: Row = (until,) if until else ()
        parts += " AND time < ?" if until else ""
        values = (after, *where.values(), *before, min(limit, PAGE_LIMIT))
        return self.query(db, f"WHERE number > ?{parts} ORDER BY number LIMIT ?", values)

    def drop(self, db: apsw.Connection, key: bytes | int) -> None:
        """See ``ModerationStore.drop``."""
        db.execute(f'DELETE FROM {self._table} WHERE "{self._kind.KEY}" = ?', (key,))  # noqa: S608 - as above

    def query(self, db: apsw.Connection, rest: str, values: Row) -> list[T]:
        """The records of a query."""
        return [self._record(row) for row in db.execute(f"{self._select} {rest}", values)]

    def _packed(self, record: T, field: str) -> Any:
        value = getattr(record, field)
        if field in self._decoders:
            return msgspec.msgpack.encode(value)
        # The store gives numbers; a report brings the relay's.
        return None if field == "number" and not value else value

    def _record(self, row: Row) -> T:
        values = dict(zip(self._fields, row, strict=True))
        for name, decoder in self._decoders.items():
            values[name] = decoder.decode(values[name])
        return self._kind(**values)


def _is_plain(field: Any) -> bool:
    info = type_info(field)
    if isinstance(info, UnionType):
        return all(isinstance(each, LiteralType) for each in info.types)
    return isinstance(info, _PLAIN)


_NOTICES: Table[Notice] = Table("notice", Notice)
TABLES: dict[type[Record], Table[Any]] = {
    Case: Table("case", Case),
    Asked: Table("asked", Asked),
    Audit: Table("audit", Audit),
    Report: Table("report", Report),
    Action: Table("action", Action),
    Appeal: Table("appeal", Appeal),
    Hold: Table("hold", Hold),
    Notice: _NOTICES,
    Member: Table("member", Member),
    Kept: Table("kept", Kept),
    Told: Table("told", Told),
    Covered: Table("covered", Covered),
    Reached: Table("reached", Reached),
}


class SqliteModeration:
    """``ModerationStore`` in one file of ``data``, under the lock that the relay holds there."""

    def __init__(self, data: Path, *, on_fatal: Fatal, on_outage: Outage = lambda _: None) -> None:
        self._path = data / FILE
        self._readers = Readers(self._path, threads=1)
        self._writer = Writer(self._path, self._connect, (), on_fatal, on_outage)

    async def open(self) -> None:
        """Make or upgrade the file. Raises ``BadConfig`` or ``StoreUnavailable``."""
        await self._writer.open()

    async def close(self) -> None:
        await self._readers.close()
        await self._writer.close()

    async def put(self, *records: Record) -> None:
        def write(db: apsw.Connection) -> None:
            for record in records:
                TABLES[type(record)].put(db, record)

        await self._writer.run(write)

    async def drop(self, kind: type[Record], *keys: bytes | int) -> None:
        def write(db: apsw.Connection) -> None:
            for key in keys:
                TABLES[kind].drop(db, key)

        await self._writer.run(write)

    async def get(self, kind: type[T], key: bytes | int) -> T | None:
        table: Table[T] = TABLES[kind]
        return await self._read(lambda db: table.get(db, key))

    async def find(
        self, kind: type[T], after: int, limit: int, until: int = 0, /, **where: Value
    ) -> list[T]:
        table: Table[T] = TABLES[kind]
        return await self._read(lambda db: table.find(db, after, limit, until, where))

    async def last_report(self) -> int:
        sql = "SELECT coalesce(max(number), 0) FROM report"
        return int(await self._read(lambda db: db.execute(sql).get))

    async def standing(self, account: bytes) -> Standing:
        return await self._read(lambda db: _standing(db, account))

    async def floods(self, hour: int, least: int, limit: int) -> list[Flood]:
        return await self._read(lambda db: _floods(db, hour, least, limit))

    async def backlog(self) -> list[Backlog]:
        return await self._read(_backlog)

    async def pressed(self, least: int, limit: int) -> list[Pressed]:
        return await self._read(lambda db: _pressed(db, least, limit))

    async def notices(self, account: bytes, now: int, after: int, limit: int) -> list[Notice]:
        rest = "WHERE account = ? AND due <= ? AND number > ? ORDER BY number LIMIT ?"
        values = (account, now, after, min(limit, PAGE_LIMIT))
        return await self._read(lambda db: _NOTICES.query(db, rest, values))

    async def untold(self, since: int, now: int, after: int, limit: int) -> list[Notice]:
        rest = "WHERE told = 0 AND due > ? AND due <= ? AND number > ? ORDER BY number LIMIT ?"
        values = (since, now, after, min(limit, PAGE_LIMIT))
        return await self._read(lambda db: _NOTICES.query(db, rest, values))

    async def fresh(self, account: bytes, now: int, limit: int) -> list[Notice]:
        rest = "WHERE account = ? AND told = 0 AND due <= ? ORDER BY number LIMIT ?"
        values = (account, now, min(limit, PAGE_LIMIT))
        return await self._read(lambda db: _NOTICES.query(db, rest, values))

    async def _read(self, call: Callable[[apsw.Connection], R]) -> R:
        return await self._readers.run(call)

    def _connect(self) -> apsw.Connection:
        files.prepare(self._path)
        # Always synced: here is no traffic, and what was decided must not be forgotten.
        db = files.writer(self._path, "full")
        try:
            upgrade.upgrade(db, self._path, migrate.load(SCHEMA))
            db.pragma("foreign_keys", 1)
        except BaseException:
            db.close()
            raise
        return db


_: type[ModerationStore] = SqliteModeration


def _standing(db: apsw.Connection, account: bytes) -> Standing:
    sql = "SELECT count(*), count(DISTINCT reporter) FROM report WHERE account = ?"
    row: Row = db.execute(sql, (account,)).fetchall()[0]
    by_state = "SELECT state, count(*) FROM report WHERE account = ? GROUP BY state"
    states: list[Row] = db.execute(by_state, (account,)).fetchall()
    return Standing(reports=row[0], reporters=row[1], states={each[0]: each[1] for each in states})


def _floods(db: apsw.Connection, hour: int, least: int, limit: int) -> list[Flood]:
    sql = (
        "SELECT reporter, time / ?1 AS hour, count(*) AS times FROM report WHERE time >= ?2 * ?1"
        " GROUP BY reporter, hour HAVING times >= ?3 ORDER BY times DESC, hour DESC LIMIT ?4"
    )
    rows = db.execute(sql, (_HOUR, hour, least, min(limit, PAGE_LIMIT)))
    return [Flood(reporter=each[0], hour=each[1], count=each[2]) for each in rows]


def _backlog(db: apsw.Connection) -> list[Backlog]:
    sql = (
        "SELECT state, assignee, count(*), min(time) AS oldest FROM report"
        " WHERE state IN ('open', 'in_review') GROUP BY state, assignee ORDER BY oldest"
    )
    rows: list[Row] = db.execute(sql).fetchall()
    return [Backlog(state=a, assignee=b, count=c, oldest=d) for a, b, c, d in rows]


def _pressed(db: apsw.Connection, least: int, limit: int) -> list[Pressed]:
    sql = (
        "SELECT account, count(*) AS reports, count(DISTINCT reporter) AS reporters, min(time)"
        " FROM report WHERE state IN ('open', 'in_review') AND account <> x''"
        " GROUP BY account HAVING reporters >= ?"
        " ORDER BY reporters DESC, reports DESC, account LIMIT ?"
    )
    rows: list[Row] = db.execute(sql, (least, min(limit, PAGE_LIMIT))).fetchall()
    return [Pressed(account=a, reports=b, reporters=c, oldest=d) for a, b, c, d in rows]
