"""The directory's cache while others write, and what a stranger may learn from it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from crypto_modes import wire
from crypto_modes.errors import Forbidden
from server.directory import Directory
from server.store import Account

pytestmark = pytest.mark.asyncio

ALICE, BOB = b"a" * 16, b"b" * 16


class Shelf:
    """As much of a store as a directory reads; ``gate`` holds up a read, ``reads`` counts."""

    def __init__(self) -> None:
        self.blocked: set[bytes] = set()
        self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def account(self, id: bytes) -> Account | None:
        self.reads += 1
        return Account(id=id, name="bob", created=0) if id in (ALICE, BOB) else None

    async def account_named(self, name: str) -> Account | None:
        self.reads += 1
        return Account(id=BOB, name="bob", created=0) if name == "bob" else None

    async def blocks(self, account: bytes) -> set[bytes]:
        self.reads += 1
        found = set(self.blocked)
        await self.gate.wait()
        return found

    async def set_block(self, account: bytes, blocked: bytes, on: bool) -> None:
        self.blocked.add(blocked)


def directory(shelf: Any) -> Directory:
    return Directory(shelf)


async def test_what_changed_while_it_was_read_is_read_again() -> None:
    shelf = Shelf()
    known = directory(shelf)
    shelf.gate.clear()
    reading = asyncio.create_task(known.entry(BOB))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await known.block(BOB, ALICE, True)
    shelf.gate.set()
    assert ALICE in (await reading).blocks
    with pytest.raises(Forbidden):
        await known.peer(ALICE, BOB)


@pytest.mark.attack(37)
async def test_a_name_costs_the_same_reads_whoever_it_is() -> None:
    shelf = Shelf()
    known = directory(shelf)
    await known.entry(BOB)
    shelf.blocked.add(ALICE)
    known.forget(BOB)
    costs = set()
    for name in ("nobody", "bob", "bob", "nobody"):
        before = shelf.reads
        with pytest.raises(Forbidden):
            await known.look_up(ALICE, wire.GetDevices(ref=1, name=name))
        costs.add(shelf.reads - before)
    assert costs == {3}
