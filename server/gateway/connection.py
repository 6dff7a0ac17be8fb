"""One connection: a transport's callbacks on one side, ``Link`` and ``Handler`` on the other.

What may live here: the life of a connection as a table of phases, its deadlines, flow control.
What may not: WebSocket's rules (handshake, inbox), queueing (outbox), counting (listener).

::

    OPENING ─► GREETING ─► (EXTENDED) ─► LIVE ◄─► PINGED
       │           └────────────┴──────────┴────────┴─────► CLOSING ─► CLOSED
       └─► REFUSED ─────────────────────────────────────────────────────┘

Each phase has one deadline; what its passing means is the table ``_EXPIRED``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, cast

from websockets.frames import Opcode

from crypto_modes import wire
from crypto_modes.errors import FrameRefused
from crypto_modes.wire.codec import Codec
from server.gateway import frames, handshake
from server.gateway.inbox import Inbox
from server.gateway.phases import (
    CLOSED,
    CLOSING,
    EXTENDED,
    GREETING,
    LIVE,
    OPENING,
    PINGED,
    REFUSED,
    WITHOUT_HANDLER,
    Phase,
)
from server.link import Handler
from server.outbox import CHUNK, Outbox

if TYPE_CHECKING:
    from server.gateway.listener import Gateway

_ABNORMAL = 1006


class Connection(asyncio.BufferedProtocol):
    """A WebSocket connection of a relay; its ``Link`` towards the session."""

    __slots__ = (
        "_code",
        "_codec",
        "_gateway",
        "_handler",
        "_head",
        "_heard",
        "_inbox",
        "_malformed",
        "_number",
        "_opcode",
        "_outbox",
        "_paused",
        "_phase",
        "_transport",
        "_turning",
        "address",
        "due",
    )

    _transport: asyncio.Transport
    _codec: Codec
    _handler: Handler
    _inbox: Inbox
    _outbox: Outbox
    address: str

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._phase = OPENING
        self._head = b""
        self._heard = False
        self._malformed = 0
        self._paused = False
        self._turning = False
        self._code = _ABNORMAL
        self.due = 0
        self._number = 0

    # The transport's callbacks. None of them raises, whatever the peer or the handler does.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) else "local"
        self._transport.set_write_buffer_limits(high=CHUNK)
        self._number = self._gateway.enter(self)
        if self._number:
            self._arm(self._gateway.settings.header_seconds)
        else:
            self._transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        # One buffer for all connections: the loop hands over one read before it begins another,
        # and what a read leaves behind is copied. So an idle connection has no read buffer.
        return self._gateway.buffer

    def buffer_updated(self, nbytes: int) -> None:
        buffer = self._gateway.buffer
        self._heard = True
        data = bytes(buffer[:nbytes])
        if self._phase < GREETING:
            data = self._open(data) if self._phase is OPENING else b""
            if not data:
                return
        self._take(data, more=nbytes == len(buffer))

    def eof_received(self) -> None:
        # Nothing can follow. Returning None closes the transport, which first writes what it was
        # given, but not what still waits for the end of this turn.
        if self.is_open:
            self._outbox.flush()

    def pause_writing(self) -> None:
        if self._phase not in WITHOUT_HANDLER:
            self._outbox.block()
            seconds = self._gateway.settings.write_seconds
            self._gateway.stalls.begin(self._transport, seconds, self._overflowed)

    def resume_writing(self) -> None:
        if self._phase not in WITHOUT_HANDLER:
            self._gateway.stalls.end(self._transport)
            self._outbox.unblock()

    def connection_lost(self, exc: Exception | None) -> None:
        was, self._phase = self._phase, CLOSED
        self._gateway.wheel.disarm(self)
        self._gateway.stalls.end(self._transport)
        self._gateway.leave(self)
        if was in WITHOUT_HANDLER:
            return
        self._outbox.kill()
        self._guard(self._handler.closed)
        self._gateway.observer.closed(self._code)

    # Receiving.

    def _open(self, data: bytes) -> bytes:
        """Collect the request and answer it; returns what came behind it."""
        gateway = self._gateway
        data = self._head + data
        split = handshake.split_head(data)
        if split is None and len(data) <= gateway.settings.header:
            self._head = data
            return b""
        self._head = b""
        if split is None or len(split[0]) > gateway.settings.header:
            self._refuse(handshake.refuse(431, "the header of the request is too large"))
            return b""
        answer = handshake.answer(split[0], gateway.policy, gateway.full(self))
        if not answer.subprotocol:
            self._refuse(answer)
            return b""
        return split[1] if self._upgrade(answer) else b""

    def _refuse(self, answer: handshake.Answer) -> None:
        self._phase = REFUSED
        self._gateway.refused(answer, self.address)
        self._transport.write(answer.data)
        # Reading on until the peer closes keeps the kernel from resetting the answer away.
        self._arm(self._gateway.settings.close_seconds)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def _upgrade(self, answer: handshake.Answer) -> bool:
        gateway, settings = self._gateway, self._gateway.settings
        self._codec = wire.CODECS[answer.subprotocol]
        self._opcode = Opcode.TEXT if self._codec.text else Opcode.BINARY
        self._inbox = Inbox(
            self._codec.text, settings.before_hello, settings.control_frames_before_hello
        )
        self._outbox = Outbox(
            self._transport,
            gateway.flusher,
            (settings.outbox_frames, settings.outbox_bytes),
            self._overflowed,
            gateway.observer.sent,
        )
        try:
            self._handler = gateway.handler_factory(self)
        except Exception as error:  # noqa: BLE001 - a callback of the loop may not raise
            gateway.observer.failed(error)
            self._refuse(handshake.refuse(500, "the relay failed; try again later"))
            return False
        self._transport.write(answer.data)
        self._phase = GREETING
        self._arm(settings.hello_seconds)
        gateway.opened(self._transport)
        gateway.observer.opened(self.address, answer.subprotocol)
        return True

    def _take(self, data: bytes, *, more: bool) -> None:
        """Handle what was read, as much as one turn may; ``more`` says that more is waiting."""
        messages, closing = self._inbox.feed(data), self._inbox.closing
        if not closing:
            self._answer()  # a pong does not wait for what messages cause; a close frame must
        for message in messages:
            self._hand_over(message)
        if closing:
            self._answer()
        if (more or self._inbox.waiting) and not self._transport.is_closing():
            # libuv would read on for megabytes; let the others have their turn.
            self._transport.pause_reading()
            self._yield()

    def _yield(self) -> None:
        if not self._turning:
            self._turning = True
            self._gateway.loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Our turn again: first what was read, then what is waiting outside."""
        self._turning = False
        if not self._paused and self._inbox.waiting and not self._transport.is_closing():
            self._take(b"", more=True)
        else:
            self._read_on()

    def _hand_over(self, message: bytes) -> None:
        if not GREETING <= self._phase <= PINGED:
            return
        self._gateway.observer.received(len(message))
        try:
            self._handler.received(self._codec.decode_client(message, self._inbox.limit))
        except FrameRefused as error:
            self._refused(message, error)
        except Exception as error:  # noqa: BLE001 - a callback of the loop may not raise
            self._failed(error)
        else:
            # A good frame makes up for a bad one: an unknown type now and then is a newer
            # client, only a run of refusals is an attack.
            if self._malformed:
                self._malformed -= 1

    def _refused(self, message: bytes, error: FrameRefused) -> None:
        self._malformed += 1
        self._guard(self._handler.refused, wire.ref_of(message, self._codec), error)
        if self._malformed >= self._gateway.settings.malformed:
            self.close(4501)

    def _answer(self) -> None:
        """Write what the inbox wants written, and follow it when it closes."""
        inbox, phase = self._inbox, self._phase
        for chunk in inbox.answers():
            if chunk:
                self._outbox.put(chunk)
            else:
                self._outbox.end()
            if self._phase is not phase:  # the outbox overflowed; the close frame was the last
                return
        if inbox.closing and self.is_open:
            self._begin_closing(inbox.close_code)

    # The link, as the session sees it.

    @property
    def is_open(self) -> bool:
        """Whether frames may still be exchanged."""
        return GREETING <= self._phase <= PINGED

    def send(self, frame: wire.ServerFrame) -> None:
        if GREETING <= self._phase <= PINGED:
            data = self._codec.encode(frame)
            self._outbox.put(frames.header(self._opcode, len(data)) + data)

    async def writable(self) -> bool:
        return self.is_open and await self._outbox.writable()

    def greeted(self) -> None:
        if self._phase in (GREETING, EXTENDED):
            settings = self._gateway.settings
            self._phase = LIVE
            self._inbox.limit = settings.frame
            self._inbox.chatter = settings.control_frames
            # The first ping comes early by up to half, so that a thousand clients which came
            # back in one second are not pinged in one second ever after.
            self._arm(settings.ping_seconds * (1 - self._number % 64 / 128))

    def extend(self) -> None:
        if self._phase is GREETING:
            self._phase = EXTENDED
            self._arm(self._gateway.settings.hello_seconds)

    def pause(self) -> None:
        if self.is_open and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        self._paused = False
        self._read_on()

    def close(self, code: int, reason: str = "") -> None:
        if self.is_open:
            self._inbox.close(code, reason or wire.CLOSES.get(code, ""))
            self._answer()

    def abandon(self, code: int) -> None:
        """Close with ``code`` where there is a WebSocket to close; one that is closing already
        is left to its deadline.
        """
        if self.is_open:
            self.close(code)
        elif self._phase is OPENING:
            self._transport.abort()

    # Closing and deadlines.

    def expired(self) -> None:
        """The deadline of this phase passed."""
        action = self._EXPIRED.get(self._phase)
        if action is not None:
            action(self)

    def _arm(self, seconds: float) -> None:
        self._gateway.wheel.arm(self, seconds)

    def _begin_closing(self, code: int) -> None:
        self._phase = CLOSING
        self._code = code
        self._outbox.release()
        self._outbox.flush()
        self.resume()  # to see the peer's close frame
        self._arm(self._gateway.settings.close_seconds)

    def _read_on(self) -> None:
        if self._paused or self._transport.is_closing():
            return
        if self._inbox.waiting:
            self._yield()
        else:
            self._transport.resume_reading()

    def _overflowed(self) -> None:
        """The peer reads too slowly, or not at all: it comes back and resumes from its cursors."""
        self._outbox.drop()
        if self.is_open:
            self.close(4008)
        else:
            self._abort()

    def _guard(self, call: Callable[..., None], *arguments: object) -> None:
        try:
            call(*arguments)
        except Exception as error:  # noqa: BLE001 - a callback of the loop may not raise
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._gateway.observer.failed(error)
        self.close(4004)

    def _late(self) -> None:
        self._refuse(handshake.refuse(408, "the request did not arrive in time"))
        self._transport.close()

    def _abort(self) -> None:
        self._transport.abort()

    def _no_hello(self) -> None:
        self.close(4502)

    def _ping(self) -> None:
        self._phase = PINGED
        self._heard = False
        self._inbox.forgive()
        self._outbox.put(frames.PING)
        self._arm(self._gateway.settings.pong_seconds)

    def _no_pong(self) -> None:
        """Any sign of life counts; and while we do not read, silence is our own doing."""
        settings = self._gateway.settings
        if self._heard or self._paused:
            self._phase = LIVE
            self._arm(max(settings.ping_seconds - settings.pong_seconds, 0.0))
        else:
            self.close(4012)

    _EXPIRED: ClassVar[dict[Phase, Callable[[Connection], None]]] = {
        OPENING: _late,
        REFUSED: _abort,
        GREETING: _no_hello,
        EXTENDED: _no_hello,
        LIVE: _ping,
        PINGED: _no_pong,
        CLOSING: _abort,
    }
