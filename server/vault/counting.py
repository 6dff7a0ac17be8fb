"""How many data keys were unwrapped on each day, in a journal that the access log knows nothing of.

What may live here: that count and its file. What may not: what it is compared with
(``reconciling``). It is on the disk before a key is unwrapped, so a crash counts one too many or
none too few. A line is 16 bytes: the day (since 1970, UTC) and how many; a start makes one of a
day's lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from crypto_modes.transparency.access_log import DAY
from server.vault.journal import Journal

LINE = 16


class Count:
    """Unwraps by day; ``path`` is the journal. ``open`` first."""

    def __init__(self, path: Path) -> None:
        self._journal = Journal(path, LINE)
        self._days: Counter[int] = Counter()

    def open(self) -> None:
        """Raises ``BadConfig``."""
        self._days = Counter()
        for line in self._journal.read():
            self._days[int.from_bytes(line[:8], "big")] += int.from_bytes(line[8:], "big")
        self._journal.begin(_line(day, number) for day, number in self._days.items())

    def add(self, entered: int) -> None:
        """One key is about to be unwrapped under an entry of this time, milliseconds; 0 where
        there is none. Blocks until it is durable. Raises ``StoreUnavailable``.

        The entry's day and not that of the clock: a reading at midnight is one day's.
        """
        day = entered // DAY
        self._journal.add_now(_line(day, 1))
        self._days[day] += 1

    @property
    def days(self) -> Mapping[int, int]:
        """How many on each day that had any."""
        return dict(self._days)

    def close(self) -> None:
        self._journal.close()


def _line(day: int, number: int) -> bytes:
    return day.to_bytes(8, "big") + number.to_bytes(8, "big")
