"""The bytes of attachments: one private file each, in threads of their own.

Only reading and writing at a place, syncing and deleting live here; what the bytes are, and what
is known of them, is not its business. A failed write leaves the file as long as it was. Every
method may raise ``StoreUnavailable``, whose advice names the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from crypto_modes.errors import StoreUnavailable

THREADS = 4
RETRY_AFTER = 1.0
_TEXT = "the relay cannot keep attachments now; nothing was acknowledged; try again"
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW
T = TypeVar("T")


class BlobFiles:
    """The files below ``directory``, which is made when first needed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="blobs")
        self._closed = False

    async def close(self) -> None:
        """Wait for what runs."""
        self._closed = True
        await asyncio.to_thread(self._pool.shutdown)

    async def begin(self, id: bytes, head: bytes) -> None:
        """Make the file, or make it anew, with ``head`` alone in it."""
        await self._run(self._begin, id, head)

    async def trim(self, id: bytes, keep: Callable[[int], int]) -> int:
        """Cut the file to ``keep(its size)`` bytes, and return that; -1 where there is no file."""
        return await self._run(self._trim, id, keep)

    async def write(self, id: bytes, at: int, data: bytes) -> None:
        """Write ``data`` at ``at``; not durable before ``sync``."""
        await self._run(self._write, id, at, data)

    async def read(self, id: bytes, at: int, size: int) -> bytes:
        """At most ``size`` bytes at ``at``; fewer where the file ends, or is lost."""
        return await self._run(self._read, id, at, size)

    async def each(
        self, id: bytes, at: int, sizes: Iterable[int], use: Callable[[int, bytes], None]
    ) -> None:
        """Call ``use(index, bytes)`` for consecutive parts of these sizes, in the thread."""
        await self._run(self._each, id, at, sizes, use)

    async def sync(self, id: bytes) -> None:
        """Make all of the file durable. Where that fails, never trust it again: remove it."""
        await self._run(self._sync, id)

    async def remove(self, id: bytes) -> None:
        """Delete the file; nothing where there is none."""
        await self._run(self._remove, id)

    # --- in a thread ---

    def _begin(self, id: bytes, head: bytes) -> None:
        path = self._path(id)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as file:
            _write_all(file, 0, head)

    def _trim(self, id: bytes, keep: Callable[[int], int]) -> int:
        try:
            with _opened(self._path(id), os.O_WRONLY) as file:
                size = os.fstat(file).st_size
                kept = keep(size)
                if kept < size:
                    os.ftruncate(file, kept)
                return kept
        except FileNotFoundError:
            return -1

    def _write(self, id: bytes, at: int, data: bytes) -> None:
        with _opened(self._path(id), os.O_WRONLY) as file:
            _write_all(file, at, data)

    def _read(self, id: bytes, at: int, size: int) -> bytes:
        try:
            with _opened(self._path(id), os.O_RDONLY) as file:
                return os.pread(file, size, at)
        except FileNotFoundError:
            return b""

    def _each(
        self, id: bytes, at: int, sizes: Iterable[int], use: Callable[[int, bytes], None]
    ) -> None:
        with _opened(self._path(id), os.O_RDONLY) as file:
            for index, size in enumerate(sizes):
                use(index, os.pread(file, size, at))
                at += size

    def _sync(self, id: bytes) -> None:
        path = self._path(id)
        with _opened(path, os.O_RDONLY) as file:
            os.fsync(file)
        # The names on the way to it, too, or a power cut leaves a durable file that has none.
        for directory in (path.parent, self._directory, self._directory.parent):
            with _opened(directory, os.O_RDONLY | os.O_DIRECTORY) as file:
                os.fsync(file)

    def _remove(self, id: bytes) -> None:
        self._path(id).unlink(missing_ok=True)

    def _path(self, id: bytes) -> Path:
        name = id.hex()
        return self._directory / name[:2] / name

    async def _run(self, call: Callable[..., T], *args: object) -> T:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, lambda: call(*args))
        except OSError as error:
            advice = f"attachments in {self._directory} cannot be used: {error.strerror}"
            raise StoreUnavailable(_TEXT, retry_after=RETRY_AFTER, advice=advice) from error


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    file = os.open(path, flags | _FLAGS, 0o600)
    try:
        yield file
    finally:
        os.close(file)


def _write_all(file: int, at: int, data: bytes) -> None:
    """All or nothing: a full disk takes the half of a piece and then refuses the rest."""
    done = 0
    try:
        while done < len(data):
            done += os.pwrite(file, data[done:], at + done)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(file, at)
        raise
