"""The library's face: ``async with connect(...) as chat``, ``chat.send``, ``async for message``.

What may live here: the public verbs, each a few lines over the rooms behind it. What may not:
how any of them works.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import cast

from client.attachments import Attachments
from client.backup import Backups
from client.compose import Compose
from client.contents import Contents
from client.entrance import Dial
from client.exporting import Exports
from client.incoming import Incoming
from client.key_watch import KeyWatch
from client.keys import OwnKeys
from client.keystore import Keystore
from client.linking import Linking
from client.memory import Memory
from client.messages import ChatState, Event, Message, Sent, StateChange
from client.notices import Notices
from client.openings import Openings
from client.outgoing import Outgoing
from client.proposals import Proposals
from client.releasing import Releases
from client.reporting import Reports
from client.session import Session
from client.trust import Trust, now_ms
from crypto_modes import policy, wire
from crypto_modes.contract import Mode
from crypto_modes.errors import BadArgument, KeyRefused, LouverError, NotInThisMode

# Events that nobody has taken; the oldest go first.
EVENTS = 256


class Chat:
    """A user's device, connected to one relay. Made by ``connect``.

    Messages come from iterating over it, events from ``events()``. A program that does not
    iterate keeps the relay waiting once 1,024 messages have piled up, and is sent them again
    later.
    """

    def __init__(self, dial: Dial, keystore: Keystore, modes: Mapping[str, Mode]) -> None:
        self._memory = Memory(keystore)
        self._session = Session(dial, self._memory, self)
        self._trust = Trust(self._memory, self._session, modes, self._emit)
        self._contents = Contents(self._memory, self._trust.weaker, self._emit)
        rooms = self._memory, self._session, self._trust, self._contents, self._emit
        self._incoming = Incoming(*rooms)
        self._outgoing = Outgoing(*rooms, self._incoming.settled)
        self.compose = Compose(self._memory, self._trust, self._contents, self.send)
        self.attachments = Attachments(
            self._memory, self._session, self._trust, self._outgoing, self._emit
        )
        self._keys = OwnKeys(self._session, self._trust)
        self.key_watch = KeyWatch(self._memory, self._trust, self._contents, self._emit)
        self.linking = Linking(
            self._memory, self._session, self._trust, self._keys, self._now_linked
        )
        # Changes of a conversation's mode, beside `propose`.
        self.proposals = Proposals(self._session, self._trust, self._keys, self._emit, self._spawn)
        self.exports = Exports(self._memory, self._trust, self.history)
        self.backups = Backups(self._memory, self._trust, self._keys, self.key_watch)
        self.reports = Reports(self._memory, self._session, self._trust)
        # Whether the staff opened a conversation.
        self.openings = Openings(self._memory, self._session, self._trust, now_ms)
        self._releases = Releases(self._memory, self._session, self._contents.released)
        self.notices = Notices(self._session.ask)
        # Why this device has no keys of its account, and so cannot take part in `e2ee`, or None.
        self.unlinked: KeyRefused | None = None
        self._began = self._closing = False
        self._account = b""
        self._tasks: set[asyncio.Task[None]] = set()
        self._events: list[tuple[deque[Event], asyncio.Event]] = []

    # --- sending ---

    async def send(
        self,
        to: bytes | str,
        content: bytes | str,
        *,
        kind: wire.Kind = "text",
        reply_to: bytes = b"",
    ) -> Sent:
        """Send a message to an account, by id or name; returns once the relay holds it durably.

        Survives breaks: it is sent again, the same bytes, until the relay answers. Cancelling
        stops the waiting, not the sending.

        Raises:
            Forbidden: no such account, or it has blocked this one.
            BelowFloor: fewer protections than were promised, or than when it was written; not sent.
            KeyChanged: the peer's key is new, and not accepted yet; nothing was sent.
            LouverError: any other reason why the relay will not take it.
        """
        peer = await self._trust.account(to)
        await self._outgoing.room()
        return await asyncio.shield(self._outgoing.add(peer, _bytes(content), kind, reply_to))

    def send_soon(
        self,
        to: bytes | str,
        content: bytes | str,
        *,
        kind: wire.Kind = "text",
        reply_to: bytes = b"",
    ) -> asyncio.Future[Sent]:
        """Like ``send``, without waiting: the future gets the result or the error.

        A name must have been seen before. At most 1,000 messages may be without an answer, or
        ``LimitExceeded`` is raised. A failure that nobody awaits is still a ``NotSent`` event.
        """
        peer = to if isinstance(to, bytes) else self._memory.account_of(to)
        if peer is None:
            raise BadArgument(f"{to!r} was not looked up yet; await look_up or send first")
        return self._outgoing.add(peer, _bytes(content), kind, reply_to)

    # --- receiving ---

    def __aiter__(self) -> Chat:
        return self

    async def __anext__(self) -> Message:
        """The next message: each once, in order per conversation, kept before it is returned.

        It is acknowledged to the relay by itself. Ends when the chat is closed; raises what
        ended the session otherwise.
        """
        message = await self._incoming.next()
        if message is None:
            raise StopAsyncIteration
        return message

    async def history(
        self, peer: bytes | str, *, before: int = 0, limit: int = 50
    ) -> list[Message]:
        """The newest ``limit`` (at most 500) messages with ``peer`` before the seq ``before``,
        oldest first: as they are now, without what only altered them or has disappeared; nothing
        where there is nothing older. What this device cannot open comes empty, with the warning
        ``cannot_open``.
        """
        conversation = await self._conversation(peer)
        while True:
            request = wire.History(ref=0, conversation=conversation, before=before, limit=limit)
            page = (await self._session.ask(request, wire.Page)).messages
            found = await self._incoming.recall(conversation, page)
            oldest = min((each.seq for each in page), default=0)
            if found or oldest <= 1 or (before and oldest >= before):
                return found
            before = oldest  # nothing of this page is shown any more; what is older may be

    async def mark_read(self, message: Message) -> None:
        """Tell the peer that the person has read everything up to ``message``. Nothing is told of
        an own message, of one that this device could not open, or to a stranger: to somebody whom
        this user has never written to."""
        known = self._contents.acquainted(message.conversation)
        if message.opened and not message.own and known:
            self._session.post(wire.Read(conversation=message.conversation, seq=message.seq))

    async def events(self) -> AsyncIterator[Event]:
        """Notices, receipts, typing, presence, policy and key changes, from now on.

        The 256 newest are kept for a slow reader. Ends when the chat is closed.
        """
        queue: deque[Event] = deque(maxlen=EVENTS)
        arrived = asyncio.Event()
        self._events.append((queue, arrived))
        try:
            while True:
                while queue:
                    yield queue.popleft()
                if self.state is ChatState.CLOSED:
                    return
                arrived.clear()
                await arrived.wait()
        finally:
            self._events.remove((queue, arrived))

    # --- people ---

    async def look_up(self, peer: bytes | str) -> bytes:
        """The account id of a name. Raises ``Forbidden`` where it cannot be reached."""
        return await self._trust.account(peer)

    async def name_of(self, account: bytes) -> str:
        """The name of an account."""
        return await self._trust.name(account)

    async def devices(self, peer: bytes | str) -> wire.Devices:
        """An account's key and device list, as the relay has them and the modes verified them."""
        return await self._trust.look_up(await self._trust.account(peer))

    async def block(self, peer: bytes | str, *, on: bool = True) -> None:
        """Block or unblock an account."""
        account = await self._trust.account(peer)
        await self._session.ask(wire.Block(ref=0, account=account, on=on), wire.Blocked)

    async def typing(self, peer: bytes | str, *, on: bool = True) -> None:
        """Tell the peer that the user is typing; lost without a trace where it cannot be."""
        self._session.post(wire.SetTyping(to=await self._trust.account(peer), on=on))

    # --- trust ---

    async def policy(self, peer: bytes | str) -> wire.Policy:
        """Which mode each kind of content has with ``peer``: verified, pinned and in force."""
        return await self._trust.policy(await self._trust.account(peer), fresh=True)

    def words(self, mode: str) -> str:
        """In plain words, who can read in ``mode``; every user interface must show them."""
        return self._trust.words(mode)

    async def propose(self, peer: bytes | str, modes: Mapping[wire.Kind, str]) -> wire.Policy:
        """Propose other modes for a conversation, signed; kinds not named stay.

        A stronger mode is in force at once, a weaker one when the peer proposes the same.
        """
        return await self.proposals.propose(await self._trust.account(peer), dict(modes))

    def safety_number(self, peer: bytes | str) -> str:
        """60 digits to compare with the peer over another way; ``await devices(peer)`` first.

        Raises ``NotInThisMode`` where neither side has keys of its own.
        """
        return self._trust.safety_number(self._known(peer))

    async def accept_key(self, peer: bytes | str, safety_number: str) -> None:
        """The users have compared ``safety_number``, 60 digits: use the peer's new key that they
        belong to, and show what was held back.

        Raises ``BadArgument`` where no key waits, and ``KeyRefused`` where the one that waits has
        another number by now.
        """
        account = self._known(peer)
        await self._trust.accept_key(account, safety_number)
        self._incoming.release(account)

    # --- state ---

    @property
    def state(self) -> ChatState:
        """``disconnected → connecting → connected → closed``."""
        return self._session.state

    @property
    def account(self) -> bytes:
        """This user's account id, 16 bytes."""
        return self._account

    @property
    def welcome(self) -> wire.Welcome:
        """What the relay said of itself on the newest connection."""
        return cast("wire.Welcome", self._session.welcome)

    async def start(self, *, replace_key: bool) -> None:
        """Connect. Called by ``connect``."""
        await self._session.start()
        # Keys for every mode of this relay, also those that no default calls for yet: either user
        # may raise a conversation while the other is away.
        try:
            await self._keys.publish(self.welcome.words, replace=replace_key)
        except KeyRefused as error:
            self.unlinked = error
        self._spawn(partial(self._keys.run, self._report))
        self._spawn(partial(self._contents.run, self._report))
        self._spawn(partial(self._releases.run, self._report))
        self._spawn(partial(self.key_watch.run, self._report))

    async def close(self) -> None:
        """Ack what was handed over, and end. Called by ``connect``."""
        self._closing = True
        self._incoming.flush()
        self.proposals.close()
        await self.attachments.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._releases.close()
        await self._session.close()
        self._memory.store.close()

    # --- called by the session ---

    def opened(self, welcome: wire.Welcome) -> None:
        """A connection is open."""
        if not self._began:
            self._began = True
            self._contents.sweep()
            self._account = welcome.account
            self._memory.keep_name(welcome.account, welcome.name)
            self._trust.begin(welcome.account, welcome.device)
            self._incoming.begin(welcome.account)
            self._outgoing.begin(welcome.account, welcome.device)
            self.attachments.begin()
        elif self.unlinked is None:
            self._spawn(partial(self._keys.publish, welcome.words))
            self._spawn(self.key_watch.look)
        self._incoming.reopened()
        self._outgoing.reopened()

    def received(self, frame: wire.ServerFrame) -> None:
        """A frame that answers no request."""
        match frame:
            case wire.Deliver():
                if frame.sender == self._account and self._outgoing.confirmed(frame):
                    return
                self._incoming.delivered(frame)
            case wire.Accepted():
                self._outgoing.accepted(frame)
            case wire.Error():
                if not self._outgoing.refused(frame):
                    self._emit(frame)
            case wire.Devices() | wire.Policy():
                self._spawn(partial(self._pushed, frame))
            case wire.Notices() | wire.Notice() | wire.Receipt() | wire.Typing() | wire.Presence():
                self._emit(frame)

    def changed(self, change: StateChange) -> None:
        """The connection's state changed."""
        self._emit(change)

    def stopped(self, error: LouverError) -> None:
        """The session ended for good."""
        self._outgoing.stopped(error)
        self._incoming.stopped(closed=self._closing)

    def crowded(self) -> bool:
        """Whether to stop reading: enough messages wait, and nobody waits for an answer."""
        return self._incoming.crowded() and not self._outgoing.unanswered

    # --- inside ---

    def _now_linked(self) -> None:
        self.unlinked = None
        self._spawn(self.key_watch.look)

    def _spawn(self, work: Callable[[], Awaitable[None]]) -> None:
        """Work that nobody waits for; what goes wrong becomes an event."""
        task = asyncio.get_running_loop().create_task(self._quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _quietly(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except LouverError as error:
            self._report(error)

    def _report(self, error: LouverError) -> None:
        if self.state is not ChatState.CLOSED:
            self._emit(wire.error_frame(0, error))

    async def _pushed(self, frame: wire.Devices | wire.Policy) -> None:
        if isinstance(frame, wire.Devices):
            await self._trust.pushed(frame)
            return
        event = await self.proposals.shown(frame)
        if event is not None:
            self._emit(event)
            await self._keys.publish(set(frame.modes.values()))

    def _emit(self, event: Event) -> None:
        for queue, arrived in self._events:
            queue.append(event)
            arrived.set()

    def _known(self, peer: bytes | str) -> bytes:
        account = peer if isinstance(peer, bytes) else self._memory.account_of(peer)
        if account is None:
            raise NotInThisMode(f"nothing is known of {peer!r} yet; write to them first")
        return account

    async def _conversation(self, peer: bytes | str) -> bytes:
        return policy.conversation_id(self._account, await self._trust.account(peer))


def _bytes(content: bytes | str) -> bytes:
    return content.encode() if isinstance(content, str) else content
