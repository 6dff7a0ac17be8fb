"""A generic load generator: many WebSocket clients in one process, each with a window.

What may live here: sockets, windows, counting. What may not: which relay is under load, or what
a frame means; the caller brings payloads and says which answers are acknowledgements.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Callable
from typing import cast

# A zero masking key is legal and costs the generator nothing; the server unmasks all the same.
_MASK = bytes(4)


def client_frame(payload: bytes) -> bytes:
    """A whole, masked binary frame of less than 65,536 bytes."""
    if len(payload) < 126:
        return bytes((0x82, 0x80 | len(payload))) + _MASK + payload
    return struct.pack("!BBH", 0x82, 0x80 | 126, len(payload)) + _MASK + payload


class Client(asyncio.Protocol):
    """One connection: after the handshake ``on_frame(client, payload)`` is called per frame."""

    def __init__(self, subprotocol: str, on_frame: Callable[[Client, bytes], None]) -> None:
        self.on_frame = on_frame
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._subprotocol = subprotocol
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        offer = f"Sec-WebSocket-Protocol: {self._subprotocol}\r\n" if self._subprotocol else ""
        self.transport.write(
            "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            f"{offer}\r\n".encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("refused"))

    def data_received(self, data: bytes) -> None:
        if self._data:
            data, self._data = self._data + data, b""
        position = 0
        if not self.ready.done():
            position = data.find(b"\r\n\r\n") + 4
            if position < 4:
                self._data = data
                return
            self.ready.set_result(None)
        end = len(data)
        while end - position >= 2:
            length, start = data[position + 1], position + 2
            if length == 126:
                length = int.from_bytes(data[start : start + 2])
                start += 2
            elif length == 127:
                length = int.from_bytes(data[start : start + 8])
                start += 8
            if start + length > end:
                break
            if data[position] == 0x82:
                self.on_frame(self, data[start : start + length])
            elif data[position] == 0x89:
                self.transport.write(b"\x8a\x80" + _MASK)
            position = start + length
        self._data = data[position:]

    def send(self, payload: bytes) -> None:
        self.transport.write(client_frame(payload))


async def connect(
    port: int,
    count: int,
    on_frame: Callable[[Client, bytes], None],
    subprotocol: str = "",
    context: ssl.SSLContext | None = None,
) -> list[Client]:
    """Open ``count`` connections one after the other, so that their order is known."""
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(count):
        _, client = await loop.create_connection(
            lambda: Client(subprotocol, on_frame), "127.0.0.1", port, ssl=context
        )
        await client.ready
        clients.append(client)
    return clients


class Load:
    """Keeps ``window`` messages in flight on each client until told to stop."""

    def __init__(
        self,
        payload: Callable[[Client], bytes],
        is_acknowledgement: Callable[[bytes], bool],
    ) -> None:
        self._payload = payload
        self._is_acknowledgement = is_acknowledgement
        self._running = False
        self._settled = asyncio.Event()
        self.sent = 0
        self.acknowledged = 0
        self.delivered = 0

    def on_frame(self, client: Client, payload: bytes) -> None:
        if self._is_acknowledgement(payload):
            self.acknowledged += 1
            if self._running:
                self._send(client)
        else:
            self.delivered += 1
        if self.acknowledged == self.delivered == self.sent:
            self._settled.set()

    def _send(self, client: Client) -> None:
        self.sent += 1
        client.send(self._payload(client))

    async def run(self, clients: list[Client], window: int, seconds: float) -> None:
        """Send for ``seconds``, then wait until everything was acknowledged and delivered."""
        self._running = True
        for client in clients:
            for _ in range(window):
                self._send(client)
        await asyncio.sleep(seconds)
        self._running = False
        self._settled.clear()
        if not self.acknowledged == self.delivered == self.sent:
            async with asyncio.timeout(10):
                await self._settled.wait()
