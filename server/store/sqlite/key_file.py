"""The part of the store that is ``keys.db``: the methods of ``Store`` about data keys.

What may live here: which function of ``keys`` runs on which thread, and what both files must agree
on. What may not: SQL.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from server.store import KeyCounts, PlatformKey, WrappedKey
from server.store.sqlite import files, keys
from server.store.sqlite.readers import Readers
from server.store.sqlite.writer import Writer


class KeyFile:
    """A base of ``SqliteStore``, which gives it the threads of both files."""

    _data: Path
    _readers: Readers
    _writer: Writer
    _key_readers: Readers
    _key_writer: Writer

    async def put_data_key(self, key: WrappedKey) -> bool:
        return await self._key_writer.run(lambda db: keys.put(db, key))

    async def has_data_keys(self) -> bool:
        return await self._key_readers.run(keys.exist)

    async def some_data_key(self) -> WrappedKey | None:
        return await self._key_readers.run(keys.some)

    async def data_key(self, dek_id: bytes) -> WrappedKey | None:
        return await self._key_readers.run(lambda db: keys.by_id(db, dek_id))

    async def newest_data_key(self, conversation: bytes, sender: bytes) -> WrappedKey | None:
        return await self._key_readers.run(lambda db: keys.newest(db, conversation, sender))

    async def platform_key(self) -> PlatformKey | None:
        return await self._key_readers.run(keys.platform)

    async def put_platform_key(self, key: PlatformKey) -> None:
        await self._key_writer.run(lambda db: keys.put_platform(db, key))

    async def data_keys_behind(self, after: bytes, limit: int) -> list[WrappedKey]:
        return await self._key_readers.run(lambda db: keys.behind(db, after, limit))

    async def rewrap_data_key(self, before: WrappedKey, after: WrappedKey) -> None:
        await self._key_writer.run(lambda db: keys.rewrap(db, before, after))

    async def shred_data_keys(self, conversation: bytes, sender: bytes) -> int:
        shredded = await self._key_writer.run(lambda db: keys.shred(db, conversation, sender))
        await self._writer.run(lambda db: keys.remember(db, shredded))
        await asyncio.to_thread(self._remove_copies)
        return len(shredded)

    async def count_data_keys(self) -> KeyCounts:
        return await self._key_readers.run(keys.count)

    async def _agree_on_shredded(self) -> None:
        """Shred again what one file remembers and the other does not: it was put back to an older
        state, or the relay ended between the two.
        """
        here = await self._writer.run(keys.shredded)
        there = await self._key_writer.run(keys.shredded)
        if missing := here - there:
            await self._key_writer.run(lambda db: keys.forget(db, missing))
        if unknown := there - here:
            await self._writer.run(lambda db: keys.remember(db, unknown))

    def _remove_copies(self) -> None:
        """What an upgrade left behind holds the keys from before it."""
        for copy in self._data.glob(f"{files.KEYS}.schema-*"):
            copy.unlink(missing_ok=True)
