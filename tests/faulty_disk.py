"""A disk that fails on command: a VFS that SQLite uses for every file while it is plugged in.

Only the disk lives here. It sits on the system's own VFS, so what it lets through is real.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath

import apsw


class FaultyDisk(apsw.VFS):
    """``on_write`` and ``on_sync`` are raised instead of writing to or syncing a file whose name
    ends with ``suffix``. ``failed`` counts how often that happened, ``written`` what got
    through, by the name of the file.
    """

    def __init__(self, suffix: str) -> None:
        self.system = apsw.vfs_names()[0]
        super().__init__("faulty", self.system, makedefault=True)
        self.suffix = suffix
        self.on_write: Exception | None = None
        self.on_sync: Exception | None = None
        self.failed = 0
        self.written: Counter[str] = Counter()

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> _File:  # noqa: N802 - SQLite's name
        return _File(self, name, flags)


class _File(apsw.VFSFile):
    def __init__(
        self, disk: FaultyDisk, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        super().__init__(disk.system, name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        self._disk = disk
        self._name = PurePath(path).name

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._maybe_fail(self._disk.on_write)
        self._disk.written[self._name] += 1
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        self._maybe_fail(self._disk.on_sync)
        super().xSync(flags)

    def _maybe_fail(self, error: Exception | None) -> None:
        if error and self._name.endswith(self._disk.suffix):
            self._disk.failed += 1
            raise error


@contextmanager
def faulty_disk(suffix: str) -> Iterator[FaultyDisk]:
    """Every database opened inside lies on the disk that this gives."""
    disk = FaultyDisk(suffix)
    try:
        yield disk
    finally:
        disk.unregister()


def io_error(code: int) -> apsw.IOError:
    """What SQLite makes of a failed system call: an I/O error with this extended code."""
    error = apsw.IOError("planted")
    error.extendedresult = code  # type: ignore[attr-defined]  # apsw reads it, its stubs lack it
    return error
