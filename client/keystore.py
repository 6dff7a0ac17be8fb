"""The key store: identity, sessions, pins and messages of one device, encrypted on its disk.

What may live here: the file, its encryption and its lock. What may not: what the rows mean;
that is ``memory.py`` and the modes; or how a secret opens it, which is ``unlocking.py``. Nothing
else in the client may import ``apsw``.

File format 2 (SQLite)::

    header  one MessagePack map: how to get the key-encryption key (Argon2id parameters, or
            "file"), and the root key, wrapped under it and committed to
    rows    (name, slot, value): slot = HMAC(index key, enc(name, key)), so that the file does
            not tell who one's peers are;
            value = nonce(12) || AES-256-GCM(row key, length(key) || key || value,
                                             aad = enc(name, slot)): no row passes for another
    seal    one row: nonce(12) || AES-256-GCM(row key, tally of all rows(32), aad = enc("seal")),
            written in the transaction that changes rows: none can be deleted or put back alone

Opening reads and tallies all rows: 0.1 s for 10,000 messages. What the file still shows: how many
rows of which table, their sizes, when they changed. What it cannot prevent: that somebody puts
back an old copy of the **whole** file, or takes it away. Do not do so yourself either: sessions
that go back encrypt a second text with a key that was used.

What is deleted or replaced is overwritten with zeros, and the write-ahead log is cut off after 64
transactions at most; until then it holds older rows, and about one replaced row in a thousand
leaves a piece in the slack of a page until ``close`` writes the file anew. Beyond our reach, and
only as safe as the secret that opens the store: the blocks that a file system or the wear
levelling of flash has put aside, snapshots and backups; and this process's memory, core dumps
and swap, without any secret.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw

from client.rows import MemoryRows, Rows
from client.tally import Tally
from client.unlocking import ANEW, unlock
from crypto_modes import primitives
from crypto_modes.encoding import enc
from crypto_modes.errors import BadArgument, BadConfig, CannotOpen, StoreUnavailable

_LENGTH = 4
# Transactions before the write-ahead log is cut off: its two more syncs cost little spread on 64.
SETTLE_EVERY = 64
_SEAL_PLACE = enc("louver/v1/keystore/seal")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS header (id INTEGER PRIMARY KEY CHECK (id = 1), value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS rows (
    name TEXT NOT NULL, slot BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (name, slot)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seal (id INTEGER PRIMARY KEY CHECK (id = 1), value BLOB NOT NULL);
"""


class Keystore:
    """One device's durable memory; a ``contract.State`` with transactions.

    Not for use from several threads or processes at once: two processes that step the same
    ratchet would encrypt two messages with one key, so the file is locked while it is open.
    """

    __slots__ = ("_open", "_rows", "delete", "get", "put", "where")

    def __init__(self, rows: Rows, where: str = "memory") -> None:
        self._rows = rows
        self._open = False
        self.where = where
        self.get = rows.get
        self.put = rows.put
        self.delete = rows.delete

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        passphrase: str | None = None,
        key_file: str | os.PathLike[str] | None = None,
    ) -> Keystore:
        """Open the key store at ``path``, or make it, with exactly one of the two secrets.

        Raises:
            BadArgument: both or neither secret given, or not the kind it was made with.
            BadConfig: the file is in use, damaged, or cannot be made.
            Unauthorized: the passphrase or key file is not the right one.
        """
        if (passphrase is None) == (key_file is None):
            raise BadArgument("open a key store with either a passphrase or a key file")
        where = Path(path)
        database = _open_database(where)
        try:
            # One transaction: a crash leaves no header without its seal.
            with database:
                kept = database.execute("SELECT value FROM header").get
                root, header = unlock(kept, where, passphrase, key_file)
                if kept is None:
                    database.execute("INSERT INTO header VALUES (1, ?)", (header,))
                rows = _SealedRows(database, root)
                rows.check(where, made=kept is None)
            rows.settle()
        except BaseException as error:
            database.close()
            if isinstance(error, apsw.Error):
                raise _unusable(where, error) from None
            raise
        return cls(rows, str(where))

    @classmethod
    def in_memory(cls) -> Keystore:
        """A key store that is gone with the process, for load tests: its device cannot resume."""
        return cls(MemoryRows())

    def scan(self, table: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """The rows whose keys start with ``prefix``, by key. Reads the whole table."""
        return self._rows.scan(table, prefix)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside become durable together on leaving, or, on an exception, none.

        Raises ``StoreUnavailable`` where the disk refuses; nothing was written then.
        """
        if self._open:
            raise BadArgument("a transaction of this key store is open already")
        self._rows.begin()
        self._open = True
        try:
            yield
            self._rows.commit()
        except BaseException:
            self._rows.rollback()
            raise
        finally:
            self._open = False

    def settle(self) -> None:
        """Take what was deleted or replaced off the disk now, as far as SQLite can, in some ms."""
        self._rows.settle()

    def close(self) -> None:
        """Write the file anew without any remains, and release it and its lock.

        Takes about 10 s per GB and its size in memory.
        """
        self._rows.close()


class _SealedRows:
    """Rows in SQLite, each encrypted and bound to its place. ``root`` has 32 bytes."""

    __slots__ = ("_before", "_database", "_index_key", "_row_key", "_tally", "_unsettled")

    def __init__(self, database: apsw.Connection, root: bytes) -> None:
        okm = primitives.hkdf(root, info=enc("louver/v1/keystore/rows"), length=96)
        self._database = database
        self._row_key, self._index_key = okm[:32], okm[32:64]
        self._tally = Tally(okm[64:])
        self._before: bytes | None = None  # the tally when the open transaction began
        self._unsettled = 0

    def check(self, where: Path, *, made: bool) -> None:
        """Hold all rows to the seal; a store that was just ``made`` gets its first.

        Raises ``BadConfig`` where any row was altered, deleted or put back alone.
        """
        for name, slot, value in self._database.execute("SELECT name, slot, value FROM rows"):
            self._tally.flip(name, slot, value)
        if made and not any(self._tally.total):
            self._write_seal()
            return
        sealed = self._database.execute("SELECT value FROM seal").get
        try:
            total = b"" if sealed is None else self._open(sealed, _SEAL_PLACE)
        except (CannotOpen, BadArgument):
            total = b""
        if not primitives.equal(total, self._tally.total):
            raise BadConfig(
                f"the key store {where} was altered or is damaged: single rows were changed,"
                f" deleted or put back; {ANEW}"
            )

    def get(self, table: str, key: bytes) -> bytes | None:
        slot = self._slot(table, key)
        sql = "SELECT value FROM rows WHERE name = ? AND slot = ?"
        found = self._database.execute(sql, (table, slot)).get
        return None if found is None else self._unseal(table, slot, found)[1]

    def put(self, table: str, key: bytes, value: bytes) -> None:
        slot = self._slot(table, key)
        plain = len(key).to_bytes(_LENGTH, "big") + key + value
        self._change(table, slot, self._seal(plain, _place(table, slot)))

    def delete(self, table: str, key: bytes) -> None:
        self._change(table, self._slot(table, key), None)

    def scan(self, table: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        found = self._database.execute("SELECT slot, value FROM rows WHERE name = ?", (table,))
        rows = [self._unseal(table, slot, value) for slot, value in found]
        return iter(sorted(row for row in rows if row[0].startswith(prefix)))

    def begin(self) -> None:
        self._write("BEGIN IMMEDIATE")
        self._before = self._tally.total

    def commit(self) -> None:
        if self._tally.total != self._before:
            self._write_seal()
        self._write("COMMIT")
        self._before = None
        self._unsettled += 1
        if self._unsettled >= SETTLE_EVERY:
            self.settle()

    def rollback(self) -> None:
        if self._before is not None:
            self._tally.back_to(self._before)
            self._before = None
        if self._database.in_transaction:
            self._write("ROLLBACK")

    def settle(self) -> None:
        # What was committed stays committed; a disk that refuses is asked again next time.
        with suppress(apsw.Error):
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._unsettled = 0

    def close(self) -> None:
        with suppress(apsw.Error):
            self._database.execute("VACUUM")
        self.settle()
        self._database.close()

    def _change(self, table: str, slot: bytes, value: bytes | None) -> None:
        """Put or delete a row, and tally it: in the open transaction, or in one of its own."""
        if self._before is None:
            self.begin()
            try:
                self._change(table, slot, value)
                self.commit()
            except BaseException:
                self.rollback()
                raise
            return
        if not self._database.in_transaction:  # or it would be durable at once, and unsealed
            raise StoreUnavailable("the disk refused an earlier write of this transaction")
        where = (table, slot)
        old = self._database.execute(
            "SELECT value FROM rows WHERE name = ? AND slot = ?", where
        ).get
        if value is None:
            self._write("DELETE FROM rows WHERE name = ? AND slot = ?", where)
        else:
            self._write("REPLACE INTO rows VALUES (?, ?, ?)", (*where, value))
        for row in (old, value):
            if row is not None:
                self._tally.flip(table, slot, row)

    def _write_seal(self) -> None:
        sealed = self._seal(self._tally.total, _SEAL_PLACE)
        self._write("REPLACE INTO seal VALUES (1, ?)", (sealed,))

    def _seal(self, plain: bytes, place: bytes) -> bytes:
        # Random nonces under one key are safe for 2^32 writes: a hundred a second for a year.
        nonce = os.urandom(primitives.NONCE_SIZE)
        return nonce + primitives.aead_seal(self._row_key, nonce, plain, place)

    def _open(self, sealed: bytes, place: bytes) -> bytes:
        nonce, body = sealed[: primitives.NONCE_SIZE], sealed[primitives.NONCE_SIZE :]
        return primitives.aead_open(self._row_key, nonce, body, place)

    def _slot(self, table: str, key: bytes) -> bytes:
        return primitives.hmac(self._index_key, enc("louver/v1/keystore/slot", table, key))

    def _unseal(self, table: str, slot: bytes, value: bytes) -> tuple[bytes, bytes]:
        try:
            plain = self._open(value, _place(table, slot))
        except (CannotOpen, BadArgument):
            # Not CannotOpen: it is not a message that is bad, it is this disk.
            raise BadConfig(f"the key store was altered or is damaged; {ANEW}") from None
        split = _LENGTH + int.from_bytes(plain[:_LENGTH], "big")
        return plain[_LENGTH:split], plain[split:]

    def _write(self, sql: str, values: tuple[str | bytes, ...] = ()) -> None:
        try:
            self._database.execute(sql, values)
        except apsw.Error as error:
            raise StoreUnavailable(f"the key store cannot be written: {error}") from None


def _place(table: str, slot: bytes) -> bytes:
    return enc("louver/v1/keystore/row", table, slot)


def _open_database(path: Path) -> apsw.Connection:
    """The locked database. SQLite gives its side files the permissions of the file itself."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise BadConfig(f"cannot open the key store {path}: {error.strerror}") from None
    try:
        database = apsw.Connection(str(path))
        # Set before the first access, it keeps the lock until the file is closed.
        database.pragma("locking_mode", "exclusive")
        database.pragma("journal_mode", "wal")
        database.pragma("synchronous", "full")
        database.pragma("secure_delete", True)
        database.pragma("temp_store", "memory")
        database.execute(f"BEGIN EXCLUSIVE; {_SCHEMA} COMMIT")
    except apsw.BusyError:
        raise BadConfig(
            f"another program uses the key store {path}; quit it, or use another profile"
        ) from None
    except apsw.Error as error:
        raise _unusable(path, error) from None
    return database


def _unusable(path: Path, error: apsw.Error) -> BadConfig:
    return BadConfig(f"{path} cannot be used as a key store: {error}")
