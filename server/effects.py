"""What the staff's decisions do at the relay: mutes, suspensions, removals, holds, notices.

What may live here: making them so, at once and again after a restart, and the checks by which the
rest of the relay feels them. Who may decide what is in ``server/moderation``. Conforms to
``moderation.desk.Hooks``; doing something twice is doing it once.

Mutes, removals and holds are in memory, filled from ``moderation.db`` before anybody connects; a
suspension is a mark of the account in the store as well, which every login reads.

A removed message is not handed to devices any more. Nothing of it is deleted: who decides about an
appeal must be able to reverse. What a device has already is out of the relay's reach.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from crypto_modes import wire
from crypto_modes.contract import Stored
from crypto_modes.errors import Forbidden
from crypto_modes.tls import deliver
from server.bus import Signal, Suspended
from server.keeping import Keeping
from server.moderation.desk import Hooks
from server.moderation.records import Action, Hold, Notice
from server.notices import told
from server.store import SealedReport

if TYPE_CHECKING:
    from server.relay import Relay


class Effects:
    """Of one relay. ``muted`` maps accounts to the end of their mute in milliseconds, ``removed``
    conversations to the numbers of removed messages; both are read on the hot path as they are.
    """

    def __init__(self, relay: Relay, keeping: Keeping) -> None:
        self._relay = relay
        self.keeping = keeping
        self.muted: dict[bytes, int] = {}
        self.removed: dict[bytes, frozenset[int]] = {}
        # Accounts with a notice that no device got yet; told when the next one says hello.
        self.waiting: set[bytes] = set()

    # --- felt by the rest of the relay ---

    def check_muted(self, account: bytes) -> None:
        """Raises ``Forbidden`` until the mute ends; called only for accounts in ``muted``."""
        until = self.muted[account]
        if until <= _now():
            del self.muted[account]
            return
        end = datetime.fromtimestamp(until / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
        raise Forbidden(
            f"you may not send messages here until {end}; `louver notices` says why, and how to"
            " appeal"
        )

    def is_removed(self, stored: Stored) -> bool:
        """Whether devices get a tombstone instead."""
        return stored.meta.seq in self.removed.get(stored.meta.conversation, ())

    # --- Hooks ---

    async def name(self, account: bytes) -> str:
        found = await self._relay.store.account(account)
        return found.name if found is not None else ""

    async def account(self, name: str) -> bytes:
        found = await self._relay.store.account_named(name)
        return found.id if found is not None else b""

    async def parties(self, conversation: bytes) -> tuple[bytes, bytes] | None:
        return await self._relay.store.parties(conversation)

    async def times(self, conversation: bytes, first: int, last: int) -> tuple[int, int]:
        store = self._relay.store
        found = [
            *await store.after(conversation, first - 1, 1),
            *await store.before(conversation, last + 1, 1),
        ]
        times = [each.meta.time for each in found if first <= each.meta.seq <= last]
        return (times[0], times[-1]) if times else (0, 0)

    async def authors(self, conversation: bytes, seqs: Sequence[int]) -> set[bytes]:
        found: set[bytes] = set()
        for seq in seqs:
            page = await self._relay.store.after(conversation, seq - 1, 1) if seq else []
            # One that is not there has no author, and b"" is nobody's id.
            found |= {each.meta.sender if each.meta.seq == seq else b"" for each in page} or {b""}
        return found

    async def reports(self, after: int, limit: int) -> Sequence[SealedReport]:
        return await self._relay.store.reports(after, limit)

    async def apply(self, action: Action, *, on: bool) -> None:
        match action.kind:
            case "mute":
                self._mute(action.account, action.until, on=on)
            case "suspend":
                await self._suspend(action.account, on=on)
            case "remove":
                self._remove(action.conversation, frozenset(action.seqs), on=on)
            case "warn" | "none":
                return  # the notice is all there is

    async def release(self, report: int) -> bytes:
        for kept in await self._relay.store.reports(report - 1, 1):
            with suppress(Forbidden):  # it was flagged, and had passed
                return await self._relay.scanning.release(kept.id)
        return b""

    async def hold(self, hold: Hold, *, on: bool) -> None:
        self.keeping.set(hold.place, on=on)

    def tell(self, notice: Notice) -> bool:
        online = notice.account in self._relay.sessions
        if online:
            frame = wire.Notices(ref=0, notices=(told(notice),))
            self._relay.bus.publish((notice.account,), Signal(frame))
        else:
            self.waiting.add(notice.account)
        return online

    # --- inside ---

    def _mute(self, account: bytes, until: int, *, on: bool) -> None:
        if not on:
            self.muted.pop(account, None)
        elif until > _now():
            self.muted[account] = max(until, self.muted.get(account, 0))

    async def _suspend(self, account: bytes, *, on: bool) -> None:
        relay = self._relay
        await relay.store.suspend(account, on=on)
        relay.directory.forget(account)
        if on:
            relay.bus.publish((account,), Suspended(account))
        relay.observer.changed("account suspended" if on else "account restored", account=account)

    def _remove(self, conversation: bytes, seqs: frozenset[int], *, on: bool) -> None:
        before = self.removed.get(conversation, frozenset())
        after = before | seqs if on else before - seqs
        if after:
            self.removed[conversation] = after
        else:
            self.removed.pop(conversation, None)


_: type[Hooks] = Effects


def tombstone(stored: Stored) -> wire.Deliver:
    """What devices get of a removed message: that there was one, and of whom."""
    bare = deliver(msgspec.structs.replace(stored, commitment=b"", stamp=b""), b"")
    return msgspec.structs.replace(bare, removed=True)


def _now() -> int:
    return time.time_ns() // 1_000_000
