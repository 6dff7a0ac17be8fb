"""One conversation's messages on their way to the relay, in order.

What may live here: what is sealed, what is under way, and what each refusal calls for. What may
not: sealing and storage, which are ``outgoing``'s, or fetching, which is ``trust``'s.

A message's life::

    draft ──sealed, kept on disk, then posted──► under way ──accepted──► done
                                                   │  ▲
                      temporary · stale · mismatch ▼  │ the same bytes, or sealed anew
                                                 refused ──deadline, or any other error──► failed

Messages of a lane are posted without waiting for one another. When one of them is refused, the
lane stops, waits for the other answers, mends what was wrong, and posts the rest in order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from secrets import SystemRandom
from typing import Protocol, TypeVar

from client.backoff import Backoff
from client.memory import Outbound
from client.messages import Sent
from crypto_modes import wire
from crypto_modes.contract import Draft, Need
from crypto_modes.errors import LouverError, ModeMismatch, StaleDevices

# How long a message that the relay refuses "for now" is tried again.
DEADLINE_SECONDS = 60.0
# Sealing anew this often for the same lists and policy means that the relay contradicts itself.
MOST_RESEALS = 4

T = TypeVar("T")

_random = SystemRandom().random


class Pending:
    """One message without an answer. ``entry`` is None until it is sealed; ``future`` gets its
    result when the relay holds it. ``mode`` is what the conversation was in when it was written or
    last sealed: whoever wrote it counted on that. Empty where nothing was known yet."""

    __slots__ = ("deadline", "draft", "entry", "future", "mode", "refusal", "reseals")

    def __init__(self, draft: Draft, entry: Outbound | None = None, mode: str = "") -> None:
        loop = asyncio.get_running_loop()
        self.draft = draft
        self.entry = entry
        self.mode = mode if entry is None else entry.frame.mode
        self.future: asyncio.Future[Sent] = loop.create_future()
        self.refusal: LouverError | None = None
        self.reseals = 0
        self.deadline = loop.time() + DEADLINE_SECONDS


class Desk(Protocol):
    """What a lane has done for it."""

    def seal_now(self, pending: Pending) -> Outbound:
        """Seal and keep a message, in one transaction. Raises ``Need``, and ``BelowFloor`` where
        more people could read it now than when it was written."""

    async def seal(self, pending: Pending) -> Outbound:
        """The same, fetching what is lacking."""

    async def refresh(self, pending: Pending, refusal: LouverError) -> bool:
        """Fetch what the relay says this client has an old version of; whether that has changed
        since this was last called."""

    def outdated(self, frame: wire.Send) -> bool:
        """Whether ``frame`` was sealed for more readers than its conversation now allows."""

    def post(self, frame: wire.Send) -> bool:
        """Send, where there is a connection."""

    def failed(self, pending: Pending, error: LouverError) -> None:
        """The message will not be sent; forget it and tell who waits."""


class Lane:
    """``sealed`` is by ref, oldest first, and older than every draft."""

    __slots__ = ("_backoff", "_desk", "_drafts", "_moved", "_task", "_under_way", "sealed")

    def __init__(self, desk: Desk) -> None:
        self.sealed: dict[int, Pending] = {}
        self._desk = desk
        self._drafts: deque[Pending] = deque()
        self._under_way: set[int] = set()  # posted on this connection, not answered yet
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._backoff = Backoff(_random)

    def add(self, pending: Pending) -> None:
        """Put a message last; on its way at once, unless something is lacking or in its way."""
        self._drafts.append(pending)
        if self._task is None:
            self._seal_now()

    def answered(self, ref: int) -> Pending | None:
        """The relay holds this message; it leaves the lane."""
        self._under_way.discard(ref)
        self._moved.set()
        self._backoff.reset()
        return self.sealed.pop(ref, None)

    def refused(self, ref: int, error: LouverError) -> None:
        """The relay refused this message: mend what can be mended, or give it up."""
        self._under_way.discard(ref)
        self._moved.set()
        pending = self.sealed.get(ref)
        if pending is None:
            return
        if error.temporary or isinstance(error, StaleDevices | ModeMismatch):
            pending.refusal = error
            self._work()
        else:
            self._give_up(pending, error)

    def reopened(self) -> None:
        """There is a new connection, on which nothing is under way yet."""
        self._under_way.clear()
        self._moved.set()
        if self.sealed or self._drafts:
            self._work()

    def stop(self) -> list[Pending]:
        """End all work; the messages that have no answer."""
        if self._task is not None:
            self._task.cancel()
        return [*self.sealed.values(), *self._drafts]

    # --- without waiting ---

    def _seal_now(self) -> None:
        while self._drafts:
            pending = self._drafts[0]
            try:
                entry = self._desk.seal_now(pending)
            except Need:
                self._work()
                return
            except LouverError as error:
                self._give_up(pending, error)
            else:
                self._sealed(pending, entry)

    def _sealed(self, pending: Pending, entry: Outbound) -> None:
        if self._drafts and self._drafts[0] is pending:
            self._drafts.popleft()
        pending.entry = entry
        self.sealed[entry.frame.ref] = pending
        self._post(entry.frame)

    def _post(self, frame: wire.Send) -> None:
        if self._desk.post(frame):
            self._under_way.add(frame.ref)

    def _give_up(self, pending: Pending, error: LouverError) -> None:
        if pending.entry is not None:
            self.sealed.pop(pending.entry.frame.ref, None)
        if self._drafts and self._drafts[0] is pending:
            self._drafts.popleft()
        self._desk.failed(pending, error)

    # --- with waiting ---

    def _work(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while True:
                if self._refused():
                    await self._mend()
                elif not await self._post_again():
                    return  # no connection; `reopened` comes back to it
                elif self._drafts:
                    pending = self._drafts[0]
                    entry = await self._or_give_up(pending, self._desk.seal(pending))
                    if entry is not None:
                        self._sealed(pending, entry)
                else:
                    return
        finally:
            self._task = None

    def _refused(self) -> list[Pending]:
        return [each for each in self.sealed.values() if each.refusal is not None]

    async def _mend(self) -> None:
        """Do what the refusals call for, once nothing of this lane is under way any more."""
        while self._under_way:
            self._moved.clear()
            await self._moved.wait()
        delay = 0.0
        fresh: dict[type[LouverError], bool] = {}
        for pending in self._refused():
            error, pending.refusal = pending.refusal, None
            if error is None:
                continue
            if error.temporary:
                delay = max(delay, error.retry_after)
                if asyncio.get_running_loop().time() + delay > pending.deadline:
                    self._give_up(pending, error)
            else:
                await self._reseal(pending, error, fresh)
        await asyncio.sleep(self._backoff.next(delay))

    async def _reseal(
        self, pending: Pending, error: LouverError, fresh: dict[type[LouverError], bool]
    ) -> None:
        """The same message, id and number, in other bytes: the relay has kept none of the old."""
        if type(error) not in fresh:
            news = await self._or_give_up(pending, self._desk.refresh(pending, error))
            if news is None:
                return
            fresh[type(error)] = news
        # While devices come and go, a message may have to be sealed for many lists in turn. Each
        # was signed by its user; what the relay alone can do is to refuse without a reason.
        pending.reseals += not fresh[type(error)]
        if pending.reseals > MOST_RESEALS:
            self._give_up(pending, error)
            return
        pending.entry = await self._or_give_up(pending, self._desk.seal(pending)) or pending.entry

    async def _post_again(self) -> bool:
        """Post what is sealed and not under way; False where there is no connection."""
        for ref, pending in list(self.sealed.items()):
            if ref in self._under_way or pending.entry is None:
                continue
            if self._desk.outdated(pending.entry.frame):
                # The policy was raised while this message waited: those bytes must not go out.
                entry = await self._or_give_up(pending, self._desk.seal(pending))
                if entry is None:
                    continue
                pending.entry = entry
            if not self._desk.post(pending.entry.frame):
                return False
            self._under_way.add(ref)
        return True

    async def _or_give_up(self, pending: Pending, work: Awaitable[T]) -> T | None:
        try:
            return await work
        except LouverError as error:
            self._give_up(pending, error)
            return None
