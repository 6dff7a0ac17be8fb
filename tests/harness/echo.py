"""The production gateway as an echo server, which is what a conformance suite talks to.

    python -m tests.harness.echo text|binary [FAULT]      # prints its port

What may live here: as little as turns ``server.gateway`` into an echo. What may not: any rule of
RFC 6455; those under test are the gateway's own. Louver takes one kind of message on a connection
and wants a subprotocol; the suite sends both kinds and offers none. ``text`` or ``binary`` says
which kind takes the gateway's fast path; the other goes through the library, so two runs cover
both.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from websockets.frames import Frame, Opcode

from crypto_modes import wire
from crypto_modes.errors import FrameRefused
from server.gateway import Gateway, GatewaySettings, connection, frames, handshake, inbox, listener
from server.gateway.connection import Connection
from server.gateway.handshake import Answer, Policy
from server.gateway.inbox import Inbox
from server.link import Link
from tests.gateway_rig import Notes

LIMIT = 16 * 1024 * 1024
_HEADER = b"Sec-WebSocket-Protocol: "


class EchoInbox(Inbox):
    """Takes both kinds of messages; ``text`` says what the newest one was."""

    __slots__ = ("texts",)

    def __init__(self, text: bool, limit: int, chatter: int) -> None:
        super().__init__(text, limit, chatter)
        self.texts: list[bool] = []

    def _whole(self, data: bytes, position: int, end: int, messages: list[bytes]) -> int:
        if self._parser is None:  # else it stands within a message of either kind
            self._text = self._first == 0x80 | Opcode.TEXT
        return super()._whole(data, position, end, messages)

    def _take(self, frame: Frame, messages: list[bytes]) -> None:
        if self._parts is None:
            self._text = frame.opcode is Opcode.TEXT
        super()._take(frame, messages)

    def _complete(self, message: bytes, messages: list[bytes]) -> None:
        before = len(messages)
        super()._complete(message, messages)
        if len(messages) > before:
            self.texts.append(self._text)


class EchoConnection(Connection):
    """Sends back what it receives."""

    __slots__ = ()

    def _hand_over(self, message: bytes) -> None:
        assert isinstance(self._inbox, EchoInbox)
        text = self._inbox.texts.pop(0)
        if self.is_open:
            opcode = Opcode.TEXT if text else Opcode.BINARY
            self._outbox.put(frames.header(opcode, len(message)) + message)


class _Deaf:
    """The handler of an echo: never called with a frame."""

    def __init__(self, link: Link) -> None: ...
    def received(self, frame: wire.ClientFrame) -> None: ...
    def refused(self, ref: int, error: FrameRefused) -> None: ...
    def closed(self) -> None: ...


def _answer(subprotocol: str) -> object:
    """``handshake.answer`` for a client that offers no subprotocol, and is shown none."""
    line = _HEADER + subprotocol.encode() + b"\r\n"
    plain = handshake.answer

    def answer(head: bytes, policy: Policy, full: str = "") -> Answer:
        found = plain(head[:-2] + line + b"\r\n", policy, full)
        return Answer(found.status, found.data.replace(line, b""), found.subprotocol, found.origin)

    return answer


async def serve(kind: str, planted: str = "") -> None:
    """Echo until killed. ``planted`` is ``no_utf8_check`` or nothing."""
    if planted:
        inbox._is_utf8 = lambda message: True
    connection.Inbox = EchoInbox  # type: ignore[misc]  # the one place that makes them
    listener.Connection = EchoConnection  # type: ignore[misc]  # the one place that makes them
    handshake.answer = _answer(wire.JSON if kind == "text" else wire.MSGPACK)  # type: ignore[assignment]
    settings = GatewaySettings(
        port=0,
        frame=LIMIT,
        before_hello=LIMIT,
        hello_seconds=3600.0,
        outbox_frames=100_000,
        outbox_bytes=4 * LIMIT,
        control_frames_before_hello=100_000,
        close_seconds=1.0,
    )
    gateway = Gateway(settings, _Deaf, Notes())
    await gateway.start(None)
    sys.stdout.write(f"{gateway.port}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:]))
