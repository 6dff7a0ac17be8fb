"""What an error of SQLite means for Louver, and what the operator should do about it.

Only the translation lives here. Full, read-only and busy are states of the world that pass; a
failed fsync is not: the kernel may have dropped the pages it could not write and report success
the next time, so nothing may ever be built on a second try.
"""

from __future__ import annotations

import errno
from pathlib import Path

import apsw

from crypto_modes.errors import StoreUnavailable

RETRY_AFTER = 1.0
WIRE_TEXT = "the relay's store does not work now; nothing was acknowledged; try again"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_CURES: list[tuple[tuple[type[apsw.Error], ...], str]] = [
    ((apsw.ReadOnlyError, apsw.PermissionsError), "{} cannot be written: mount its disk writable"),
    ((apsw.BusyError, apsw.LockedError), "another program keeps {} locked: close it"),
    ((apsw.CantOpenError,), "{} cannot be opened: check its directory and the limit of open files"),
    ((apsw.CorruptError, apsw.NotADBError), "{} is damaged: keep a copy and restore a backup"),
    ((apsw.IOError,), "the disk under {} failed: check it, then start Louver again"),
]


def unavailable(error: apsw.Error, path: Path, system: int = 0) -> StoreUnavailable:
    """The error the relay answers with; its ``advice`` names the file and the cure.

    Its message goes to strangers, so it says nothing of this machine. ``system`` is the
    ``errno`` SQLite kept of its last I/O error.
    """
    cause = f"({type(error).__name__} {_extended(error)})"
    if no_room(error, system):
        text = f"the disk is full: free space where {path} lies"
    else:
        texts = (text for types, text in _CURES if isinstance(error, types))
        text = next(texts, "the store at {} failed").format(path)
    return StoreUnavailable(WIRE_TEXT, retry_after=RETRY_AFTER, advice=f"{text} {cause}")


def no_room(error: apsw.Error, system: int = 0) -> bool:
    """Whether the disk or its quota is full; SQLite itself says so only of ENOSPC in a write."""
    if isinstance(error, apsw.FullError):
        return True
    if _extended(error) == apsw.SQLITE_IOERR_SHMSIZE:
        return True  # the index of the WAL could not grow; nothing of it is ever synced
    return _extended(error) == apsw.SQLITE_IOERR_WRITE and system in _NO_ROOM


def fatal(error: apsw.Error, system: int = 0) -> bool:
    """Whether the process must stop: what was said to be on the disk may not be there.

    To be asked of the writing connection only. Every I/O error counts that is not a full disk:
    a write or a sync failed, and no later success would prove anything about it.
    """
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return True
    return isinstance(error, apsw.IOError) and not no_room(error, system)


def _extended(error: apsw.Error) -> int:
    return int(getattr(error, "extendedresult", 0))
