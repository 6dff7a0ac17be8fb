"""The network tap: a TCP proxy in front of the relay that keeps every byte of both directions.

Only relaying and recording live here. It is the adversary who sees the wire, and it counts the
bytes of the wire.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_CHUNK = 64 * 1024


@dataclass
class Tap:
    """``port`` to connect to; ``heard`` holds one buffer per direction of each connection."""

    port: int = 0
    heard: list[bytearray] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """How many bytes crossed so far, TLS included, TCP and IP headers not."""
        return sum(map(len, self.heard))


@asynccontextmanager
async def tap(target: int) -> AsyncIterator[Tap]:
    """A recording proxy on the loopback in front of ``target``, a port of the loopback."""
    recorder = Tap()
    running: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            running.add(task)
            task.add_done_callback(running.discard)
        try:
            there = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, there[1], recorder), _pump(there[0], writer, recorder))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    recorder.port = server.sockets[0].getsockname()[1]
    try:
        yield recorder
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, tap: Tap) -> None:
    buffer = bytearray()
    tap.heard.append(buffer)
    with contextlib.suppress(ConnectionError):
        while data := await source.read(_CHUNK):
            buffer += data
            sink.write(data)
            await sink.drain()
    with contextlib.suppress(ConnectionError, RuntimeError):
        sink.close()
