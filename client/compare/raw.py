"""A bare WebSocket connection for the saturation instrument: bytes out, frames counted in.

What may live here: the upgrade request, framing, cutting the stream into frames. What may not:
any cleverness that costs the generator time; the relay is what must saturate. This is no client
for anybody else: it trusts its relay and sends a zero masking key, which the relay must undo
like any other.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import cast

from crypto_modes import wire
from crypto_modes.errors import ConnectionLost

_FINAL_BINARY, _BINARY = 0x82, 0x2
_PING, _PONG, _CLOSE = 0x9, 0x8A, 0x8
_CODEC = wire.CODECS[wire.MSGPACK]


def framed(payload: bytes, first: int = _FINAL_BINARY) -> bytes:
    """One masked WebSocket frame (RFC 6455, 5.2) under a masking key of zeros."""
    size = len(payload)
    if size < 126:
        head = bytes([first, 0x80 | size])
    elif size < 1 << 16:
        head = bytes([first, 0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, 0x80 | 127]) + size.to_bytes(8, "big")
    return head + bytes(4) + payload


def cut(buffer: bytearray) -> Iterator[tuple[int, bytes]]:
    """Take whole frames (opcode, payload) from the front of ``buffer``; leave the rest."""
    at = 0
    try:
        while len(buffer) - at >= 2:
            size, head = buffer[at + 1] & 0x7F, 2
            if size == 126:
                size, head = int.from_bytes(buffer[at + 2 : at + 4], "big"), 4
            elif size == 127:
                size, head = int.from_bytes(buffer[at + 2 : at + 10], "big"), 10
            end = at + head + size
            if len(buffer) < max(end, at + head):
                return
            yield buffer[at] & 0x0F, bytes(buffer[at + head : end])
            at = end
    finally:
        del buffer[:at]


class RawConnection(asyncio.Protocol):
    """One connection; after ``open`` every payload goes to ``receive``."""

    def __init__(self) -> None:
        self.receive: Callable[[list[bytes]], None] = self._queue
        self._buffer = bytearray()
        self.upgraded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()
        self.transport: asyncio.Transport | None = None
        self.lost = False

    @classmethod
    async def open(cls, port: int, context: ssl.SSLContext | None) -> RawConnection:
        """Connect to the relay on this port of the loopback, without TLS where there is no
        ``context``, and upgrade."""
        loop = asyncio.get_running_loop()
        _, raw = await loop.create_connection(
            cls, "127.0.0.1", port, ssl=context, server_hostname="127.0.0.1" if context else None
        )
        key = b64encode(os.urandom(16)).decode()
        assert raw.transport is not None  # noqa: S101  connection_made ran before
        raw.transport.write(
            (
                f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Protocol: {wire.MSGPACK}\r\n\r\n"
            ).encode()
        )
        await raw.upgraded
        return raw

    async def ask(self, frame: wire.ClientFrame) -> wire.ServerFrame:
        """Send a request and give the next frame that is not news. For setting up only."""
        self.write(framed(_CODEC.encode(frame)))
        while True:
            answer = _CODEC.decode_server(await self._answers.get())
            if isinstance(answer, wire.Error):
                raise ConnectionLost(f"the relay refused {type(frame).__name__}: {answer.message}")
            if getattr(answer, "ref", 0) == getattr(frame, "ref", 0):
                return answer
            self._answers.put_nowait(_CODEC.encode(answer))

    async def next(self) -> wire.ServerFrame:
        """The next frame. For setting up only."""
        return _CODEC.decode_server(await self._answers.get())

    def write(self, data: bytes) -> None:
        """Write framed bytes."""
        if self.transport is not None and not self.lost:
            self.transport.write(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, not a check: uvloop's transports are no subclasses of asyncio's.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.upgraded.done():
            head, end, rest = bytes(self._buffer).partition(b"\r\n\r\n")
            if not end:
                return
            self._buffer[:] = rest
            if b" 101 " not in head.split(b"\r\n")[0]:
                self.upgraded.set_exception(ConnectionLost(f"no upgrade: {head[:200]!r}"))
                return
            self.upgraded.set_result(None)
        payloads = []
        for opcode, payload in cut(self._buffer):
            if opcode == _BINARY:
                payloads.append(payload)
            elif opcode == _PING:
                self.write(framed(payload, _PONG))
            elif opcode == _CLOSE:
                self.lost = True
        if payloads:
            self.receive(payloads)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if not self.upgraded.done():
            self.upgraded.set_exception(ConnectionLost("the relay closed before the upgrade"))

    def _queue(self, payloads: list[bytes]) -> None:
        for payload in payloads:
            self._answers.put_nowait(payload)
