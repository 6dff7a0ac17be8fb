"""One timer for the deadlines of all connections.

What may live here: the wheel. What may not: what a deadline means. Every connection has at most
one deadline at a time, so a set per tick is enough, and an event loop with fifty thousand
connections holds one timer handle instead of fifty thousand.
"""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

TICK = 0.1


class Timed(Protocol):
    """Something with a deadline. ``due`` belongs to the wheel; 0 means no deadline."""

    due: int

    def expired(self) -> None:
        """The deadline passed. May arm the wheel again; may not raise."""


class Wheel:
    """Deadlines in ticks of 0.1 s; one fires at most a tick late and never early."""

    __slots__ = ("_handle", "_loop", "_slots", "_wakes")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: dict[int, set[Timed]] = {}
        self._handle: asyncio.TimerHandle | None = None
        self._wakes = 0

    def arm(self, timed: Timed, seconds: float) -> None:
        """Give ``timed`` a deadline ``seconds`` from now, in place of the one it had."""
        self.disarm(timed)
        due = math.ceil((self._loop.time() + seconds) / TICK)
        timed.due = due
        slot = self._slots.get(due)
        if slot is not None:
            slot.add(timed)
            return
        self._slots[due] = {timed}
        if self._handle is None or due < self._wakes:
            self._wake_at(due)

    def disarm(self, timed: Timed) -> None:
        """Take the deadline away, if there is one."""
        due, timed.due = timed.due, 0
        slot = self._slots.get(due)
        if slot is None:
            return
        slot.discard(timed)
        if not slot:
            # The timer may now wake for nothing, which is cheaper than moving it each time.
            del self._slots[due]

    def stop(self) -> None:
        """Forget every deadline."""
        for slot in self._slots.values():
            for timed in slot:
                timed.due = 0
        self._slots.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _wake_at(self, due: int) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._wakes = due
        self._handle = self._loop.call_at(due * TICK, self._turn)

    def _turn(self) -> None:
        self._handle = None
        # The loop may call up to its clock's resolution early; what it was woken for is due.
        now = max(self._wakes, int(self._loop.time() / TICK))
        for due in sorted(due for due in self._slots if due <= now):
            # One expiry may disarm another of the same slot, so take them one by one.
            slot = self._slots.get(due, set())
            while slot:
                timed = slot.pop()
                timed.due = 0
                timed.expired()
            self._slots.pop(due, None)
        if self._slots:
            following = min(self._slots)
            # What expired may have armed something later, and with it the timer.
            if self._handle is None or following < self._wakes:
                self._wake_at(following)
