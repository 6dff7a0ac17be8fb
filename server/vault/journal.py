"""The few things that the vault must not forget, in a file that only grows while it runs.

What may live here: fixed-size lines, durable once ``add`` returns, read again at the start. What
may not: what a line means. A line that a crash cut off is left out at the next start; so is every
line that its owner does not keep.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from crypto_modes.errors import BadConfig, StoreUnavailable


class Journal:
    """Lines of ``size`` bytes in ``path``."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size
        self._file = -1
        self._lock = Lock()

    def read(self) -> list[bytes]:
        """The whole lines of the file, in order; none where there is no file. ``BadConfig``."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise BadConfig(f"cannot read {self._path}: {error.strerror}") from None
        whole = len(content) // self._size * self._size
        return [content[at : at + self._size] for at in range(0, whole, self._size)]

    def begin(self, lines: Iterable[bytes]) -> None:
        """Begin anew with ``lines``; raises ``BadConfig``. A crash leaves the old or the new."""
        # One of its own: on a shared one, something slow would keep the vault from its journals.
        self._thread = ThreadPoolExecutor(1, self._path.name)
        draft = self._path.with_suffix(".draft")
        try:
            self._file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            content = b"".join(lines)
            if os.write(self._file, content) != len(content):
                raise OSError(errno.ENOSPC, "no space left on the device")
            os.fsync(self._file)
            draft.replace(self._path)
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(directory)
            os.close(directory)
        except OSError as error:
            raise BadConfig(f"cannot write {self._path}: {error.strerror}") from None

    async def add(self, line: bytes) -> None:
        """Returns once ``line``, or several in one, is durable. Raises ``StoreUnavailable``."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self.add_now, line)
        except RuntimeError:
            raise StoreUnavailable("the vault stops, so it does nothing more") from None

    def add_now(self, line: bytes) -> None:
        """The same where nothing else may happen meanwhile: it blocks."""
        try:
            self._write(line)
        except OSError as error:
            raise StoreUnavailable(
                "the vault cannot write down what it does, so it does nothing",
                advice=f"cannot write {self._path}: {error.strerror}",
            ) from None

    def close(self) -> None:
        """Let go of the file, once what was to be written is."""
        if self._file >= 0:
            self._thread.shutdown()
            os.close(self._file)
            self._file = -1

    def _write(self, line: bytes) -> None:
        # One call for one line: a short write leaves half a line, and the next would be beside
        # its place, so it is undone; and nobody may have written behind it by then.
        with self._lock:
            end = os.lseek(self._file, 0, os.SEEK_END)
            if os.write(self._file, line) != len(line):
                os.ftruncate(self._file, end)
                raise OSError(errno.ENOSPC, "no space left on the device")
        os.fsync(self._file)
