"""What one device is sent, and in which order: the live stream, and catching up from the store.

What may live here: the per-conversation cursors of a connection and the loop that reads on
after a gap. The bus is only a hint: an event that is not the next one makes this device read
the store, so a lost hint delays and never loses. Nothing here knows how a mode works beyond
calling ``emit``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from crypto_modes import wire
from crypto_modes.contract import Need, Stored
from crypto_modes.errors import LouverError, Unavailable
from server.bus import Event, Revoked, Signal, Suspended
from server.store import Head

if TYPE_CHECKING:
    from server.relay import Relay
    from server.session import Session

PAGE = 100
RETRY_SECONDS = 1.0


class Delivery:
    """The stream to one device. ``sent`` maps a conversation to the last seq handed over."""

    __slots__ = (
        "_begun",
        "_behind",
        "_complained",
        "_heads",
        "_relay",
        "_session",
        "_task",
        "sent",
    )

    def __init__(self, relay: Relay, session: Session) -> None:
        self._relay = relay
        self._session = session
        self.sent: dict[bytes, int] = {}
        # Conversations to read from the store, and how far at least.
        self._behind: dict[bytes, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._complained = False
        self._begun = False
        self._heads: list[Head] = []

    async def load(self) -> None:
        """Listen first, then read where the device stands, so that nothing falls between.

        What the bus says until ``begin`` is only noted: without the cursors every event would
        look like a gap that starts at the first message. Raises ``StoreUnavailable``.
        """
        session, store = self._session, self._relay.store
        self._relay.bus.subscribe(session.account, self.event)
        self._heads = await store.heads(session.account)
        self.sent = await store.cursors(session.device)

    def begin(self) -> None:
        """Deliver what waits, then live. Called once, after ``welcome``."""
        heads, self._heads = self._heads, []
        self._begun = True
        for head in heads:
            self._note(head.conversation, head.seq)
        ends = self._behind.items()
        self._behind = {each: end for each, end in ends if end > self.sent.get(each, 0)}
        if self._behind:
            self._catch_up()
        for head in heads:
            if head.peer_read and self._relay.settings.features.receipts:
                receipt = _receipt(head.conversation, head.peer, head.peer_read)
                self._session.link.send(receipt)

    def stop(self) -> None:
        """Stop listening; a running catch-up ends at its next step."""
        self._relay.bus.unsubscribe(self._session.account, self.event)
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def event(self, event: Event) -> None:
        """Called by the bus for everything that concerns this account."""
        if type(event) is Stored:
            self._stored(event)
        elif type(event) is Signal:
            # Before `welcome` nothing else may be sent; who just came asks for what he needs.
            if self._begun and event.source != self._session.device:
                self._session.link.send(event.frame)
        elif type(event) is Revoked and event.device in {b"", self._session.device}:
            self._session.end(4503)
        elif type(event) is Suspended:
            self._session.end(4530)

    def _stored(self, stored: Stored) -> None:
        meta = stored.meta
        conversation, seq = meta.conversation, meta.seq
        if not self._begun:
            self._note(conversation, seq)
            return
        last = self.sent.get(conversation, 0)
        if seq <= last:
            return
        if conversation in self._behind or seq != last + 1:
            self._fall_behind(conversation, seq)
            return
        # The sending device has `accepted`, which says the same and carries the seq.
        if meta.device != self._session.device:
            try:
                frame = self._relay.emit(stored, self._session.device)
            except (Need, LouverError):
                self._fall_behind(conversation, seq)
                return
            self._session.link.send(frame)
            self._relay.observer.delivered(meta.mode, meta.time)
        self.sent[conversation] = seq

    def _note(self, conversation: bytes, seq: int) -> None:
        self._behind[conversation] = max(seq, self._behind.get(conversation, 0))

    def _fall_behind(self, conversation: bytes, seq: int) -> None:
        self._note(conversation, seq)
        self._catch_up()

    def _catch_up(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._read_on())

    async def _read_on(self) -> None:
        """Read every conversation that is behind, a page at a time, at the link's own pace."""
        try:
            while self._behind:
                advanced = False
                for conversation in list(self._behind):
                    advanced = await self._read_page(conversation) or advanced
                    if not await self._session.link.writable():
                        return
                if not advanced:
                    await asyncio.sleep(RETRY_SECONDS)
        except Exception as error:  # noqa: BLE001 - a bug here must not end deliveries in silence
            self._relay.observer.fault("deliver", error)
            self._session.end(4004)
        finally:
            self._task = None

    async def _read_page(self, conversation: bytes) -> bool:
        """Hand over one page; False where a service that it needs does not answer now. The other
        conversations go on meanwhile.
        """
        try:
            page = await self._relay.store.after(conversation, self.sent.get(conversation, 0), PAGE)
            for stored in page:
                await self._hand_over(stored)
                self.sent[conversation] = stored.meta.seq
                if not await self._session.link.writable():
                    return True
        except Unavailable as error:
            self._complain(error)
            return False
        if not page and self.sent.get(conversation, 0) < self._behind[conversation]:
            return False  # the event was ahead of what this reader sees; look again in a moment
        if len(page) < PAGE and self.sent.get(conversation, 0) >= self._behind[conversation]:
            del self._behind[conversation]
        self._complained = False
        return True

    async def _hand_over(self, stored: Stored) -> None:
        link = self._session.link
        try:
            link.send(await self._relay.emit_when_ready(stored, self._session.device))
        except Unavailable:
            raise
        except LouverError as error:
            # Altered on disk. Saying so and going on is better than a conversation that stops.
            self._relay.observer.fault("emit", error)
            text = f"message {stored.meta.seq} of a conversation was altered in the relay's store"
            link.send(wire.error_frame(0, LouverError(text)))

    def _complain(self, error: Unavailable) -> None:
        """One log line per outage and connection, not one per second."""
        if not self._complained:
            self._complained = True
            self._relay.observer.fault("deliver", error)


def _receipt(conversation: bytes, account: bytes, seq: int) -> wire.Receipt:
    return wire.Receipt(conversation=conversation, account=account, seq=seq, time=0)
