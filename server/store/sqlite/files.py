"""The database files: where they lie, who may read them, who holds them, how they are opened.

No table is named here but SQLite's own settings. Files are made 0600 before SQLite sees them,
and it gives its WAL and index files the same mode.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from pathlib import Path

import apsw

from crypto_modes.errors import BadConfig

MESSAGES = "louver.db"
KEYS = "keys.db"
LOCK = "louver.lock"
SYNCHRONOUS = {"full": "FULL", "relaxed": "NORMAL"}
BUSY_MS = 1000
CACHE_KIB = 32 * 1024
READER_CACHE_KIB = 4 * 1024
WAL_LEFT = 64 * 1024 * 1024
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def prepare(path: Path) -> None:
    """Make an empty private file where there is none. Raises ``BadConfig``."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise BadConfig(
            f"{path} cannot be made or opened ({error.strerror}): set `data` to a directory that"
            " this user may write"
        ) from None
    check(path)


def check(path: Path) -> None:
    """Refuse a database that is missing or that others may open. Raises ``BadConfig``."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise BadConfig(
            f"there is no database at {path} ({error.strerror}): set `data` to the relay's"
            " directory, or start `louverd serve` once"
        ) from None
    if mode & _OTHERS:
        raise BadConfig(f"others may open {path}: run `chmod 600 {path}`")


def sync_wal(path: Path) -> None:
    """Make durable what was committed to the database at ``path``, where commits do not.

    Opening and closing the WAL drops no lock: SQLite holds its locks on other files.
    """
    with contextlib.suppress(FileNotFoundError):  # all of it is in the database, which was synced
        descriptor = os.open(f"{path}-wal", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def hold(directory: Path) -> int:
    """Become the one relay of this directory until the descriptor is closed.

    The lock is on a file of its own: closing any descriptor of a database file would drop the
    locks that SQLite holds on it in this process. Raises ``BadConfig``.
    """
    path = directory / LOCK
    prepare(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise BadConfig(
            f"another relay (process {holder or 'unknown'}) uses {directory}: stop it, or set"
            " `data` to another directory; a history has one relay"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def writer(path: Path, durability: str) -> apsw.Connection:
    """The connection that may write. Raises ``apsw.Error``.

    Deleted rows are overwritten (secure_delete), so that a removed token or a shredded key does
    not stay in free pages; older pages remain in the WAL until it is reset, at the latest when
    the store closes. Checkpoints are the writer thread's own business.
    """
    db = apsw.Connection(str(path))
    db.set_busy_timeout(BUSY_MS)
    db.pragma("journal_mode", "wal")
    db.pragma("synchronous", SYNCHRONOUS[durability])
    db.pragma("secure_delete", 1)
    db.pragma("cache_size", -CACHE_KIB)
    db.pragma("journal_size_limit", WAL_LEFT)
    db.wal_autocheckpoint(0)
    return db


def reader(path: Path) -> apsw.Connection:
    """A connection that cannot write. It is opened writable all the same, for a reader of a WAL
    must be able to make the shared index. Raises ``apsw.Error``."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    db.set_busy_timeout(BUSY_MS)
    db.pragma("query_only", 1)
    db.pragma("cache_size", -READER_CACHE_KIB)
    return db
