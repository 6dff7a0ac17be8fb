"""A network that misbehaves on command: a TCP proxy between clients and a relay.

What may live here: what can go wrong between two sockets. What may not: what is sent. The kinds are
those of the usual chaos proxies; each lasts until the weather is ``calm`` again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct

KINDS = ("latency", "jitter", "bandwidth", "slicing", "reset", "black_hole", "half_open", "refuse")
_READ = 16 * 1024


class Weather:
    """Listens on ``port`` and passes everything on to ``target``, as bad as ``kind`` says.

    Where it is ``refuse``, those that are connected lose that too, once they say something.
    """

    def __init__(self, target: int, chance: random.Random) -> None:
        self.kind = "calm"
        self._target = target
        self._chance = chance
        self._changed = asyncio.Event()
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Cut everything."""
        self._server.close()
        for pair in list(self._pairs):
            for writer in pair:
                writer.transport.abort()
        await asyncio.sleep(0)

    def become(self, kind: str) -> None:
        """Change the weather for everybody, also on connections that stand."""
        self.kind = kind
        self._changed.set()
        self._changed = asyncio.Event()
        if kind == "reset":
            for pair in list(self._pairs):
                for writer in pair:
                    _reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.kind in ("refuse", "reset"):
            _reset(writer)
            return
        try:
            inner, outer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            _reset(writer)
            return
        pair = (writer, outer)
        self._pairs.add(pair)
        try:
            await asyncio.gather(self._pump(reader, outer, up=True), self._pump(inner, writer))
        finally:
            self._pairs.discard(pair)
            for each in pair:
                each.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_READ):
                while self.kind == "black_hole" or (self.kind == "half_open" and not up):
                    await self._changed.wait()
                if up and self.kind == "refuse":
                    writer.write_eof()  # a slow close: what the relay still says arrives
                    return
                await self._pass(data, writer)
            # One direction ended: the other goes on for a moment, as in a slow close.
            await asyncio.sleep(0.05)
        writer.transport.abort()

    async def _pass(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        if self.kind == "latency":
            await asyncio.sleep(0.1)
        elif self.kind == "jitter":
            await asyncio.sleep(self._chance.uniform(0.0, 0.2))
        elif self.kind == "bandwidth":
            await asyncio.sleep(len(data) / 20_000)
        elif self.kind == "slicing":
            for start in range(0, len(data), 7):
                writer.write(data[start : start + 7])
                await asyncio.sleep(0)
            return
        writer.write(data)
        await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    made = writer.get_extra_info("socket")
    if made is not None:
        linger = struct.pack("ii", 1, 0)
        with contextlib.suppress(OSError):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()
