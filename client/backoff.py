"""How long to wait before trying again: exponential back-off with full jitter.

Pure; the randomness is passed in. Full jitter (uniform between zero and the bound) is what
spreads a thousand clients of a restarted relay best; see the AWS Architecture Blog,
"Exponential Backoff And Jitter", 2015.
"""

from __future__ import annotations

from collections.abc import Callable

BASE_SECONDS = 0.25
CAP_SECONDS = 30.0
_DOUBLINGS = 12  # beyond it the cap holds anyway, and powers of two stay small


class Backoff:
    """A series of waits. ``uniform()`` gives a number in [0, 1)."""

    __slots__ = ("_attempt", "_uniform", "base", "cap")

    def __init__(
        self,
        uniform: Callable[[], float],
        base: float = BASE_SECONDS,
        cap: float = CAP_SECONDS,
    ) -> None:
        self.base = base
        self.cap = cap
        self._uniform = uniform
        self._attempt = 0

    def next(self, at_least: float = 0.0) -> float:
        """Seconds to wait now. ``at_least`` is what the other end asked for; the jitter comes on
        top of it, so that those who were told the same number still come back apart.
        """
        bound = min(self.cap, self.base * float(1 << min(self._attempt, _DOUBLINGS)))
        self._attempt += 1
        return at_least + bound * self._uniform()

    def reset(self) -> None:
        """It worked; the next failure starts from the base again."""
        self._attempt = 0
