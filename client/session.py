"""The session with the relay, over as many connections as it takes.

What may live here: coming back after a break, requests and their answers. What may not: how one
gets in (``entrance``), what messages mean (``outgoing``, ``incoming``), or how bytes travel
(``connection``). One task reads; it is the only place where frames come in.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from secrets import SystemRandom
from typing import Protocol, TypeVar

import msgspec

from client import refusals
from client.backoff import Backoff
from client.connection import Connection
from client.entrance import Dial, enter
from client.memory import Memory
from client.messages import ChatState, StateChange
from crypto_modes import wire
from crypto_modes.errors import ConnectionLost, Forbidden, FrameRefused, LouverError

# How long a request, or the first login, is tried again while the relay says "temporary".
PATIENCE_SECONDS = 30.0
# The names, brackets and quotes of a frame in JSON, in letters.
TEXT_REST = 1024
# A connection that held this long was a good one: the next break starts the back-off anew.
STEADY_SECONDS = 10.0

T = TypeVar("T")
F = TypeVar("F", bound=wire.Frame)

_random = SystemRandom().random


class Handler(Protocol):
    """What a session tells its chat. Nothing here may block."""

    def opened(self, welcome: wire.Welcome) -> None:
        """A connection is open: send again what is unanswered."""

    def received(self, frame: wire.ServerFrame) -> None:
        """A frame that answers no request of the session's own."""

    def changed(self, change: StateChange) -> None: ...
    def stopped(self, error: LouverError) -> None:
        """The session ended for good."""

    def crowded(self) -> bool:
        """Whether reading on would only pile up messages that nobody takes."""


class Session:
    """``state`` and ``welcome`` are for reading. ``start`` first, ``close`` last."""

    def __init__(self, dial: Dial, memory: Memory, handler: Handler) -> None:
        self.state = ChatState.DISCONNECTED
        self.welcome: wire.Welcome | None = None
        self._dial = dial
        self._memory = memory
        self._handler = handler
        self._connection: Connection | None = None
        self._answers: dict[int, asyncio.Future[wire.ServerFrame]] = {}
        self._ref = 0
        self._error: LouverError | None = None
        self._ready = asyncio.Event()  # connected, or stopped
        self._nudged = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._backoff = Backoff(_random)
        self._return_after = 0.0

    # --- for the chat ---

    async def start(self) -> wire.Welcome:
        """Open the first connection.

        Raises ``ConnectionLost`` where nobody answers, or why the relay does not let us in.
        """
        self._change(ChatState.CONNECTING)
        try:
            connection, welcome = await _patiently(lambda: enter(self._dial, self._memory))
        except BaseException:
            self.state = ChatState.CLOSED
            raise
        self._take(connection, welcome)
        self._task = asyncio.get_running_loop().create_task(self._run(connection))
        return welcome

    async def close(self) -> None:
        """Flush what is queued and end; waiting requests fail with ``ConnectionLost``."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self.state is not ChatState.CLOSED:
            self._stop(ConnectionLost("the chat was closed"))

    def post(self, frame: wire.Frame) -> bool:
        """Send a frame; dropped, and False, while there is no connection."""
        if self._connection is None:
            return False
        self._connection.send(frame)
        self._nudged.set()
        return True

    def frame_room(self) -> int:
        """How many bytes of binary a frame may hold: JSON writes three of them in four letters."""
        limit = wire.FRAME_LIMIT if self.welcome is None else self.welcome.limits.frame
        return (limit - TEXT_REST) * 3 // 4 if self._dial.protocol == "json" else limit

    def nudge(self) -> None:
        """``Handler.crowded`` may answer differently now."""
        self._nudged.set()

    def check(self) -> None:
        """Raise what ended the session, if it has ended."""
        if self._error is not None:
            # A fresh object: a raised exception carries the traceback of its first raising.
            raise type(self._error)(str(self._error))

    async def ask(self, request: wire.Frame, kind: type[F]) -> F:
        """The answer to ``request``; asked again after a break, and while the relay says that
        its refusal is temporary.

        Raises the typed refusal, or what ended the session.
        """

        async def once() -> F:
            await self._ready.wait()
            self.check()
            answer = await self._round_trip(request)
            if isinstance(answer, kind):
                return answer
            raise FrameRefused(f"the relay answered with the wrong frame, {type(answer).__name__}")

        while True:
            try:
                return await _patiently(once)
            except ConnectionLost:
                self.check()

    # --- inside ---

    async def _round_trip(self, request: wire.Frame) -> wire.ServerFrame:
        # Even numbers; `outgoing` numbers its sends oddly, as they outlive a session.
        self._ref = (self._ref + 2) % 2**32 or 2
        ref = self._ref
        future: asyncio.Future[wire.ServerFrame] = asyncio.get_running_loop().create_future()
        self._answers[ref] = future
        try:
            self.post(msgspec.structs.replace(request, ref=ref))
            answer = await future
        finally:
            del self._answers[ref]
        if isinstance(answer, wire.Error):
            raise refusals.from_frame(answer)
        return answer

    async def _run(self, connection: Connection) -> None:
        """Serve one connection after the other, until one ends for good."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                since = loop.time()
                reason = await self._serve(connection)
                if loop.time() - since > STEADY_SECONDS:
                    self._backoff.reset()
                connection = await self._return(reason)
        except LouverError as error:
            self._stop(error)
        except Exception as error:
            # A defect, ours or a mode's: whoever waits must hear of it rather than hang.
            self._stop(LouverError(f"the client failed: {error!r}"))
            raise

    async def _serve(self, connection: Connection) -> LouverError:
        """Read until the connection breaks; why it did. Raises what forbids to come back."""
        try:
            while True:
                while self._handler.crowded() and not self._answers:
                    self._nudged.clear()
                    await self._nudged.wait()
                self._received(await connection.receive())
        except LouverError as error:
            if not error.temporary:
                raise
            return error
        finally:
            self._ready.clear()
            self._connection = None
            self._fail_answers(ConnectionLost("the connection broke before the answer"))
            await connection.close()

    def _received(self, frame: wire.ServerFrame) -> None:
        future = self._answers.get(getattr(frame, "ref", 0))
        if future is not None:
            if not future.done():
                future.set_result(frame)
        elif isinstance(frame, wire.Bye):
            if frame.reconnect_after < 0:
                raise Forbidden(f"the relay said goodbye for good: {frame.reason}")
            self._return_after = frame.reconnect_after
        else:
            self._handler.received(frame)

    async def _return(self, reason: LouverError) -> Connection:
        while True:
            delay = self._backoff.next(max(self._return_after, reason.retry_after))
            self._return_after = 0.0
            self._change(ChatState.DISCONNECTED, str(reason), delay)
            await asyncio.sleep(delay)
            self._change(ChatState.CONNECTING)
            try:
                connection, welcome = await enter(self._dial, self._memory)
            except LouverError as error:
                if not error.temporary:
                    raise
                reason = error
            else:
                self._take(connection, welcome)
                return connection

    def _take(self, connection: Connection, welcome: wire.Welcome) -> None:
        self._connection = connection
        self.welcome = welcome
        self._ready.set()
        self._change(ChatState.CONNECTED)
        self._handler.opened(welcome)

    def _change(self, state: ChatState, reason: str = "", retry: float = 0.0) -> None:
        self.state = state
        self._handler.changed(StateChange(state, reason, retry))

    def _stop(self, error: LouverError) -> None:
        self._error = error
        self._connection = None
        self._change(ChatState.CLOSED, str(error))
        self._ready.set()
        self._fail_answers(error)
        self._handler.stopped(error)

    def _fail_answers(self, error: LouverError) -> None:
        for future in self._answers.values():
            if not future.done():
                future.set_exception(type(error)(str(error)))


async def _patiently(work: Callable[[], Awaitable[T]]) -> T:
    """``work``'s result; again with back-off while its refusal is temporary."""
    backoff = Backoff(_random)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_SECONDS
    while True:
        try:
            return await work()
        except ConnectionLost:
            raise
        except LouverError as error:
            delay = backoff.next(error.retry_after)
            if not error.temporary or loop.time() + delay > deadline:
                raise
        await asyncio.sleep(delay)
