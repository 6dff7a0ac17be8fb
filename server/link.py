"""The seam between the gateway, which owns bytes, and a session, which owns meaning.

Only these two Protocols live here. The gateway never looks inside a frame; a session never
touches a socket.
"""

from __future__ import annotations

from typing import Protocol

from crypto_modes import wire
from crypto_modes.errors import FrameRefused


class Link(Protocol):
    """A connection as its session sees it."""

    @property
    def address(self) -> str:
        """The peer's IP address."""

    def send(self, frame: wire.ServerFrame) -> None:
        """Queue a frame; written with all others of this loop turn. A full outbox closes the
        connection with 4008; a closed connection ignores the frame."""

    async def writable(self) -> bool:
        """Wait until the outbox is below half of its bound; False once the link has closed."""

    def greeted(self) -> None:
        """The session is open: lift the pre-hello frame limit, cancel the hello deadline."""

    def extend(self) -> None:
        """Restart the hello deadline, once, after credentials were exchanged."""

    def pause(self) -> None:
        """Stop reading frames; what was read already is still handed over."""

    def resume(self) -> None: ...

    def close(self, code: int, reason: str = "") -> None:
        """Flush what is queued, then close with a code of ``wire.CLOSES`` or RFC 6455."""


class Handler(Protocol):
    """A session as its connection drives it. No method may raise or block."""

    def received(self, frame: wire.ClientFrame) -> None: ...
    def refused(self, ref: int, error: FrameRefused) -> None:
        """A frame could not be decoded; ``ref`` is 0 where not even that was readable."""

    def closed(self) -> None:
        """The link is gone. Called exactly once."""
