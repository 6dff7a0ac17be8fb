"""The access log on its disk: one SQLite file, the head that was signed last, two secrets.

What may live here: the files, their order, SQL. Blocking, for one thread. What may not: signing
and who may ask. In the vault's own directory::

    access.key     seed of the log's signing key, 32 bytes, made once
    access.secret  from which the days' keys of conversations are made, 32 bytes, made once
    access.head    the checkpoint that was signed last, with the log's signature (a note)
    log.db         leaves, nodes of the tree, entries with their salts

Why SQLite and not tile files: entries must be erasable one by one, with their bytes overwritten, a
batch must become durable in one sync whatever it touches, and SQLite's order of writes is tested
on more disks than ours would be. Tiles are cut from it when asked for; they are the same bytes.

The order is: leaves durable, then the head signed and durable, then the receipt goes out. So
every checkpoint that anybody ever saw is on the disk twice, and a start finds the leaves of
``access.head`` or refuses: a database from a backup is shorter. Where both come from one backup,
only a witness can tell, and does.

A failed write or sync is final, for no later success would prove anything about what it was to
write; a full disk is not.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

import apsw
import msgspec

from crypto_modes.errors import BadArgument, BadConfig, LogRefused, LogUnavailable
from crypto_modes.keys import SigningKey
from crypto_modes.primitives import equal
from crypto_modes.transparency import note, tree
from crypto_modes.transparency.access_log import Entry, Opened, log_of
from crypto_modes.transparency.note import Checkpoint
from crypto_modes.transparency.tiles import ENTRIES, HEIGHT, WIDTH, Tile, bundle
from server.secrets_file import private_directory, secret_file
from server.store.sqlite import faults, files

DATABASE, HEAD, KEY, SECRET = "log.db", "access.head", "access.key", "access.secret"
SECRET_SIZE = 32
WIRE_TEXT = "the access log takes no entry now; nothing is opened and nothing is decided"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS leaf (number INTEGER PRIMARY KEY, leaf BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS node (
  level INTEGER NOT NULL, number INTEGER NOT NULL, hash BLOB NOT NULL,
  PRIMARY KEY (level, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entry (
  number INTEGER PRIMARY KEY REFERENCES leaf, salt BLOB NOT NULL, entry BLOB NOT NULL
) STRICT;
"""
DECODE = msgspec.msgpack.Decoder(Entry).decode
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
T = TypeVar("T")


class Row(NamedTuple):
    """What is entered: the leaf's bytes and hash, and beside it salt and entry (MessagePack)."""

    leaf: bytes
    hash: bytes
    salt: bytes
    entry: bytes


# What is entered, once its index is known: marks depend on it.
Make = Callable[[int], Row]


class Disk:
    """The files of one log; ``open`` first, then from one thread at a time. ``lost`` says why
    nothing can be entered any more, once that is so.

    Everything after ``open`` raises ``LogUnavailable`` for whatever the disk does.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._path = data / DATABASE
        self.lost = ""
        self._db: apsw.Connection | None = None

    def open(self) -> None:
        """Make the files, or take them over. Raises ``BadConfig`` where they contradict each
        other, ``LogUnavailable`` where the disk fails."""
        private_directory(self._data, "the access log")
        make = not (self._path.exists() or (self._data / HEAD).exists())
        if make and (self._data / SECRET).exists():
            # Under its old key an empty log would be a second history of the first.
            raise BadConfig(
                f"{self._path} and {self._data / HEAD} are missing, and the keys of their log are"
                " here: restore both from the newest backup, or begin another log by moving"
                f" {KEY} and {SECRET} away too; its users must then be told the new key"
            )
        self.key = SigningKey(secret_file(self._data / KEY, SECRET_SIZE, make=make))
        self.verifier = log_of(self.key.public)
        if make:
            self._guarded(lambda: self._keep(Checkpoint(self.verifier.name, 0, tree.EMPTY_ROOT)))
        signed = self._signed()
        # After the head: a secret without one is what is left of a log, and not of a first start
        # that was cut off.
        first = signed.size == 0 and not self._path.exists()
        self.secret = secret_file(self._data / SECRET, SECRET_SIZE, make=first)
        files.prepare(self._path)
        try:
            self._db = db = files.writer(self._path, "full")
            # Nobody else needs this file while it is in use, and a second vault must not have it.
            db.pragma("locking_mode", "exclusive")
            db.execute(_SCHEMA)
            self.size = self._count()
            self._check(signed)
        except apsw.Error as error:
            raise self._refusal(error) from error
        # What became durable without being signed, before a power cut, is signed now.
        self.sign()

    def close(self) -> None:
        """Let the files go. May be called before ``open`` succeeded."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def append(self, makes: Sequence[Make]) -> int:
        """Enter these, durably; the index of the first."""
        return self._guarded(lambda: self._append(makes))

    def sign(self) -> None:
        """Sign what the database holds, and keep the signed head durably as ``head``."""
        self._guarded(self._sign)

    def tile(self, tile: Tile) -> bytes:
        """The content of a tile. Raises ``BadArgument`` for one that this log does not have."""
        if not tile.fits(self.size):
            raise BadArgument(f"this log has {self.size} leaves and no {tile.path}")
        return self._guarded(lambda: self._tile(tile))

    def opened(self, start: int, limit: int) -> list[Opened]:
        """The entries from index ``start`` on, at most ``limit``; erased ones without content."""
        return self._guarded(lambda: self._opened(start, limit))

    def consistency(self, old: int, size: int) -> tree.Proof:
        """That the log of ``old`` leaves is the beginning of that of ``size``.

        Raises ``BadArgument`` where it never had so many.
        """
        if size > self.size:
            raise BadArgument(f"this log has {self.size} leaves, not {size}")
        return self._guarded(lambda: tree.consistency(self, old, size))

    def erase(self, numbers: Sequence[int]) -> int:
        """Overwrite these entries and their salts, of which the leaves stay; how many."""
        return self._guarded(lambda: self._erase(numbers))

    # ``tree.Nodes``

    def get(self, level: int, index: int) -> bytes:
        sql = "SELECT hash FROM node WHERE level = ? AND number = ?"
        found = self._open.execute(sql, (level, index)).get
        if found is None:
            raise apsw.CorruptError("a node of the tree is missing")
        return bytes(found)

    def put(self, level: int, index: int, value: bytes) -> None:
        sql = "INSERT INTO node (level, number, hash) VALUES (?, ?, ?)"
        self._open.execute(sql, (level, index, value))

    # On the disk:

    def _append(self, makes: Sequence[Make]) -> int:
        first = size = self.size
        self._open.execute("BEGIN IMMEDIATE")
        for make in makes:
            row = make(size)
            self._open.execute("INSERT INTO leaf VALUES (?, ?)", (size, row.leaf))
            self._open.execute("INSERT INTO entry VALUES (?, ?, ?)", (size, row.salt, row.entry))
            size = tree.append(self, size, row.hash)
        self._open.execute("COMMIT")
        self.size = size
        return first

    def _sign(self) -> None:
        self._keep(Checkpoint(self.verifier.name, self.size, tree.root(self, self.size)))

    def _keep(self, head: Checkpoint) -> None:
        signed = note.sign(head, self.key)
        draft = self._data / f".{HEAD}"
        with draft.open("wb") as file:
            file.write(signed.encode())
            file.flush()
            _sync(file.fileno())
        draft.replace(self._data / HEAD)
        directory = os.open(self._data, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _sync(directory)
        finally:
            os.close(directory)
        self.head = signed

    def _tile(self, tile: Tile) -> bytes:
        first = tile.number * WIDTH
        span = (first, first + tile.width)
        if tile.level == ENTRIES:
            sql = "SELECT leaf FROM leaf WHERE number >= ? AND number < ? ORDER BY number"
            return bundle(leaf for (leaf,) in self._open.execute(sql, span))
        sql = "SELECT hash FROM node WHERE level = ? AND number >= ? AND number < ? ORDER BY number"
        return b"".join(value for (value,) in self._open.execute(sql, (tile.level * HEIGHT, *span)))

    def _opened(self, start: int, limit: int) -> list[Opened]:
        sql = (
            "SELECT leaf.number, salt, entry FROM leaf LEFT JOIN entry USING (number)"
            " WHERE leaf.number >= ? ORDER BY leaf.number LIMIT ?"
        )
        return [
            Opened(number) if raw is None else Opened(number, salt, DECODE(raw))
            for number, salt, raw in self._open.execute(sql, (start, limit))
        ]

    def _erase(self, numbers: Sequence[int]) -> int:
        self._open.execute("BEGIN IMMEDIATE")
        before = self._open.total_changes()
        self._open.executemany("DELETE FROM entry WHERE number = ?", [(each,) for each in numbers])
        erased = self._open.total_changes() - before
        self._open.execute("COMMIT")
        # secure_delete overwrote them in their pages; the WAL still has the pages of before.
        self._open.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        return erased

    def _count(self) -> int:
        largest, count = self._open.execute(
            "SELECT ifnull(max(number) + 1, 0), count(*) FROM leaf"
        ).get
        if largest != count:
            raise BadConfig(f"{self._path} lacks leaves between others: it was changed by hand")
        return int(count)

    # What must hold before anything is entered

    def _signed(self) -> Checkpoint:
        path = self._data / HEAD
        try:
            raw = path.read_bytes()
            found = note.open_checkpoint(raw, self.verifier)
        except OSError as error:
            raise BadConfig(
                f"{path} cannot be read ({error.strerror}), so nobody can tell whether the access"
                " log is whole: restore it from the newest backup"
            ) from None
        except LogRefused as error:
            raise BadConfig(f"{path} is not the head of this log ({error})") from None
        return found

    def _check(self, signed: Checkpoint) -> None:
        if self.size < signed.size:
            raise BadConfig(
                f"the access log {self._path} has {self.size} entries, and {signed.size} were"
                " signed: it was put back to an older state. Restore the newest copy; while"
                " entries are missing, nothing may be opened"
            )
        if not equal(tree.root(self, signed.size), signed.root):
            raise BadConfig(
                f"the access log {self._path} is not the one whose head was signed in"
                f" {self._data / HEAD}: it was changed. Restore the newest copy"
            )

    # Faults

    def _guarded(self, work: Callable[[], T]) -> T:
        if self.lost:
            raise LogUnavailable(WIRE_TEXT, advice=self.lost)
        try:
            return work()
        except (apsw.Error, OSError) as error:
            raise self._refusal(error) from error
        finally:
            self._roll_back()

    def _refusal(self, error: apsw.Error | OSError) -> LogUnavailable:
        if isinstance(error, apsw.Error):
            system = 0 if self._db is None else self._db.system_errno
            advice = faults.unavailable(error, self._path, system).advice
            final = faults.fatal(error, system)
        else:
            advice = f"{self._data / HEAD} cannot be written ({error.strerror})"
            # Where the file was cut short nothing was promised; a sync that failed is final.
            final = error.errno not in _NO_ROOM or isinstance(error, _SyncFailed)
        if final:
            self.lost = advice
        return LogUnavailable(WIRE_TEXT, retry_after=faults.RETRY_AFTER, advice=advice)

    def _roll_back(self) -> None:
        if self._db is None:
            return
        with suppress(apsw.Error):
            if self.lost:
                # Nothing more may be written, not even when the file is closed.
                self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    @property
    def _open(self) -> apsw.Connection:
        if self._db is None:
            raise LogUnavailable(WIRE_TEXT, advice="the access log is closed")
        return self._db


class _SyncFailed(OSError):
    """The disk did not say that it has what it was given."""


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise _SyncFailed(error.errno, error.strerror) from error
