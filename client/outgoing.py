"""Messages on their way to the relay: sealing, keeping, and telling who waits for an answer.

What may live here: what all lanes share. What may not: the order and the repairs of one
conversation (``lane``), or how sealing works (the modes).

Kept before it is posted: a crash in between sends the same bytes later, and never encrypts two
texts with one key of a ratchet (attacks.md 26).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import msgspec

from client import refusals
from client.contents import Contents
from client.lane import Lane, Pending
from client.memory import Memory, Outbound
from client.messages import Event, Message, NotSent, Sent
from client.session import Session
from client.trust import Trust
from crypto_modes import policy, wire
from crypto_modes.contract import ID_SIZE, Draft, NeedPolicy
from crypto_modes.errors import BelowFloor, LimitExceeded, LouverError, StaleDevices

# Messages without an answer, over all conversations, before `send` waits and `send_soon` raises.
# When the relay refuses them as stale, all are sealed again with new keys, and the receiver has to
# skip the old ones. It refuses jumps of over 2,000 skipped keys (attacks.md 28): a whole window may
# be refused twice in a row and still opens.
WINDOW = 1000


class Outgoing:
    """All lanes of one chat; their ``Desk``. ``begin`` first, then ``reopened`` per connection.

    ``settled(conversation, seq)`` is called inside the transaction that makes an own message a
    kept one.
    """

    def __init__(
        self,
        memory: Memory,
        session: Session,
        trust: Trust,
        contents: Contents,
        emit: Callable[[Event], None],
        settled: Callable[[bytes, int], None],
    ) -> None:
        self._memory = memory
        self._session = session
        self._trust = trust
        self._contents = contents
        self._emit = emit
        self._settled = settled
        self._account = self._device = b""
        self._number = 0
        self._lanes: dict[bytes, Lane] = {}
        self._lane_of: dict[int, Lane] = {}
        # The device lists, recipient's and own, for which a conversation was last sealed anew.
        self._versions: dict[bytes, list[int]] = {}
        self._room = asyncio.Event()
        self.unanswered = 0

    def begin(self, account: bytes, device: bytes) -> None:
        """Take up what an earlier run left unanswered."""
        self._account, self._device = account, device
        for entry in self._memory.outbound():
            frame = entry.frame
            draft = self._draft(entry.peer, frame.id, frame.kind, entry.content, entry.reply_to)
            lane = self._lane(draft.conversation)
            lane.sealed[frame.ref] = Pending(draft, entry)
            self._lane_of[frame.ref] = lane
            self._number = max(self._number, entry.number)
            self.unanswered += 1

    # --- for the chat ---

    async def room(self) -> None:
        """Wait until another message may be added."""
        while self.unanswered >= WINDOW:
            self._room.clear()
            await self._room.wait()
            self._session.check()

    def add(
        self,
        peer: bytes,
        content: bytes,
        kind: wire.Kind,
        reply_to: bytes,
        *,
        id: bytes = b"",
    ) -> asyncio.Future[Sent]:
        """Put a message on its way; at once where nothing is lacking. It gets an ``id`` if it has
        none.

        Raises ``LimitExceeded`` for too much content or too many messages without an answer.
        """
        self._session.check()
        if self.unanswered >= WINDOW:
            raise LimitExceeded(f"{WINDOW} messages wait for their answers; await some first")
        conversation = policy.conversation_id(self._account, peer)
        mode = self._trust.pins.floor(conversation, kind) or ""
        content = self._contents.timed(conversation, content, mode)
        if len(content) > wire.CONTENT_LIMIT:
            raise LimitExceeded(f"a message may have at most {wire.CONTENT_LIMIT} bytes")
        draft = self._draft(peer, id or os.urandom(ID_SIZE), kind, content, reply_to)
        pending = Pending(draft, mode=mode)
        self.unanswered += 1
        self._lane(pending.draft.conversation).add(pending)
        self._session.nudge()
        return pending.future

    def reopened(self) -> None:
        """A connection is open: send again, in order, whatever has no answer."""
        for lane in self._lanes.values():
            lane.reopened()

    def accepted(self, frame: wire.Accepted) -> None:
        """The relay holds a message durably."""
        lane = self._lane_of.get(frame.ref)
        pending = None if lane is None else lane.sealed.get(frame.ref)
        if pending is None:
            return
        draft = pending.draft
        if frame.id == draft.id and frame.conversation == draft.conversation:
            self._done(pending, frame.seq, frame.time, frame.stamp)

    def confirmed(self, delivery: wire.Deliver) -> bool:
        """An own message came back on resuming, which says what ``accepted`` would have said."""
        lane = self._lanes.get(delivery.conversation)
        for pending in () if lane is None else tuple(lane.sealed.values()):
            if pending.draft.id == delivery.id:
                self._done(pending, delivery.seq, delivery.time, delivery.stamp)
                return True
        return False

    def refused(self, frame: wire.Error) -> bool:
        """Whether ``frame`` refuses a message; its lane takes care of it."""
        lane = self._lane_of.get(frame.ref)
        if lane is not None:
            lane.refused(frame.ref, refusals.from_frame(frame))
        return lane is not None

    def stopped(self, error: LouverError) -> None:
        """The session ended: whoever waits hears of it. What is kept goes out next time."""
        for lane in self._lanes.values():
            for pending in lane.stop():
                _fail(pending, error)
        self._room.set()

    # --- for the lanes ---

    def seal_now(self, pending: Pending) -> Outbound:
        with self._memory.store.transaction():
            return self._seal(pending)

    async def seal(self, pending: Pending) -> Outbound:
        return await self._trust.resolve(lambda: self._seal(pending))

    async def refresh(self, pending: Pending, refusal: LouverError) -> bool:
        draft = pending.draft
        if isinstance(refusal, StaleDevices):
            # Asked for, although the relay also pushes them: an answer cannot be missed.
            lists = [await self._trust.look_up(each) for each in (draft.recipient, draft.sender)]
            versions = [each.list.version if each.list is not None else 0 for each in lists]
            before = self._versions.get(draft.conversation)
            self._versions[draft.conversation] = versions
            return versions != before
        await self._trust.satisfy(NeedPolicy(draft.conversation, draft.recipient, 0))
        return False

    def outdated(self, frame: wire.Send) -> bool:
        conversation = policy.conversation_id(self._account, frame.to)
        floor = self._trust.pins.floor(conversation, frame.kind)
        return floor is not None and self._trust.weaker(frame.mode, floor)

    def post(self, frame: wire.Send) -> bool:
        return self._session.post(frame)

    def failed(self, pending: Pending, error: LouverError) -> None:
        draft = pending.draft
        if pending.entry is not None:
            self._memory.drop_outbound(draft.conversation, draft.id)
            del self._lane_of[pending.entry.frame.ref]
        self._answered()
        _fail(pending, error)
        self._emit(NotSent(draft.id, draft.recipient, error))

    # --- inside ---

    def _draft(
        self, peer: bytes, id: bytes, kind: wire.Kind, content: bytes, reply_to: bytes
    ) -> Draft:
        return Draft(
            conversation=policy.conversation_id(self._account, peer),
            id=id,
            sender=self._account,
            device=self._device,
            recipient=peer,
            kind=kind,
            epoch=0,  # set when it is sealed
            content=content,
            reply_to=reply_to,
        )

    def _lane(self, conversation: bytes) -> Lane:
        lane = self._lanes.get(conversation)
        if lane is None:
            lane = self._lanes[conversation] = Lane(self)
        return lane

    def _seal(self, pending: Pending) -> Outbound:
        """Seal in the mode of the floor, never below, nor below what it was written in, and keep
        the frame. Raises ``Need`` or ``BelowFloor``.
        """
        draft = pending.draft
        mode, epoch = self._trust.pins.to_send(draft.conversation, draft.kind, draft.recipient)
        if pending.mode and self._trust.weaker(mode, pending.mode):
            raise BelowFloor(
                f"this was written in mode {pending.mode}, and the conversation is now in {mode};"
                " send it again if that is meant"
            )
        pending.mode = mode
        sealed = self._trust.client(mode).seal(msgspec.structs.replace(draft, epoch=epoch))
        if pending.entry is None:
            self._number += 1
            number = self._number
        else:
            number = pending.entry.number
        frame = wire.Send(
            ref=(2 * number + 1) % 2**32,  # odd; see session.ask
            id=draft.id,
            to=draft.recipient,
            kind=draft.kind,
            mode=sealed.mode,
            epoch=sealed.epoch,
            body=sealed.body,
            copies=sealed.copies,
            commitment=sealed.commitment,
        )
        entry = Outbound(
            number=number,
            peer=draft.recipient,
            frame=frame,
            content=draft.content,
            reply_to=draft.reply_to,
        )
        self._memory.keep_outbound(draft.conversation, entry)
        self._lane_of[frame.ref] = self._lane(draft.conversation)
        return entry

    def _done(self, pending: Pending, seq: int, time: int, stamp: bytes) -> None:
        entry, draft = pending.entry, pending.draft
        if entry is None:
            return
        frame = entry.frame
        message = Message(
            conversation=draft.conversation,
            seq=seq,
            id=draft.id,
            sender=draft.sender,
            device=draft.device,
            recipient=draft.recipient,
            kind=draft.kind,
            mode=frame.mode,
            epoch=frame.epoch,
            time=time,
            content=draft.content,
            own=True,
            sender_name=self._memory.name_of(draft.sender),
            reply_to=draft.reply_to,
            commitment=frame.commitment,
            stamp=stamp,
        )
        with self._memory.store.transaction():
            self._memory.drop_outbound(draft.conversation, draft.id)
            self._contents.take(message)
            self._settled(draft.conversation, seq)
        self._lane_of.pop(frame.ref).answered(frame.ref)
        self._answered()
        if not pending.future.done():
            pending.future.set_result(
                Sent(
                    id=draft.id,
                    conversation=draft.conversation,
                    seq=seq,
                    time=time,
                    stamp=stamp,
                )
            )

    def _answered(self) -> None:
        self.unanswered -= 1
        self._room.set()


def _fail(pending: Pending, error: LouverError) -> None:
    if not pending.future.done():
        pending.future.set_exception(type(error)(str(error), retry_after=error.retry_after))
        pending.future.exception()  # seen: nobody has to be waiting
