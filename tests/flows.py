"""Two users who send to each other all the time, for tests of what happens meanwhile.

A ``Flow`` sends numbered texts both ways over real clients, keeps what each end was told, and
then says what must hold of every run: nothing lost, doubled or out of order, each message in the
mode of its epoch, nothing below a floor. What changes meanwhile is the test's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import pytest

from client import Chat, Message, Sent
from crypto_modes import policy, wire
from crypto_modes.contract import Stored
from crypto_modes.errors import BelowFloor
from server.session import Session
from tests.conftest import Running

PATIENCE = 30.0
# Messages of one end that may be without an answer: enough to have some under way at a change.
PIPELINE = 4
# Between two messages, so that a change has messages before, beside and after it.
PAUSE = 0.002


class End:
    """One of the two: what it sent and was told of it, what it heard, what it posted and when."""

    def __init__(self, name: str, chat: Chat, peer: Chat) -> None:
        self.name = name
        self.chat = chat
        self.peer = peer.account
        self.sent: list[tuple[str, Sent]] = []
        self.told: list[str] = []  # texts of which it was said that they are not sent
        self.heard: list[Message] = []
        self.below: list[wire.Send] = []  # frames posted below the floor of that very moment
        self._number = 0

    async def send(self) -> None:
        """Without end."""
        room = asyncio.Semaphore(PIPELINE)
        while True:
            await room.acquire()
            text = f"<{self.name} {self._number}>"
            self._number += 1
            future = self.chat.send_soon(self.peer, text)
            future.add_done_callback(lambda done, text=text: self._settled(room, text, done))
            await asyncio.sleep(PAUSE)

    def _settled(self, room: asyncio.Semaphore, text: str, done: asyncio.Future[Sent]) -> None:
        room.release()
        if done.cancelled():
            return
        if isinstance(done.exception(), BelowFloor):
            self.told.append(text)
        else:
            self.sent.append((text, done.result()))

    async def hear(self) -> None:
        """Without end."""
        async for message in self.chat:
            if not message.own:
                self.heard.append(message)

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Compare every frame that goes out with the floor of that moment."""
        session: Any = self.chat._session
        trust = self.chat._trust
        post = session.post

        def compared(frame: wire.Frame) -> bool:
            if isinstance(frame, wire.Send):
                conversation = policy.conversation_id(self.chat.account, frame.to)
                floor = trust.pins.floor(conversation, frame.kind)
                if floor is None or trust.weaker(frame.mode, floor):
                    self.below.append(frame)
            return bool(post(frame))

        monkeypatch.setattr(session, "post", compared)


class Flow:
    """``frames`` are the ``send`` frames as the relay received them, also those it refused."""

    def __init__(self, relay: Running, first: End, second: End, frames: list[wire.Send]) -> None:
        self.relay = relay
        self.ends = (first, second)
        self.frames = frames

    async def goes_on(self, count: int = 15) -> None:
        """Until each end has heard so many messages more that were sent from now on."""
        first, second = self.ends
        marks = (len(second.sent), len(first.sent))
        more = PIPELINE + count
        await until(
            lambda: len(first.heard) >= marks[0] + more and len(second.heard) >= marks[1] + more
        )

    async def stored(self) -> list[Stored]:
        """What the relay keeps of this conversation."""
        first, second = self.ends
        conversation = policy.conversation_id(first.chat.account, second.chat.account)
        return await self.relay.app.store.after(conversation, 0, 10_000)

    async def check(self) -> list[wire.Policy]:
        """Hold the run to what must be true of every run; the conversation's epochs."""
        first, second = self.ends
        for end, other in ((first, second), (second, first)):
            # Each once, in order, none lost but those of which the sender was told so.
            assert [message.text for message in end.heard] == [text for text, _ in other.sent]
            assert [message.seq for message in end.heard] == [sent.seq for _, sent in other.sent]
            # What was under way at a raise is marked. That both begin at once is no reset.
            warnings = {warning for each in end.heard for warning in each.warnings}
            assert warnings <= {"below_floor"}
            assert end.below == []
        conversation = policy.conversation_id(first.chat.account, second.chat.account)
        epochs = await self.relay.app.store.policies(conversation)
        modes = {each.epoch: each.modes["text"] for each in epochs}
        for end in self.ends:
            assert [each.mode for each in end.heard] == [modes[each.epoch] for each in end.heard]
        stored = await self.stored()
        assert len(stored) == len(first.heard) + len(second.heard)
        assert [each.meta.seq for each in stored] == list(range(1, len(stored) + 1))
        for account in (first.chat.account, second.chat.account):
            own = [each.meta.epoch for each in stored if each.meta.sender == account]
            assert own == sorted(own)
        self._check_bytes(modes)
        return epochs

    def _check_bytes(self, modes: dict[int, str]) -> None:
        """What was sent in a mode that keeps the relay out never reached it in another."""
        bodies = b"\n".join(frame.body for frame in self.frames)
        for end in self.ends:
            for message in end.heard:
                readable = message.content in bodies
                assert readable == (modes[message.epoch] != "e2ee"), message.text


@contextmanager
def recorded(relay: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[wire.Send]]:
    """The ``send`` frames that reach a relay in this process."""
    frames: list[wire.Send] = []
    received = Session.received

    def noted(session: Session, frame: wire.ClientFrame) -> None:
        if isinstance(frame, wire.Send):
            frames.append(frame)
        received(session, frame)

    with monkeypatch.context() as patched:
        patched.setattr(Session, "received", noted)
        yield frames


@asynccontextmanager
async def flow(
    relay: Running, first: Chat, second: Chat, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Flow]:
    """Let two chats talk meanwhile; afterwards everything sent was answered and heard."""
    ends = End("first", first, second), End("second", second, first)
    for end in ends:
        end.watch(monkeypatch)
        await end.chat.policy(end.peer)
    with recorded(relay, monkeypatch) as frames:
        running = Flow(relay, *ends, frames)
        senders = [asyncio.create_task(end.send()) for end in ends]
        hearers = [asyncio.create_task(end.hear()) for end in ends]
        try:
            await running.goes_on()
            yield running
            for sender in senders:
                sender.cancel()
            await until(lambda: not any(end.chat._outgoing.unanswered for end in ends))
            await asyncio.sleep(0)
            await until(
                lambda: (
                    len(ends[0].heard) == len(ends[1].sent)
                    and len(ends[1].heard) == len(ends[0].sent)
                )
            )
        finally:
            for task in (*senders, *hearers):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


async def until(condition: Callable[[], bool]) -> None:
    """Wait for ``condition``, not for ever."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)
