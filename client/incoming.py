"""Messages on their way in: opened, kept, handed over once, in order, and only then acked.

What may live here: the queue of what arrived, and opening one message. What may not: how opening
works (the modes), or the arithmetic of gaps and acks (``sequence``).

Nothing is opened ahead of the reader: a message is opened, kept and handed over in one step,
without an await between keeping and handing over, when the program asks for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from client import withheld
from client.contents import Contents
from client.held import Arrived, Held
from client.memory import Memory
from client.messages import Event, HeldBack, Message, Unreadable
from client.sequence import Arrival, Sequence
from client.session import Session
from client.trust import Trust
from crypto_modes import policy, wire
from crypto_modes.contract import Opened
from crypto_modes.errors import (
    KeyChanged,
    KeyRefused,
    LocalError,
    LogRefused,
    LouverError,
    StoreUnavailable,
)
from crypto_modes.transparency import key_log

# Messages that wait to be taken before the socket is read no further.
CROWD = 1024
# Messages of a user whose key changed that wait for the decision; more are not acked and come
# again with the next connection.
HELD = 256
ACK_SECONDS = 0.1
ACK_AT_LEAST_EVERY = 64
RETRY_SECONDS = 1.0
# How long after keys were refused they are asked for again, at first and at most.
AGAIN_SECONDS, MOST_AGAIN_SECONDS = 30.0, 3600.0


class Incoming:
    """The messages of all conversations of one chat, oldest first."""

    def __init__(
        self,
        memory: Memory,
        session: Session,
        trust: Trust,
        contents: Contents,
        emit: Callable[[Event], None],
    ) -> None:
        self._memory = memory
        self._contents = contents
        self._session = session
        self._trust = trust
        self._emit = emit
        self._account = b""
        self._queue: deque[Arrived] = deque()
        self._held: dict[bytes, list[Arrived]] = {}  # by peer, whose key changed
        self._refused = Held()
        self._again: asyncio.TimerHandle | None = None
        self._pause = AGAIN_SECONDS
        self._sequences: dict[bytes, Sequence] = {}
        self._to_ack: set[bytes] = set()
        self._unacked = 0
        self._timer: asyncio.TimerHandle | None = None
        self._arrived = asyncio.Event()
        self._taking = asyncio.Lock()
        self._stopped = self._closed = False

    def begin(self, account: bytes) -> None:
        self._account = account

    # --- called by the reader ---

    def crowded(self) -> bool:
        return len(self._queue) >= CROWD

    def reopened(self) -> None:
        """The relay now delivers again whatever it saw no ack of."""
        for arrived in self._refused.take():
            self._sequence(arrived.delivery.conversation).dropped(arrived.delivery.seq)
        self._pause = AGAIN_SECONDS
        for sequence in self._sequences.values():
            sequence.reconnected()

    def delivered(self, delivery: wire.Deliver) -> None:
        """A message arrived; it waits until the program takes it."""
        if not self._placed(delivery, delivery.conversation):
            return
        arrival = self._sequence(delivery.conversation).arrived(delivery.seq)
        self._queue.append(Arrived(delivery, arrival))
        self._arrived.set()

    def settled(self, conversation: bytes, seq: int) -> None:
        """An own message got its number. Inside the transaction that keeps it."""
        sequence = self._sequence(conversation)
        sequence.settled(seq)
        self._memory.keep_cursor(conversation, sequence.upto)
        self._flush_soon()

    def stopped(self, *, closed: bool) -> None:
        """The session ended, or the program ``closed`` it; what is queued may still be taken."""
        self._stopped, self._closed = not closed, closed
        if self._again is not None:
            self._again.cancel()
        self._arrived.set()

    # --- called by the program ---

    async def next(self) -> Message | None:
        """The next message; None after the chat was closed.

        Raises what ended the session, otherwise.
        """
        async with self._taking:
            while True:
                while not self._queue:
                    if self._stopped:
                        self._session.check()
                    if self._closed:
                        return None
                    self._arrived.clear()
                    await self._arrived.wait()
                # Looked at, not popped: who is cancelled while something is fetched loses nothing.
                message = await self._take(self._queue[0])
                if message is not None:
                    return message

    def release(self, peer: bytes) -> None:
        """The user decided about ``peer``'s key: take what was held."""
        self._queue.extendleft(reversed(self._held.pop(peer, [])))
        self._arrived.set()

    async def recall(
        self, conversation: bytes, deliveries: Iterable[wire.Deliver]
    ) -> list[Message]:
        """A page of the history of ``conversation``: as it was kept, or else opened now and kept.

        A page is no more to be believed than what is delivered live: the same checks.
        """
        page = [each for each in deliveries if self._placed(each, conversation)]
        kept = [await self._recall(each) for each in page]
        # Looked at only now: what comes later on the page may alter what comes before.
        found = (self._memory.message_with(conversation, each.id) or each for each in kept)
        return [shown for each in found if (shown := self._contents.shown(each)) is not None]

    def flush(self) -> None:
        """Ack what was handed over; the keys that opened it leave the disk."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._unacked = 0
        for conversation in self._to_ack:
            seq = self._sequence(conversation).to_ack()
            if seq:
                self._session.post(wire.Ack(conversation=conversation, seq=seq))
        self._to_ack.clear()
        self._memory.store.settle()

    # --- inside ---

    def _placed(self, delivery: wire.Deliver, conversation: bytes) -> bool:
        """Whether ``delivery`` is of ``conversation``, one of this user with somebody else.

        Computed from the two accounts: in another place it would be held to another floor, or
        be shown as another user's.
        """
        parties = (delivery.sender, delivery.recipient)
        placed = (
            self._account in parties
            and parties[0] != parties[1]
            and conversation == delivery.conversation == policy.conversation_id(*parties)
        )
        if not placed:
            self._unreadable(delivery, "it is not of this conversation of this user")
        return placed

    async def _recall(self, delivery: wire.Deliver) -> Message:
        name = await self._name(delivery.sender)
        try:
            await self._trust.resolve(lambda: self._open(delivery, name, ()))
        except (LocalError, StoreUnavailable):
            raise
        except LouverError:
            self._session.check()
        kept = self._memory.message_with(delivery.conversation, delivery.id)
        empty = Opened(content=b"", kind=delivery.kind, warnings=("cannot_open",))
        return kept or self._message(delivery, name, empty)

    async def _take(self, arrived: Arrived) -> Message | None:
        """Open the first of the queue; None if it is not to be shown, now or ever."""
        delivery, arrival = arrived.delivery, arrived.arrival
        if arrived.device in self._refused:
            self._hold_back(arrived)
            return None
        name = await self._name(delivery.sender)
        try:
            message = await self._trust.resolve(lambda: self._open_next(delivery, arrival, name))
        except KeyChanged:
            self._hold(arrived)
            return None
        except (KeyRefused, LogRefused) as error:
            self._emit(HeldBack(delivery.conversation, delivery.sender, str(error)))
            self._hold_back(arrived)
            return None
        except (LocalError, StoreUnavailable):
            raise  # nothing is wrong with the message; it stays first in the queue
        except LouverError as error:
            self._session.check()
            if error.temporary:
                await asyncio.sleep(RETRY_SECONDS)
                return None
            self._unreadable(delivery, str(error))
            message = None
        self._dequeue(arrived)
        self._sequence(delivery.conversation).handled(delivery.seq)
        self._ack_soon(delivery.conversation)
        if len(self._queue) == CROWD // 2:
            self._session.nudge()
        return message

    def _open_next(self, delivery: wire.Deliver, arrival: Arrival, name: str) -> Message | None:
        notes: tuple[str, ...] = ()
        if arrival.late:
            notes = ("reordered",)
        elif arrival.missing:
            notes = (f"gap:{arrival.missing}",)
        message = self._open(delivery, name, notes)
        upto = self._sequence(delivery.conversation).after(delivery.seq)
        self._memory.keep_cursor(delivery.conversation, upto)
        return message

    def _open(self, delivery: wire.Deliver, name: str, notes: tuple[str, ...]) -> Message | None:
        """Inside a transaction: floor, mode, and keep, in this order; modes.md 30."""
        if self._memory.knows(delivery.conversation, delivery.id) and not self._back(delivery):
            return None
        notes += self._trust.pins.note_received(delivery)
        if delivery.removed:
            # What this device has already stays its user's; what it never got is not there to open.
            empty = Opened(content=b"", kind=delivery.kind, warnings=("removed",))
            return self._contents.take(self._message(delivery, name, empty, notes))
        opened = self._trust.client(delivery.mode).open(delivery)
        notes += withheld.warnings(self._memory, delivery.conversation, opened)
        if opened.log_head:
            said = key_log.Head.decode(opened.log_head)
            stranger = delivery.sender != self._account and not self._contents.acquainted(
                delivery.conversation
            )
            notes += key_log.heard(self._memory.store, delivery.sender, said, stranger=stranger)
        return self._contents.take(self._message(delivery, name, opened, notes))

    def _back(self, delivery: wire.Deliver) -> bool:
        """Whether what came as removed before is given back now; then it is as if it never came."""
        kept = self._memory.message_with(delivery.conversation, delivery.id)
        back = kept is not None and "removed" in kept.warnings and not delivery.removed
        if back:
            self._memory.forget_message(delivery.conversation, delivery.id)
        return back

    def _message(
        self, delivery: wire.Deliver, name: str, opened: Opened, notes: tuple[str, ...] = ()
    ) -> Message:
        return Message(
            conversation=delivery.conversation,
            seq=delivery.seq,
            id=delivery.id,
            sender=delivery.sender,
            device=delivery.device,
            recipient=delivery.recipient,
            kind=opened.kind,
            mode=delivery.mode,
            epoch=delivery.epoch,
            time=delivery.time,
            content=opened.content,
            own=delivery.sender == self._account,
            sender_name=name,
            reply_to=opened.reply_to,
            warnings=notes + opened.warnings,
            evidence=opened.evidence,
            commitment=delivery.commitment,
            stamp=delivery.stamp,
        )

    async def _name(self, account: bytes) -> str:
        """The sender's name, or nothing: a message is not lost for want of a name."""
        known = self._memory.name_of(account)
        if known:
            return known
        try:
            return await self._trust.name(account)
        except LouverError:
            return self._memory.name_of(account)

    def _dequeue(self, arrived: Arrived) -> None:
        """It need not be the first any more: others may have been released meanwhile."""
        del self._queue[next(at for at, each in enumerate(self._queue) if each is arrived)]

    def _hold_back(self, arrived: Arrived) -> None:
        """Keep a message until its sender's keys verify. It is not acked."""
        self._dequeue(arrived)
        if not self._refused.add(arrived):
            self._sequence(arrived.delivery.conversation).dropped(arrived.delivery.seq)
        if self._again is None:
            loop = asyncio.get_running_loop()
            self._again = loop.call_later(self._pause, self._take_again)
            self._pause = min(2 * self._pause, MOST_AGAIN_SECONDS)

    def _take_again(self) -> None:
        """Look whether keys that were refused verify now, with the first message of each device."""
        self._again = None
        self._queue.extendleft(reversed(self._refused.take()))
        self._arrived.set()

    def _hold(self, arrived: Arrived) -> None:
        """Keep a message until the user decides about the sender's key. It is not acked."""
        delivery = arrived.delivery
        peer = delivery.recipient if delivery.sender == self._account else delivery.sender
        self._dequeue(arrived)
        held = self._held.setdefault(peer, [])
        if not held:
            self._emit(self._trust.key_change(peer))
        if len(held) < HELD:
            held.append(arrived)
        else:
            self._sequence(delivery.conversation).dropped(delivery.seq)

    def _unreadable(self, delivery: wire.Deliver, reason: str) -> None:
        event = Unreadable(delivery.conversation, delivery.seq, delivery.sender, reason)
        self._emit(event)

    def _sequence(self, conversation: bytes) -> Sequence:
        sequence = self._sequences.get(conversation)
        if sequence is None:
            sequence = Sequence(self._memory.cursor(conversation))
            self._sequences[conversation] = sequence
        return sequence

    def _ack_soon(self, conversation: bytes) -> None:
        """Acks are cumulative: one frame for all that is handed over within 0.1 s."""
        self._to_ack.add(conversation)
        self._unacked += 1
        if self._unacked >= ACK_AT_LEAST_EVERY:
            self.flush()
        else:
            self._flush_soon()

    def _flush_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(ACK_SECONDS, self.flush)
