"""Keys for tests: stores, keyrings and clocks that live in memory and can be made to fail."""

from __future__ import annotations

import asyncio
import os

from crypto_modes.contract import Need, NeedDataKey, NeedFrankingKey, NeedWrappedKey
from crypto_modes.errors import (
    CannotOpen,
    KeyServiceRefuses,
    KeyServiceUnavailable,
    StoreUnavailable,
)
from server.store import WrappedKey


class Clock:
    """Milliseconds that pass only when told."""

    def __init__(self, now: int = 1_790_000_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class MemoryKeys:
    """The data-key part of a store. ``full`` refuses writes, ``order`` is what happened."""

    def __init__(self) -> None:
        self._deployment = b"deployment-0001!"
        self.rows: list[WrappedKey] = []
        self.full = False
        self.order: list[str] = []

    @property
    def deployment(self) -> bytes:
        return self._deployment

    async def put_data_key(self, key: WrappedKey) -> bool:
        if self.full:
            raise StoreUnavailable("the disk is full")
        self.rows.append(key)
        self.order.append("stored")
        return True

    async def data_key(self, dek_id: bytes) -> WrappedKey | None:
        return next((row for row in self.rows if row.dek_id == dek_id), None)

    async def newest_data_key(self, conversation: bytes, sender: bytes) -> WrappedKey | None:
        mine = [
            row for row in self.rows if (row.conversation, row.sender) == (conversation, sender)
        ]
        return max(mine, key=lambda row: row.epoch, default=None)


class MemoryKeyring:
    """A keyring that keeps its keys in a dictionary. ``away`` makes it unreachable, ``hold`` slow;
    ``refusing`` takes the key away; ``asked`` is set by each call.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self._answer = asyncio.Event()
        self._answer.set()
        self.away = self.refusing = False
        self.calls = 0
        self.generation = 1
        self._known: dict[bytes, tuple[bytes, bytes]] = {}

    async def generate(self, context: bytes) -> tuple[bytes, bytes]:
        key = os.urandom(32)
        return key, await self.wrap(key, context)

    async def wrap(self, key: bytes, context: bytes) -> bytes:
        await self._reach()
        wrapped = os.urandom(16)
        self._known[wrapped] = key, context
        return wrapped

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        await self._reach()
        key, bound = self._known.get(wrapped, (b"", b""))
        if bound != context:
            raise CannotOpen
        return key

    async def rotate(self, generation: int) -> None:
        await self._reach()

    async def retire(self, generation: int) -> None:
        await self._reach()

    async def close(self) -> None:
        self._known.clear()

    def hold(self) -> asyncio.Event:
        """Keep every call from now on waiting until the event is set."""
        self.asked.clear()
        self._answer = asyncio.Event()
        return self._answer

    async def _reach(self) -> None:
        self.calls += 1
        self.asked.set()
        await self._answer.wait()
        if self.away:
            raise KeyServiceUnavailable("the test's keyring is away")
        if self.refusing:
            raise KeyServiceRefuses("the test's keyring refuses")


class NoFrankingKeys:
    """Franking keys of a relay that never loaded any."""

    def find(self, month: int) -> bytes:
        raise Need(NeedFrankingKey(month))


def key_need(need: Need) -> NeedDataKey | NeedWrappedKey:
    """What a ``Need`` for a data key wants."""
    assert isinstance(need.what, NeedDataKey | NeedWrappedKey)
    return need.what
