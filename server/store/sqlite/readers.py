"""A few threads that read, each on a connection of its own: they see what is committed.

No SQL lives here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import TypeVar

import apsw

from crypto_modes.errors import StoreUnavailable
from server.store.sqlite import faults, files

THREADS = 2
T = TypeVar("T")


class Readers:
    """Connections are opened on first use, so that opening the store costs nothing for them."""

    def __init__(self, path: Path, threads: int = THREADS) -> None:
        self._path = path
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"read {path.name}")
        self._mine = local()
        self._connections: list[apsw.Connection] = []
        self._closed = False

    async def run(self, call: Callable[[apsw.Connection], T]) -> T:
        """What ``call`` reads. Raises ``StoreUnavailable``."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, call)

    def _read(self, call: Callable[[apsw.Connection], T]) -> T:
        try:
            if not hasattr(self._mine, "db"):
                self._mine.db = files.reader(self._path)
                self._connections.append(self._mine.db)
            return call(self._mine.db)
        except apsw.Error as error:
            raise faults.unavailable(error, self._path) from error

    async def close(self) -> None:
        """Waits for reads that run; to be called before the writer closes, whose last act is to
        empty the WAL, which readers would hold up."""
        self._closed = True
        await asyncio.to_thread(self._pool.shutdown)
        for db in self._connections:
            db.close()
