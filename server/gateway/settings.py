"""What the gateway can be told, and what it tells: its limits and its observer.

Only declarations live here.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from crypto_modes import wire


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a gateway; sizes in bytes, times in seconds.

    Before ``hello`` a connection costs at most ``header`` or ``before_hello`` bytes of buffer,
    beside the transport's. ``control_frames`` bounds the pings, pongs and fragments between two
    messages, or two of our own pings; 1,300 bytes a fragment carry the largest possible message.
    """

    address: str = "127.0.0.1"
    port: int = 7443
    origins: tuple[str, ...] = ()
    frame: int = wire.FRAME_LIMIT
    before_hello: int = wire.FRAME_LIMIT_BEFORE_HELLO
    header: int = 8192
    header_seconds: float = 5.0
    hello_seconds: float = 5.0
    ping_seconds: float = 25.0
    pong_seconds: float = 10.0
    write_seconds: float = 30.0
    close_seconds: float = 5.0
    outbox_frames: int = 256
    outbox_bytes: int = 1024 * 1024
    connections: int = 60_000
    connections_per_address: int = 1_000
    malformed: int = 16
    control_frames: int = 1024
    control_frames_before_hello: int = 32


class Observer(Protocol):
    """Where metrics and logs listen. Nothing here may raise or block."""

    def opened(self, address: str, subprotocol: str) -> None:
        """A WebSocket connection is open."""

    def closed(self, code: int) -> None:
        """An open WebSocket connection is gone; 1006 where it broke without a close frame."""

    def refused(self, status: int, address: str) -> None:
        """A handshake was answered with an HTTP ``status``; 0 where it was cut off."""

    def refused_origin(self, origin: str, address: str) -> None:
        """A page's origin is not on the list; log it with ``origin_line(origin)``."""

    def received(self, size: int) -> None:
        """A message of ``size`` bytes arrived."""

    def sent(self, frames: int, size: int) -> None:
        """``frames`` frames of ``size`` bytes together were written."""

    def limited(self, advice: str) -> None:
        """The system allows less than the settings ask for; ``advice`` says what to do."""

    def failed(self, error: Exception) -> None:
        """A handler raised, which it must not; its connection is closed with 4004."""
