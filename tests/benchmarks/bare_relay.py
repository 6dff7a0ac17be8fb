"""The reference relay: the least that a relay on ``websockets``' sans-I/O layer can do.

It receives a message, acknowledges it to the sender, delivers it to the next connection, all in
memory, with writes batched per loop turn. No frames of Louver, no limits, no deadlines, nothing
durable: what the gateway and the whole relay are measured against. Not a part of the product.

    python tests/benchmarks/bare_relay.py      # prints its port
"""

from __future__ import annotations

import asyncio
from typing import cast

import uvloop
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

ACK = b"accepted"

connections: list[Bare] = []
dirty: list[Bare] = []


class Bare(asyncio.Protocol):
    """One connection; the order of connecting is the ring along which messages travel."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.websocket = ServerProtocol()
        self.queued = False

    def data_received(self, data: bytes) -> None:
        self.websocket.receive_data(data)
        for event in self.websocket.events_received():
            if isinstance(event, Request):
                self.websocket.send_response(self.websocket.accept(event))
                self.index = len(connections)
                connections.append(self)
            elif isinstance(event, Frame) and event.opcode is Opcode.BINARY:
                self.send(ACK)
                connections[(self.index + 1) % len(connections)].send(bytes(event.data))
        self.touch()

    def send(self, payload: bytes) -> None:
        self.websocket.send_binary(payload)
        self.touch()

    def touch(self) -> None:
        if not self.queued:
            self.queued = True
            if not dirty:
                asyncio.get_running_loop().call_soon(flush)
            dirty.append(self)


def flush() -> None:
    """Write what this loop turn queued: one write per connection."""
    for connection in dirty:
        connection.queued = False
        data = b"".join(connection.websocket.data_to_send())
        if data and not connection.transport.is_closing():
            connection.transport.write(data)
    dirty.clear()


async def serve() -> None:
    """Serve on a free port until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Bare, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
