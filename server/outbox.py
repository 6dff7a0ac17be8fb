"""What waits to be written to one connection, and the one flush per loop turn for all of them.

What may live here: queueing, batching, bounds, back-pressure. What may not: what the bytes mean.

A peer that reads as fast as we write never meets the bounds, however large a burst is: a full
outbox is written out at once while the transport takes it. Only when the transport has said
``pause_writing`` do the bounds count, and then a full outbox means a slow consumer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# Bytes given to the transport in one go, and above which it asks us to pause. The memory of one
# connection's writes is thus bounded by the outbox, this in the transport, and this in flight.
CHUNK = 64 * 1024


class Flusher:
    """Flushes every outbox that got something during this loop turn, with one callback."""

    __slots__ = ("_dirty", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._dirty: list[Outbox] = []

    def add(self, outbox: Outbox) -> None:
        """Flush ``outbox`` at the end of this loop turn."""
        if not self._dirty:
            self._loop.call_soon(self._flush)
        self._dirty.append(outbox)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for outbox in dirty:
            outbox.flush()


class Outbox:
    """The queue of one connection, bounded by ``bounds``: frames, bytes.

    ``overflowed`` is called by a ``put`` that goes over a bound while the outbox is blocked.
    ``written`` is told the frames and bytes of every write.
    """

    __slots__ = (
        "_blocked",
        "_eof",
        "_flusher",
        "_frames",
        "_overflowed",
        "_queue",
        "_size",
        "_transport",
        "_waiters",
        "_written",
        "bytes",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        flusher: Flusher,
        bounds: tuple[int, int],
        overflowed: Callable[[], None],
        written: Callable[[int, int], None],
    ) -> None:
        self._transport = transport
        self._flusher = flusher
        self._frames, self._size = bounds
        self._overflowed = overflowed
        self._written = written
        self._queue: list[bytes] = []
        self.bytes = 0
        self._blocked = False
        self._eof = False
        self._waiters: list[asyncio.Future[bool]] | None = None

    @property
    def frames(self) -> int:
        """How many frames wait."""
        return len(self._queue)

    def put(self, frame: bytes) -> None:
        """Queue one whole WebSocket frame."""
        queue = self._queue
        if not queue and not self._blocked:
            self._flusher.add(self)
        queue.append(frame)
        self.bytes += len(frame)
        if len(queue) > self._frames or self.bytes > self._size:
            if not self._blocked:
                self.flush()
            else:
                self._overflowed()

    def flush(self) -> None:
        """Write what waits, unless the transport asked us to pause."""
        queue = self._queue
        if not queue or self._blocked:
            return
        if self.bytes <= CHUNK:
            self._queue = []
            self._written(len(queue), self.bytes)
            self.bytes = 0
            self._transport.write(b"".join(queue) if len(queue) > 1 else queue[0])
        else:
            self._flush_in_chunks()
        self._settle()

    def _flush_in_chunks(self) -> None:
        """Write chunk by chunk, so that the transport can stop us in between."""
        queue = self._queue
        sent = 0
        while sent < len(queue) and not self._blocked:
            start, size = sent, 0
            while sent < len(queue) and (sent == start or size + len(queue[sent]) <= CHUNK):
                size += len(queue[sent])
                sent += 1
            self.bytes -= size
            self._written(sent - start, size)
            self._transport.write(b"".join(queue[start:sent]))
        del queue[:sent]

    def block(self) -> None:
        """The transport's buffer is full."""
        self._blocked = True

    def unblock(self) -> None:
        """The transport takes more."""
        self._blocked = False
        self.flush()
        self._settle()

    def drop(self) -> None:
        """Forget what was not given to the transport. Frames are whole, so the stream stays so."""
        self._queue.clear()
        self.bytes = 0

    def end(self) -> None:
        """End the stream after what waits; nothing is put after it."""
        self._eof = True
        self.flush()
        self._settle()

    def release(self) -> None:
        """The connection closes: whoever waits to write need not."""
        for waiter in self._waiters or ():
            if not waiter.done():
                waiter.set_result(False)
        self._waiters = None

    def kill(self) -> None:
        """The transport is gone."""
        self.drop()
        self.release()
        self._blocked = True  # nothing is written any more

    def _below_half(self) -> bool:
        return len(self._queue) * 2 <= self._frames and self.bytes * 2 <= self._size

    async def writable(self) -> bool:
        """Wait until less than half of either bound is used; False if the connection closed."""
        if not self._blocked and not self._below_half():
            self.flush()
        if self._below_half():
            return True
        if self._waiters is None:
            self._waiters = []
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return await waiter

    def _settle(self) -> None:
        if self._waiters is not None and self._below_half():
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(True)
            self._waiters = None
        if self._eof and not self._queue and not self._transport.is_closing():
            self._eof = False
            # TLS cannot be closed by halves before Python's streams learn it; close it whole.
            if self._transport.can_write_eof():
                self._transport.write_eof()
            else:
                self._transport.close()
