"""The simulated network: streams of bytes between the gateway's transports and clients' sockets.

What may live here: how bytes travel, and what may happen to them on the way. What may not: what
they mean. As with TCP, what arrives of one stream arrives in order, in pieces of any size; streams
overtake one another; a cut loses what is on its way. Buffers are small, so that a few short
messages fill them.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import deque
from collections.abc import Callable
from typing import Any

PIPE = 2048  # what may be on its way before a transport keeps the rest
_SCALE = 32  # a transport's own limits are so many times smaller than asked for
_TICK = 1e-6  # two pieces of one stream never arrive at the same time


class Network:
    """All streams. ``trace`` is a digest of every byte that arrived, where and when; ``lines``
    keeps the same to read where it is a list.
    """

    def __init__(self, chance: random.Random, lines: list[str] | None = None) -> None:
        self.loop: asyncio.AbstractEventLoop
        self.trace = hashlib.blake2b(digest_size=16)
        self.lines = lines
        self.chance = chance
        self.slicing = chance.random() < 0.2
        self.slowest = chance.choice((0.002, 0.02, 0.2))
        self.streams: list[Stream] = []
        self.troubled = False  # sends may have been refused for the moment, unheard
        self._factory: Callable[[], Any] | None = None
        self._numbers = 0

    def listen(self, factory: Callable[[], Any] | None) -> None:
        """A server listens from now on, or none does."""
        self._factory = factory

    async def dial(self, arrived: Callable[[bytes], None], ended: Callable[[], None]) -> Stream:
        """Connect. Raises ``ConnectionRefusedError`` where nobody listens."""
        await asyncio.sleep(self.delay())
        if self._factory is None:
            raise ConnectionRefusedError("nobody listens")
        self._numbers += 1
        stream = Stream(self, self._numbers, self._factory(), arrived, ended)
        self.streams.append(stream)
        self.note("open", stream.number)
        stream.open()
        return stream

    def crash(self) -> None:
        """The relay's machine is gone; its transports never hear of it."""
        self._factory = None
        for stream in list(self.streams):
            stream.cut(server_hears=False)

    def delay(self) -> float:
        """How long a piece is on its way, in seconds: mostly short, sometimes not."""
        return self.chance.random() ** 4 * self.slowest + 0.0002

    def note(self, what: str, number: int, data: bytes = b"") -> None:
        """Something happened."""
        line = b"%.9f %s %d " % (self.loop.time(), what.encode(), number)
        self.trace.update(line)
        self.trace.update(data)
        if self.lines is not None:
            self.lines.append(line.decode() + data.hex())


class Stream:
    """One connection: the server's protocol at one end, a client's two callbacks at the other."""

    def __init__(
        self,
        network: Network,
        number: int,
        protocol: Any,
        arrived: Callable[[bytes], None],
        ended: Callable[[], None],
    ) -> None:
        self.network = network
        self.number = number
        self.whole = True
        self._protocol = protocol
        self._ended = ended
        self.up = _Way(self, "up", self._serve)
        self.down = _Way(self, "down", arrived)
        self.transport = SimulatedTransport(self)

    def open(self) -> None:
        """The server's end learns of it."""
        self._protocol.connection_made(self.transport)

    def cut(self, *, server_hears: bool = True) -> None:
        """Both ends learn, each a little later, that the connection is gone."""
        if not self.whole:
            return
        self.whole = False
        self.network.streams.remove(self)
        self.network.note("cut", self.number)
        loop, delay = self.network.loop, self.network.delay
        loop.call_later(delay(), self._ended)
        if server_hears and not self.transport.lost:
            self.transport.lost = True
            loop.call_later(delay(), self._protocol.connection_lost, ConnectionResetError("cut"))
        self.transport.lost = True

    def ended_by_server(self) -> None:
        """The server's transport has closed, and its last byte arrived or was dropped."""
        if self.transport.lost:
            return
        self.transport.lost = True
        self.network.loop.call_soon(self._protocol.connection_lost, None)
        if self.whole:
            self.whole = False
            self.network.streams.remove(self)
            self.network.loop.call_later(self.network.delay(), self._ended)

    def flowed(self) -> None:
        """Something left the server's buffer."""
        self.transport.flowed(self._protocol)

    def blocked(self) -> None:
        """The server's buffer is over its limit."""
        self._protocol.pause_writing()

    def _serve(self, data: bytes) -> None:
        if self.transport.lost:
            return
        if not data:
            self._protocol.eof_received()
            self.transport.close()
            return
        buffer = self._protocol.get_buffer(-1)
        buffer[: len(data)] = data
        self._protocol.buffer_updated(len(data))


class _Way:
    """One direction of a stream; an empty piece is its end. ``held`` while its reader rests."""

    def __init__(self, stream: Stream, name: str, arrive: Callable[[bytes], None]) -> None:
        self._stream = stream
        self._name = name
        self._arrive = arrive
        self._waiting: deque[bytes] = deque()
        self._last = 0.0
        self._flushing = False
        self.held = False
        self.size = 0  # bytes written and not yet arrived

    def write(self, data: bytes) -> None:
        """Send ``data`` on its way in pieces; nothing to send is the end."""
        network = self._stream.network
        self.size += len(data)
        position = 0
        while True:
            length = network.chance.randint(1, 200) if network.slicing else 8192
            self._send(data[position : position + length])
            position += length
            if position >= len(data):
                return

    def hold(self, on: bool) -> None:
        """The reader rests, or reads on."""
        self.held = on
        if not on and self._waiting and not self._flushing:
            self._flushing = True
            self._stream.network.loop.call_soon(self._flush)

    def _send(self, piece: bytes) -> None:
        network = self._stream.network
        self._last = max(self._last + _TICK, network.loop.time() + network.delay())
        network.loop.call_at(self._last, self._come, piece)

    def _come(self, piece: bytes) -> None:
        if not self._stream.whole:
            return
        self._waiting.append(piece)
        if not self.held and not self._flushing:
            self._flush()

    def _flush(self) -> None:
        self._flushing = False
        while self._waiting and not self.held and self._stream.whole:
            piece = self._waiting.popleft()
            self.size -= len(piece)
            self._stream.network.note(self._name, self._stream.number, piece)
            self._arrive(piece)
            if self._name == "down":
                self._stream.flowed()


class SimulatedTransport(asyncio.Transport):
    """The server's end of a stream, as far as a gateway uses one."""

    def __init__(self, stream: Stream) -> None:
        super().__init__({"peername": ("192.0.2.1", stream.number)})
        self.number = stream.number
        self.lost = False
        self._stream = stream
        self._high = PIPE
        self._closing = False
        self._blocked = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = (high or 0) // _SCALE

    def get_write_buffer_size(self) -> int:
        return max(self._stream.down.size - PIPE, 0)

    def write(self, data: Any) -> None:
        if self.lost or not data:
            return
        self._stream.down.write(bytes(data))
        if not self._blocked and self.get_write_buffer_size() > self._high:
            self._blocked = True
            self._stream.blocked()

    def flowed(self, protocol: Any) -> None:
        """Something arrived: less is in the buffer."""
        if self._blocked and not self.lost and self.get_write_buffer_size() <= self._high // 4:
            self._blocked = False
            protocol.resume_writing()
        if self._closing and not self._stream.down.size:
            self._stream.ended_by_server()

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self._closing or self.lost

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            if not self._stream.down.size:
                self._stream.ended_by_server()

    def abort(self) -> None:
        self._closing = True
        self._stream.ended_by_server()

    def pause_reading(self) -> None:
        self._stream.up.hold(True)

    def resume_reading(self) -> None:
        self._stream.up.hold(False)
