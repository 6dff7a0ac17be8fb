"""Deadlines of peers that do not read what is written to them.

What may live here: noticing that a paused transport makes no progress. What may not: what to do
about it. Keepalive cannot tell: a peer may go on sending and never read. Nothing is kept for a
connection whose transport is not paused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from server.wheel import Wheel


class Stalls:
    """At most one deadline for every transport that asked to pause."""

    __slots__ = ("_stalls", "_wheel")

    def __init__(self, wheel: Wheel) -> None:
        self._wheel = wheel
        self._stalls: dict[asyncio.Transport, _Stall] = {}

    def __len__(self) -> int:
        """How many transports are paused."""
        return len(self._stalls)

    def begin(
        self, transport: asyncio.Transport, seconds: float, stalled: Callable[[], None]
    ) -> None:
        """From now on call ``stalled``, once, after ``seconds`` in which the peer took nothing."""
        self.end(transport)
        self._stalls[transport] = _Stall(self._wheel, transport, seconds, stalled)

    def end(self, transport: asyncio.Transport) -> None:
        """The transport takes more, or is gone; nothing happens where it was not paused."""
        stall = self._stalls.pop(transport, None)
        if stall is not None:
            self._wheel.disarm(stall)


class _Stall:
    """One paused transport. While it is paused nobody writes, so its buffer can only shrink.

    Under TLS the kernel may take what was encrypted before, up to 64 KiB, without its showing
    here: such a peer needs to read about 2 KiB a second to be seen.
    """

    __slots__ = ("_seconds", "_size", "_stalled", "_transport", "_wheel", "due")

    def __init__(
        self,
        wheel: Wheel,
        transport: asyncio.Transport,
        seconds: float,
        stalled: Callable[[], None],
    ) -> None:
        self.due = 0
        self._wheel = wheel
        self._transport = transport
        self._seconds = seconds
        self._stalled = stalled
        self._size = transport.get_write_buffer_size()
        wheel.arm(self, seconds)

    def expired(self) -> None:
        size = self._transport.get_write_buffer_size()
        if size < self._size:
            self._size = size
            self._wheel.arm(self, self._seconds)
        else:
            self._stalled()
