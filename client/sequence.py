"""The numbering of one conversation as this device sees it: gaps, late arrivals, what to ack.

Pure and free of I/O. A device's stream is what is delivered to it plus what it sent itself;
together they have no gaps, and they arrive in order, because the relay writes both to one
connection. So what is missing, the relay did not send.
"""

from __future__ import annotations

from bisect import insort

import msgspec


class Arrival(msgspec.Struct, frozen=True):
    """How a number arrived: ``missing`` numbers before it never came; ``late``: a higher one, or
    this very one, came before."""

    missing: int = 0
    late: bool = False


class Sequence:
    """``last`` is the highest seq that arrived; 0 before the first, whatever its number: a new
    device is not sent what came before it. ``upto``: all that arrived up to here is handled.
    """

    __slots__ = ("_acked", "_dropped", "_here", "_waiting", "last", "upto")

    def __init__(self, last: int = 0) -> None:
        self.last = last
        self.upto = last
        self._waiting: list[int] = []  # ascending
        self._dropped = 0  # the lowest seq that is to come again, or 0
        self._here = 0  # the highest seq of this connection
        self._acked = 0

    def arrived(self, seq: int) -> Arrival:
        """A message to be handled arrived; ``handled`` must follow."""
        insort(self._waiting, seq)
        return self._note(seq)

    def settled(self, seq: int) -> Arrival:
        """A message arrived that needs no handling: one's own, accepted."""
        arrival = self._note(seq)
        self._settle()
        return arrival

    def handled(self, seq: int) -> None:
        """An arrival with this number is safely stored, or is known not to be needed."""
        self._waiting.remove(seq)
        self._settle()

    def dropped(self, seq: int) -> None:
        """An arrival with this number could not be kept; it is to come again when reconnected, and
        nothing from it on is acked before.
        """
        self._waiting.remove(seq)
        self._dropped = min(self._dropped or seq, seq)

    def after(self, seq: int) -> int:
        """What ``upto`` will be once ``seq`` is handled."""
        return self._upto(next((each for each in self._waiting if each != seq), 0))

    def to_ack(self) -> int:
        """The seq to ack now; 0 where there is nothing new to say.

        An ack says "everything up to here", so one message that waits holds back the ack of all
        after it, and the relay delivers them again after a break.
        """
        seq = min(self.upto, self._here)
        if seq <= self._acked:
            return 0
        self._acked = seq
        return seq

    def reconnected(self) -> None:
        """The relay delivers again whatever it saw no ack of, and takes acks of that only."""
        self._here = self._acked = 0
        if self._dropped:
            self.last = min(self.last, self._dropped - 1)
            self._dropped = 0

    def _note(self, seq: int) -> Arrival:
        self._here = max(self._here, seq)
        if seq <= self.last:
            return Arrival(late=True)
        missing = seq - self.last - 1 if self.last else 0
        self.last = seq
        return Arrival(missing=missing)

    def _settle(self) -> None:
        self.upto = self._upto(self._waiting[0] if self._waiting else 0)

    def _upto(self, first: int) -> int:
        """Up to where all is handled, where ``first`` (0: none) is the first that waits."""
        ends = (each for each in (first, self._dropped) if each)
        return max(self.upto, min(ends, default=self.last + 1) - 1)
