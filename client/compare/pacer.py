"""When to send the next message, as a pure function of what has happened: the open loop.

No clock and no sleep live here; time is an argument (after vegeta's pacer). A pacer never waits
for answers and never skips: a late message is due at once, its latency still counts from when it
was planned, and how late it left is the generator's lag, which is checked against a bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """``wait`` seconds before the next ``due`` messages may leave; ``stop`` when all have left."""

    wait: float
    due: int
    stop: bool


@dataclass(frozen=True, slots=True)
class TracePacer:
    """Sends at planned times. ``planned`` are seconds after the start, ascending."""

    planned: Sequence[float]

    def pace(self, elapsed: float, sent: int) -> Pace:
        """What to do ``elapsed`` seconds after the start with ``sent`` messages gone."""
        if sent >= len(self.planned):
            return Pace(0.0, 0, stop=True)
        if (wait := self.planned[sent] - elapsed) > 0:
            return Pace(wait, 0, stop=False)
        due = sent
        while due < len(self.planned) and self.planned[due] <= elapsed:
            due += 1
        return Pace(0.0, due - sent, stop=False)


@dataclass(frozen=True, slots=True)
class Lag:
    """How late a generator was, in milliseconds, and how late it may be."""

    p50: float
    p99: float
    max: float
    bound: float

    @property
    def valid(self) -> bool:
        """Whether the schedule was kept: p99 within the bound, nothing later than ten times it."""
        return self.p99 <= self.bound and self.max <= 10 * self.bound
