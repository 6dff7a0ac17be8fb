"""Read receipts, slowed down: one per reader and conversation, after a random delay.

Only the coalescing lives here. A receipt that follows a message at once tells a stranger when a
phone is in somebody's hand; the newest position, up to two seconds late and at most about once a
second, tells people what they want to know and a timer little.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable

from crypto_modes import wire

DELAY_SECONDS = (1.0, 3.0)
PENDING = 100_000

_uniform = secrets.SystemRandom().uniform


class Receipts:
    """``publish(peer, receipt)`` is called for the newest position after the delay."""

    def __init__(self, publish: Callable[[bytes, wire.Receipt], None]) -> None:
        self._publish = publish
        self._pending: dict[tuple[bytes, bytes], int] = {}

    def read(self, reader: bytes, peer: bytes, conversation: bytes, seq: int) -> None:
        """``reader`` has read everything up to ``seq``."""
        key = (reader, conversation)
        if key in self._pending:
            self._pending[key] = max(seq, self._pending[key])
        elif len(self._pending) < PENDING:
            self._pending[key] = seq
            loop = asyncio.get_running_loop()
            loop.call_later(_uniform(*DELAY_SECONDS), self._due, key, peer)

    def _due(self, key: tuple[bytes, bytes], peer: bytes) -> None:
        reader, conversation = key
        seq = self._pending.pop(key)
        now = time.time_ns() // 1_000_000
        receipt = wire.Receipt(conversation=conversation, account=reader, seq=seq, time=now)
        self._publish(peer, receipt)
