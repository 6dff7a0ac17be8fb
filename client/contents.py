"""What was said and what became of it: kept, altered, deleted, gone when its time is up.

What may live here: the rows behind all that, and the clock of disappearing messages. What may not:
who may alter what (``alterations``), or sending it (``compose``).

====================  ============================================  =========================
table                 key                                           value
====================  ============================================  =========================
client_alterations    conversation || id of what they alter         their ids, 16 bytes each
client_expiry         due ms u64 || conversation || id              nothing
client_timers         conversation || mode it was set in            seconds u64 || seq u64
client_acquainted     conversation                                  nothing: this user wrote there
====================  ============================================  =========================

What alters a message is a message of its own and kept as one, with its evidence: so an edit can be
reported, and what it replaced. What is deleted or disappears leaves the store with its evidence and
with all that altered it; an empty row stays, so that it is not taken in again. The relay's copy and
the peer's disk are not in our hands.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from struct import Struct

import msgspec

from client.alterations import Weaker, altered, attempt, emptied, order, refusal
from client.memory import RELEASES, SAVES, Memory
from client.messages import Event, Gone, Message
from client.trust import now_ms
from crypto_modes.content import (
    Alteration,
    Attachment,
    Deletion,
    Edit,
    Reaction,
    Standing,
    Timer,
    encode,
    parse,
)
from crypto_modes.contract import ID_SIZE
from crypto_modes.errors import LouverError, StoreUnavailable

_ALTERATIONS, _EXPIRY, _TIMERS = "client_alterations", "client_expiry", "client_timers"
_ACQUAINTED = "client_acquainted"
# Of one message by one user. Of deletions the first counts, of reactions the newest.
MOST_EDITS = 32
# Clocks jump: it is looked again at least this often.
ROUND_SECONDS = 60.0

_DUE = Struct(">Q")
_TIMER = Struct(">QQ")


class Contents:
    """The messages of one device. ``weaker`` compares modes; ``now`` is in milliseconds."""

    def __init__(
        self,
        memory: Memory,
        weaker: Weaker,
        emit: Callable[[Event], None],
        now: Callable[[], int] = now_ms,
    ) -> None:
        self._memory = memory
        self._weaker = weaker
        self._emit = emit
        self._now = now
        self._sooner = asyncio.Event()
        # Set when the file of an own message is to be deleted at the relay.
        self.released = asyncio.Event()

    # --- inside the transaction of a message ---

    def take(self, message: Message) -> Message | None:
        """Keep a message that came or was accepted, and do what it says; as it is to be shown,
        or None: it alters what is unknown here or not its sender's, and nobody must notice.
        """
        what = message.what
        if message.own and not self.acquainted(message.conversation):
            self._memory.store.put(_ACQUAINTED, message.conversation, b"")
        if isinstance(what, Alteration):
            return self._alter(message, what)
        if isinstance(what, Timer):
            self._set_timer(message, what)
        return self._keep(message)

    def timed(self, conversation: bytes, content: bytes, mode: str) -> bytes:
        """``content`` to send in ``mode``, with the timer of the conversation where it has none
        itself.
        """
        seconds = self.timer(conversation, mode)
        if seconds:
            said = parse(content)
            if isinstance(said.what, Standing) and not said.seconds:
                return encode(said.what, seconds)
        return content

    # --- looking ---

    def timer(self, conversation: bytes, mode: str) -> int:
        """After how many seconds new messages in ``mode`` disappear there; 0: they stay.

        The newest timer holds, of those that came in no weaker mode: in a weaker one somebody who
        cannot write in ``mode`` could have set it, and make what is said there vanish, or stay.
        """
        newest = seconds = 0
        for place, raw in self._memory.store.scan(_TIMERS, conversation):
            set_to, seq = _TIMER.unpack(raw)
            if seq > newest and not self._weaker(place[ID_SIZE:].decode(), mode):
                newest, seconds = seq, set_to
        return seconds

    def acquainted(self, conversation: bytes) -> bool:
        """Whether this user has written there: strangers get no receipts."""
        return self._memory.store.get(_ACQUAINTED, conversation) is not None

    def shown(self, message: Message) -> Message | None:
        """A kept message as it is now; None for what is nothing by itself, or disappeared."""
        if message.deleted:
            return None if message.expires else message
        if isinstance(message.what, Alteration):
            return None
        alterations = self._alterations(message.conversation, message.id)
        return altered(message, alterations, self._weaker) if alterations else message

    def versions(self, conversation: bytes, message_id: bytes) -> list[Message]:
        """A message as it was sent, and each of its edits, oldest first: for a report."""
        first = self._memory.message_with(conversation, message_id)
        if first is None or first.deleted:
            return []
        found = self._alterations(conversation, message_id)
        return [first, *(each for each in found if self._is_edit_of(each, first))]

    # --- the clock ---

    async def run(self, report: Callable[[LouverError], None]) -> None:
        """Delete what is due, until cancelled. What goes wrong is reported, and tried again."""
        while True:
            self._sooner.clear()
            try:
                due = self.sweep()
            except StoreUnavailable as error:
                report(error)
                due = None
            wait = ROUND_SECONDS if due is None else max(0.0, (due - self._now()) / 1000)
            # Not `wait_for`: it swallows a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(wait, ROUND_SECONDS)):
                    await self._sooner.wait()

    def sweep(self) -> int | None:
        """Delete what is due, also from the disk; when the next is, in ms."""
        gone: list[Message] = []
        following = None
        with self._memory.store.transaction():
            for key, _ in self._memory.store.scan(_EXPIRY):
                due = int(_DUE.unpack(key[: _DUE.size])[0])
                if due > self._now():
                    following = due
                    break
                place = key[_DUE.size :]
                self._memory.store.delete(_EXPIRY, key)
                message = self._memory.message_with(place[:ID_SIZE], place[ID_SIZE:])
                if message is not None and not message.deleted:
                    self._empty(message, expires=message.expires)
                    gone.append(message)
        if gone:
            self._memory.store.settle()
        for message in gone:
            self._emit(Gone(message.conversation, message.id))
        return following

    # --- inside ---

    def _keep(self, message: Message) -> Message | None:
        seconds = parse(message.content).seconds
        if seconds:
            expires = self._now() + seconds * 1000
            message = msgspec.structs.replace(message, expires=expires)
            self._memory.store.put(_EXPIRY, self._due(message), b"")
            self._sooner.set()
        self._memory.keep_message(message)
        # On a new device older pages come last, and with them what is altered already.
        shown = self.shown(message)
        if shown is not None and shown.deleted:
            self._empty(message)
        return shown

    def _alter(self, message: Message, what: Alteration) -> Message | None:
        target = self._memory.message_with(message.conversation, what.target)
        tried = attempt(message)
        refused = tried is None or (
            target is not None and bool(refusal(tried, target, self._weaker))
        )
        if refused or not self._list(message, what):
            self._memory.keep_message(_unseen(message))
            return None
        self._memory.keep_message(message)
        if target is None:
            return None
        if isinstance(what, Deletion):
            self._empty(target)
        return message

    def _list(self, message: Message, what: Alteration) -> bool:
        """Note at its target what alters it; False where something newer or too much does."""
        place = message.conversation + what.target
        ids = self._ids(place)
        found = self._messages(message.conversation, ids)
        # Each user's count for himself: of a message that is not here nobody knows the author yet.
        others = [each for each in found if _same(each, message)]
        if isinstance(what, Reaction):
            if any(order(each) > order(message) for each in others):
                return False
            ids = [each for each in ids if each not in {other.id for other in others}]
        elif len(others) >= (MOST_EDITS if isinstance(what, Edit) else 1):
            return False
        self._memory.store.put(_ALTERATIONS, place, b"".join((*ids, message.id)))
        return True

    def _ids(self, place: bytes) -> list[bytes]:
        raw = self._memory.store.get(_ALTERATIONS, place) or b""
        return [raw[at : at + ID_SIZE] for at in range(0, len(raw), ID_SIZE)]

    def _alterations(self, conversation: bytes, target: bytes) -> list[Message]:
        return self._messages(conversation, self._ids(conversation + target))

    def _messages(self, conversation: bytes, ids: list[bytes]) -> list[Message]:
        found = (self._memory.message_with(conversation, each) for each in ids)
        return [each for each in found if each is not None]

    def _is_edit_of(self, message: Message, first: Message) -> bool:
        tried = attempt(message)
        if tried is None or not isinstance(tried.what, Edit):
            return False
        return not refusal(tried, first, self._weaker)

    def _empty(self, message: Message, expires: int = 0) -> None:
        """Take what a message said, its evidence, and all that altered it, out of the store."""
        store = self._memory.store
        gone = msgspec.structs.replace(emptied(message), expires=expires)
        self._memory.replace_message(gone)
        for each in self._alterations(message.conversation, message.id):
            self._memory.replace_message(_unseen(each))
        what = message.what
        if message.own and isinstance(what, Attachment):
            store.put(RELEASES, what.blob, b"")
            self.released.set()
        for table in (_ALTERATIONS, SAVES):
            store.delete(table, message.conversation + message.id)
        if message.expires:
            store.delete(_EXPIRY, self._due(message))

    def _set_timer(self, message: Message, what: Timer) -> None:
        """The newest of a mode by the relay's numbers holds, whoever set it; but none that the mode
        found late in the place of another, as for alterations. Only in the kind of texts, so that
        one who looks for it knows where.
        """
        place = message.conversation + message.mode.encode()
        raw = self._memory.store.get(_TIMERS, place)
        newest = 0 if raw is None else int(_TIMER.unpack(raw)[1])
        unfit = {"below_floor", "wrong_mode"} | ({"reordered"} if newest else set())
        if message.kind == "text" and message.seq > newest and not unfit & {*message.warnings}:
            row = _TIMER.pack(what.seconds, message.seq)
            self._memory.store.put(_TIMERS, place, row)

    def _due(self, message: Message) -> bytes:
        return _DUE.pack(message.expires) + message.conversation + message.id


def _same(one: Message, other: Message) -> bool:
    """Whether both are of one user and do the same: edits, say."""
    return type(one.what) is type(other.what) and one.sender == other.sender


def _unseen(message: Message) -> Message:
    """A row that says nothing and shows nothing: only that this message came already."""
    return msgspec.structs.replace(emptied(message), expires=message.expires or 1)
