"""Messages for the tests of stores: an ``Append`` that remembers what became of it.

Only such helpers live here; what a store must do with them is in ``store_contract.py``.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable

from crypto_modes.contract import Meta, Stored
from server.store import Account, Device, Store

ALICE, BOB, CAROL = b"alice-account-01", b"bobby-account-02", b"carol-account-03"
PHONE, TABLET, LAPTOP = b"alice-phone-0001", b"alice-tablet-001", b"bobby-laptop-001"
TALK, OTHER_TALK = b"talk-alice-bobby", b"talk-alice-carol"
TIME = 1_790_000_000_000


def chain_after(previous: bytes, seq: int, record: bytes) -> bytes:
    """Any function of these will do: what matters is that the store hands over the right ones."""
    return hashlib.sha256(previous + seq.to_bytes(8, "big") + record).digest()


class Entry:
    """One message from ``sender`` to ``recipient``. ``outcome`` is None until it is settled."""

    def __init__(
        self,
        conversation: bytes = TALK,
        sender: bytes = ALICE,
        recipient: bytes = BOB,
        *,
        id: bytes | None = None,
        device: bytes = PHONE,
        record: bytes = b"words",
        refusal: Exception | None = None,
        told: Callable[[Entry], None] | None = None,
    ) -> None:
        self.conversation = conversation
        self.sender, self.recipient = sender, recipient
        first, second = sorted((sender, recipient))
        self.parties = (first, second)
        self.id = os.urandom(16) if id is None else id
        self.device = device
        self.record = record
        self.refusal = refusal
        self.outcome: Stored | Exception | None = None
        self.duplicate = False
        self.waiter: Callable[[], None] | None = None
        self._told = told

    def admit(self, seq: int, previous: bytes) -> Stored:
        if self.refusal:
            raise self.refusal
        meta = Meta(
            self.conversation,
            seq,
            self.id,
            self.sender,
            self.device,
            self.recipient,
            "text",
            "tls",
            1,
            TIME + seq,
        )
        chain = chain_after(previous, seq, self.record)
        return Stored(meta, self.record, b"c" * 32, b"s" * 32, chain)

    def settled(self, outcome: Stored | Exception, duplicate: bool) -> None:
        assert self.outcome is None, "settled twice"
        self.outcome, self.duplicate = outcome, duplicate
        if self.waiter:
            self.waiter()
        if self._told:
            self._told(self)

    @property
    def stored(self) -> Stored:
        assert isinstance(self.outcome, Stored), self.outcome
        return self.outcome

    @property
    def seq(self) -> int:
        return self.stored.meta.seq


async def settle(store: Store, *entries: Entry) -> list[Entry]:
    """Append all of ``entries`` at once and wait until each is settled."""
    done = asyncio.get_running_loop().create_future()
    waiting = len(entries)

    def settled() -> None:
        nonlocal waiting
        waiting -= 1
        if not waiting:
            done.set_result(None)

    for entry in entries:
        entry.waiter = settled
        store.append(entry)
    await asyncio.wait_for(done, 30)
    return list(entries)


def account(id: bytes = ALICE, name: str = "alice", **fields: object) -> Account:
    """An account with a password."""
    return Account(id=id, name=name, created=TIME, password="$argon2id$…", **fields)  # type: ignore[arg-type]  # the fields of the test at hand


def device(id: bytes = PHONE, account: bytes = ALICE, token: bytes = b"t" * 32) -> Device:
    """A device whose token lives for a while."""
    return Device(id=id, account=account, token=token, created=TIME, expires=TIME + 1000)


async def populate(store: Store) -> None:
    """Alice with a phone and a tablet, Bob with a laptop."""
    await store.add_account(account())
    await store.add_account(account(BOB, "bob"))
    await store.bind_device(device())
    await store.bind_device(device(TABLET))
    await store.bind_device(device(LAPTOP, BOB))
