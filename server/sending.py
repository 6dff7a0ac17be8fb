"""The hot path: one ``send`` frame on its way from a session to the disk and to the devices.

What may live here: the checks that a send must pass in memory, the entry that the store drives,
and what happens when a mode lacks a key. Loading what memory lacks is in ``conversations`` and
``directory``. ``accepted`` leaves only from ``settled``, which the store calls after the commit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from crypto_modes import scanning, wire
from crypto_modes.contract import Meta, Need, Sealed, ServerMode, Stored, Want
from crypto_modes.errors import (
    Forbidden,
    FrameRefused,
    Held,
    LouverError,
    StaleDevices,
    Unavailable,
    UnknownDevice,
)
from crypto_modes.scanning import Hit
from server.conversations import Conversation
from server.directory import UNREACHABLE, Entry, public
from server.scanning import WAITS

if TYPE_CHECKING:
    from server.relay import Relay
    from server.session import Session

# A mode that still lacks something after this many supplies is broken, not cold.
TRIES = 4

Lane = tuple[bytes, bytes]


class Sending:
    """One message between the session that sent it and the store; ``store.Append``."""

    __slots__ = (
        "_frame",
        "_held",
        "_hits",
        "_mode",
        "_outbox",
        "_recipient",
        "_session",
        "_started",
        "conversation",
        "device",
        "id",
        "lane",
        "parties",
        "tries",
    )

    def __init__(
        self,
        outbox: Outgoing,
        session: Session,
        frame: wire.Send,
        conversation: Conversation,
        mode: ServerMode,
        hits: Sequence[Hit] = (),
        held: Meta | None = None,
    ) -> None:
        """``hits``: what lists found in it; ``held``: its context where one of them holds it."""
        self._outbox = outbox
        self._hits = hits
        self._held = held
        self._session = session
        self._frame = frame
        self._mode = mode
        self._recipient = conversation.other(session.account)
        self._started = time.perf_counter()
        self.conversation = conversation.id
        self.parties = conversation.parties
        self.device = session.device
        self.id = frame.id
        # Messages of one sender in one conversation keep their order.
        self.lane = (conversation.id, session.account)
        self.tries = TRIES

    def admit(self, seq: int, previous: bytes) -> Stored:
        want = self._outbox.blocked.get(self.lane)
        if want is not None:
            raise Need(want)  # one before it lacks a key, and it may not overtake that one
        try:
            return self._admit(seq, previous)
        except Need as need:
            self._outbox.blocked[self.lane] = need.what
            raise

    def _admit(self, seq: int, previous: bytes) -> Stored:
        if self._held is not None:
            # Here and not before: what is stored already is answered as such, whatever lists say.
            raise Held(WAITS)
        frame, session = self._frame, self._session
        meta = Meta(
            self.conversation,
            seq,
            frame.id,
            session.account,
            self.device,
            self._recipient,
            frame.kind,
            frame.mode,
            frame.epoch,
            time.time_ns() // 1_000_000,
        )
        sealed = Sealed(
            mode=frame.mode,
            epoch=frame.epoch,
            body=frame.body,
            copies=frame.copies,
            commitment=frame.commitment,
        )
        return self._mode.admit(meta, sealed, previous)

    def settled(self, outcome: Stored | Exception, duplicate: bool) -> None:
        self._outbox.left(self.lane)
        if isinstance(outcome, Stored):
            self._accepted(outcome, duplicate)
        elif isinstance(outcome, Need) and self.tries:
            self.tries -= 1
            self._outbox.park(self, outcome)
        else:
            self.failed(outcome)

    def failed(self, error: Exception) -> None:
        """Answer with what went wrong; nothing was stored."""
        self._session.sent()
        if isinstance(error, Held) and self._held is not None:
            self._outbox.relay.scanning.hold(self._held, self._frame.body, self._hits)
        if not isinstance(error, LouverError):
            self._outbox.relay.observer.fault("send", error)
            error = LouverError("the relay failed to store this message; nothing was stored")
        self._session.refuse(self._frame, error)

    def _accepted(self, stored: Stored, duplicate: bool) -> None:
        session, meta, relay = self._session, stored.meta, self._outbox.relay
        session.sent()
        session.link.send(
            wire.Accepted(
                ref=self._frame.ref,
                id=meta.id,
                conversation=meta.conversation,
                seq=meta.seq,
                time=meta.time,
                stamp=stored.stamp,
            )
        )
        if duplicate:
            relay.observer.duplicate()
            return
        relay.observer.accepted(meta.mode, time.perf_counter() - self._started)
        relay.bus.publish(self.parties, stored)
        if self._hits:
            relay.scanning.flag(meta, self._frame.body, self._hits)


class Outgoing:
    """Takes ``send`` frames: checks them, hands them to the store, waits for keys in order.

    A lane (the sends of one account in one conversation) in which a mode lacks a key::

        open ── admit raises Need ──► blocked: later ones at the store are refused, and park too
          ▲                              │ the key is there, and none of the lane is at the store
          └──── parked ones go again ────┘
    """

    __slots__ = ("_at_store", "_behind", "_emptied", "_muted", "_parked", "blocked", "relay")

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        # Always the same dict: a look-up in it is all that a send costs who is not muted.
        self._muted = relay.effects.muted
        # Written on the store's thread when a lane's first send lacks a key, removed here when
        # none of that lane is at the store: so the two threads never write one entry at a time.
        self.blocked: dict[Lane, Want] = {}
        self._at_store: dict[Lane, int] = {}
        self._parked: dict[Lane, list[Sending]] = {}  # refused by a mode, in order
        self._behind: dict[Lane, list[Sending]] = {}  # never at the store, younger than all parked
        self._emptied: dict[Lane, asyncio.Event] = {}

    def send(self, session: Session, frame: wire.Send) -> Coroutine[Any, Any, None] | None:
        """Start one send; a coroutine only where memory lacks what the checks need."""
        relay = self.relay
        conversation = relay.conversations.known(session.account, frame.to or frame.conversation)
        if conversation is None:
            return self._cold(session, frame)
        peer = relay.directory.known(conversation.other(session.account))
        own = relay.directory.known(session.account)
        if peer is None or own is None:
            return self._cold(session, frame)
        self._admissible(session, frame, conversation, peer)
        if frame.copies and not _current_devices(session, frame, own, peer):
            return None
        hits = relay.scanning.scan(frame.mode, frame.body) if frame.body else ()
        held = None
        if hits:
            about = _unplaced(session, frame, conversation)
            hits = relay.scanning.still(about, frame.body, hits)
            held = about if scanning.held(hits) else None
        session.sending()
        mode = relay.modes[frame.mode]
        self.submit(Sending(self, session, frame, conversation, mode, hits, held))
        return None

    def submit(self, sending: Sending) -> None:
        """Hand a checked send to the store, behind those of its lane that wait for a key."""
        lane = sending.lane
        if lane in self._parked:
            self._behind.setdefault(lane, []).append(sending)
            return
        self._at_store[lane] = self._at_store.get(lane, 0) + 1
        self.relay.store.append(sending)

    def left(self, lane: Lane) -> None:
        """The store has settled one send of this lane."""
        count = self._at_store[lane] - 1
        if count:
            self._at_store[lane] = count
            return
        del self._at_store[lane]
        if lane in self._emptied:
            self._emptied[lane].set()

    def park(self, sending: Sending, need: Need) -> None:
        """Keep a send until its mode has what it lacks; the first of a lane fetches it."""
        parked = self._parked.get(sending.lane)
        if parked is not None:
            parked.append(sending)
            return
        self._parked[sending.lane] = [sending]
        self.relay.spawn(self._supply(sending.lane, need))

    async def _supply(self, lane: Lane, need: Need) -> None:
        failure: Exception | None = None
        try:
            await self.relay.supply(need)
        except Exception as error:  # noqa: BLE001 - whatever it was, the senders must hear of it
            failure = error
        if lane in self._at_store:
            self._emptied[lane] = asyncio.Event()
            await self._emptied[lane].wait()
            del self._emptied[lane]
        self.blocked.pop(lane, None)
        # Those that came while others of the lane were still at the store are younger than they.
        for sending in self._parked.pop(lane) + self._behind.pop(lane, []):
            if failure is None:
                self.submit(sending)
            else:
                sending.failed(failure)

    async def _cold(self, session: Session, frame: wire.Send) -> None:
        """Load the conversation and both accounts, then send."""
        relay = self.relay
        peer = await relay.conversations.peer_of(session.account, frame.to, frame.conversation)
        await relay.directory.peer(session.account, peer)
        await relay.directory.entry(session.account)
        await relay.conversations.load(session.account, peer)
        waiting = self.send(session, frame)
        if waiting is not None:
            # Evicted between two awaits of this very call: memory is far too small.
            waiting.close()
            raise Unavailable("the relay's caches are too small for its load; try again")

    def _admissible(
        self,
        session: Session,
        frame: wire.Send,
        conversation: Conversation,
        peer: Entry,
    ) -> None:
        """Everything a send must satisfy before it may use the disk."""
        if session.account in self._muted:
            self.relay.effects.check_muted(session.account)
        if session.account in peer.blocks or peer.account.suspended:
            raise Forbidden(UNREACHABLE)
        if frame.to and frame.conversation and frame.conversation != conversation.id:
            raise FrameRefused("`to` and `conversation` name two different conversations")
        conversation.check(frame.kind, frame.mode, frame.epoch)
        self.relay.ending.check_send(frame.mode)


def _unplaced(session: Session, frame: wire.Send, conversation: Conversation) -> Meta:
    """The context of a message that has no place in its conversation, and may never get one."""
    return Meta(
        conversation.id,
        0,
        frame.id,
        session.account,
        session.device,
        conversation.other(session.account),
        frame.kind,
        frame.mode,
        frame.epoch,
        time.time_ns() // 1_000_000,
    )


def _current_devices(session: Session, frame: wire.Send, own: Entry, peer: Entry) -> bool:
    """Copies must go to exactly the listed devices of both users, less the sending one; where
    they do not, the refusal and the current lists are sent.
    """
    if session.device not in own.devices:
        raise UnknownDevice("publish a device list that names this device before sending")
    wanted = peer.devices | (own.devices - {session.device})
    given = {copy.device for copy in frame.copies}
    if len(given) != len(frame.copies):
        raise FrameRefused("two copies of one message are addressed to the same device")
    if given == wanted:
        return True
    # The error first: a client that reseals needs to know why before it sees the lists.
    error = StaleDevices("the copies do not match the current device lists, which follow")
    session.refuse(frame, error)
    session.link.send(public(own))
    session.link.send(public(peer))
    return False
