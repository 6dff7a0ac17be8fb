"""One connection's session: which frame is legal now, as a table, and where it goes.

What may live here: the states, the table, and the turning of refusals into ``error`` frames.
What a frame *does* is one function in ``relay``; bytes belong to the gateway. Frames of one
connection are handled strictly in order: while a use case waits, later frames queue and the
link is paused.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from crypto_modes import wire
from crypto_modes.errors import FrameRefused, LouverError, RateLimited
from server.limits import network_of
from server.link import Link

if TYPE_CHECKING:
    from server.delivery import Delivery
    from server.relay import Relay

# Sends on their way to the disk, per connection, before the link is paused.
WINDOW = 256
# A client that goes on after so many refusals in a row, each with a time to wait, is closed.
REFUSALS = 200
LONGEST_PAUSE = 5.0


class State(Enum):
    """Where a session stands."""

    STRANGER = auto()  # connected; may register, log in or say hello
    OPEN = auto()  # hello was accepted
    CLOSED = auto()  # the link is gone or going


Action = Callable[["Session", Any], Coroutine[Any, Any, None] | None]
Table = Mapping[tuple[State, type[wire.Frame]], Action]


def table(relay: Relay) -> Table:
    """Which frame is legal in which state, and the use case that it starts."""
    stranger, opened = State.STRANGER, State.OPEN
    return {
        (stranger, wire.Register): relay.entrance.register,
        (stranger, wire.Login): relay.entrance.login,
        (stranger, wire.Hello): relay.entrance.hello,
        # with a token: who is suspended has no session, and a right to know and to object
        (stranger, wire.GetNotices): relay.notices.get,
        (stranger, wire.Appeal): relay.notices.appeal,
        (opened, wire.Send): relay.outgoing.send,
        (opened, wire.Ack): relay.ack,
        (opened, wire.Read): relay.read,
        (opened, wire.History): relay.history,
        (opened, wire.SetTyping): relay.typing,
        (opened, wire.SetPresence): relay.presence,
        (opened, wire.GetDevices): relay.devices,
        (opened, wire.GetKeys): relay.keys,
        (opened, wire.Publish): relay.publish,
        (opened, wire.SetLink): relay.mailboxes.link,
        (opened, wire.GetLog): relay.key_log.prove,
        (opened, wire.GetEntries): relay.key_log.read,
        (opened, wire.GetOpened): relay.openings.show,
        (opened, wire.SetPolicy): relay.policy,
        (opened, wire.Block): relay.block,
        (opened, wire.GetTeam): relay.reports.team,
        (opened, wire.Report): relay.reports.take,
        (opened, wire.GetNotices): relay.notices.get,
        (opened, wire.Appeal): relay.notices.appeal,
        (opened, wire.SetBlob): relay.blobs.take,
    }


class Session:
    """Drives the table for one connection. ``account``, ``name`` and ``device`` are empty until
    the session is open.
    """

    __slots__ = (
        "_paused",
        "_refusals",
        "_slowed",
        "_table",
        "_task",
        "_waiting",
        "account",
        "delivery",
        "device",
        "inflight",
        "link",
        "name",
        "network",
        "relay",
        "state",
        "status",
    )

    def __init__(self, link: Link, relay: Relay, table: Table) -> None:
        self.link = link
        self.network = network_of(link.address)
        self.relay = relay
        self.state = State.STRANGER
        self.account = b""
        self.device = b""
        self.name = ""
        self.status = ""
        self.inflight = 0
        self.delivery: Delivery | None = None
        self._table = table
        self._task: asyncio.Task[None] | None = None
        self._waiting: deque[wire.ClientFrame] | None = None
        self._paused = False
        self._slowed = False
        self._refusals = 0

    # --- called by the gateway ---

    def received(self, frame: wire.ClientFrame) -> None:
        if self._task is not None:
            self._queue(frame)
            return
        try:
            pending = self._dispatch(frame)
        except LouverError as error:
            self.refuse(frame, error)
        except Exception as error:  # noqa: BLE001 - a bug in one frame must not end the relay
            self._failed(frame, error)
        else:
            if pending is not None:
                self._task = asyncio.get_running_loop().create_task(self._work(frame, pending))

    def refused(self, ref: int, error: FrameRefused) -> None:
        self.relay.observer.errored(error.code)
        self.link.send(wire.error_frame(ref, error))

    def closed(self) -> None:
        self.state = State.CLOSED
        self._waiting = None
        self.relay.leave(self)

    # --- called by use cases ---

    def refuse(self, frame: wire.ClientFrame, error: LouverError) -> None:
        """Answer ``frame`` with an error, unless the link has closed."""
        self.relay.observer.errored(error.code)
        self.link.send(wire.error_frame(getattr(frame, "ref", 0), error))

    def end(self, code: int, reason: str = "") -> None:
        """Close the connection with a code of ``wire.CLOSES``."""
        self.state = State.CLOSED
        self.link.close(code, reason)

    def sending(self) -> None:
        """One more send is on its way to the disk."""
        self.inflight += 1
        if self.inflight == WINDOW:
            self._flow()

    def sent(self) -> None:
        """One send was settled."""
        self.inflight -= 1
        if self._paused:
            self._flow()

    # --- inside ---

    def _dispatch(self, frame: wire.ClientFrame) -> Coroutine[Any, Any, None] | None:
        action = self._table.get((self.state, type(frame)))
        if action is None:
            self._illegal(frame)
            return None
        rates, now = self.relay.rates, time.monotonic()
        if self.state is State.OPEN:
            if type(frame) is wire.SetBlob:
                wait = rates.blob(self.account, self.network, now)
            else:
                wait = rates.frame(self.device, self.account, self.network, now)
        else:
            wait = rates.greeting(self.network, now)
        if wait > 0.0:
            self._slow(wait)
            raise RateLimited("too many frames; slow down", retry_after=wait)
        self._refusals = 0
        self.relay.observer.frame(type(frame))
        return action(self, frame)

    def _illegal(self, frame: wire.ClientFrame) -> None:
        name = type(frame).__struct_config__.tag
        # After CLOSED nothing is answered: the link is going, and what was read is dropped.
        if self.state is State.STRANGER:
            raise FrameRefused(f"a {name!r} frame needs an open session: send 'hello' first")
        if self.state is State.OPEN:
            raise FrameRefused(f"a {name!r} frame is not legal in an open session")

    async def _work(self, frame: wire.ClientFrame, pending: Coroutine[Any, Any, None]) -> None:
        """Run one use case, then whatever queued behind it, in order."""
        while True:
            try:
                await pending
            except LouverError as error:
                self.refuse(frame, error)
            except Exception as error:  # noqa: BLE001 - as in received()
                self._failed(frame, error)
            following = self._next()
            if following is None:
                return
            frame, pending = following

    def _next(self) -> tuple[wire.ClientFrame, Coroutine[Any, Any, None]] | None:
        """Handle queued frames until one of them has to wait; None when the queue is empty."""
        while self._waiting:
            frame = self._waiting.popleft()
            try:
                pending = self._dispatch(frame)
            except LouverError as error:
                self.refuse(frame, error)
            except Exception as error:  # noqa: BLE001 - as in received()
                self._failed(frame, error)
            else:
                if pending is not None:
                    return frame, pending
        self._waiting = None
        self._task = None
        self._flow()
        return None

    def _queue(self, frame: wire.ClientFrame) -> None:
        if self.state is State.CLOSED:
            return
        if self._waiting is None:
            self._waiting = deque()
            self._flow()
        self._waiting.append(frame)

    def _failed(self, frame: wire.ClientFrame, error: Exception) -> None:
        self.relay.observer.fault(type(frame).__name__, error)
        self.refuse(frame, LouverError("the relay failed to handle this frame; it was logged"))

    def _slow(self, wait: float) -> None:
        """Read no more until the bucket has a token; end those who never wait."""
        self._refusals += 1
        if self._refusals > REFUSALS:
            self.end(4013)
        elif not self._slowed:
            self._slowed = True
            self._flow()
            asyncio.get_running_loop().call_later(min(wait, LONGEST_PAUSE), self._quicken)

    def _quicken(self) -> None:
        self._slowed = False
        self._flow()

    def _flow(self) -> None:
        """Read from the link, or not: the one place that decides."""
        full = self.inflight >= (WINDOW // 2 if self._paused else WINDOW)
        stop = self._slowed or self._waiting is not None or full
        if stop and not self._paused:
            self.link.pause()
        elif self._paused and not stop:
            self.link.resume()
        self._paused = stop
