"""Reconciliation: no more data keys were unwrapped than the access log announced, day by day.

What may live here: the comparison, and entering what it finds. What may not: the count itself
(``counting``), deciding anything by it. Each ``read`` entry says how many keys are about to be
unwrapped; who opens something and enters nothing is counted all the same. Fewer unwraps than
announced are no difference: a record that was changed does not open, and a crash opens nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from crypto_modes.errors import LouverError
from crypto_modes.transparency.access_log import DAY, Entry, Opened
from server import logs
from server.access_log import AccessLog
from server.vault.counting import Count

RECONCILED = "/vault/v1/reconciled"
SECONDS = 60.0
PAGE = 256
DETAIL = "keys"  # of a `read` entry: how many are about to be unwrapped, in decimal digits


class Log(AccessLog, Protocol):
    """The log at its keeper, which reads it as well (``durable.DurableLog``)."""

    async def opened(self, start: int, limit: int) -> list[Opened]: ...


class Day(msgspec.Struct, frozen=True):
    """One day (YYYY-MM-DD, UTC): what the holder of the key counted, what the log announced. What
    was unwrapped without any entry is on the day 1970-01-01.
    """

    day: str
    unwrapped: int
    announced: int

    @property
    def surplus(self) -> int:
        """How many unwraps no entry announced."""
        return max(0, self.unwrapped - self.announced)


class Reconciled(msgspec.Struct, frozen=True):
    """All days that had either. ``erased`` entries of the log can announce nothing any more."""

    days: tuple[Day, ...] = ()
    erased: int = 0

    def status(self) -> Mapping[str, object]:
        """As a line of the vault's status."""
        unannounced = {each.day: each.surplus for each in self.days if each.surplus}
        return {"unwrapped": sum(each.unwrapped for each in self.days), "unannounced": unannounced}


class Reconciling:
    """The comparison over one log; ``now`` is the clock, in milliseconds.

    The log is read once and then continued: what is entered stays, whoever erases it.
    """

    def __init__(self, count: Count, log: Log, now: Callable[[], int]) -> None:
        self._count = count
        self._log = log
        self._now = now
        self._reading = asyncio.Lock()
        self._read = self._erased = 0
        self._announced: Counter[int] = Counter()
        # For each day with a surplus: how much was entered, and on which day.
        self._entered: dict[str, tuple[int, int]] = {}
        self.newest = Reconciled()

    async def compare(self) -> Reconciled:
        """How it stands now. Raises ``LogUnavailable``."""
        # First the count: an entry comes before its unwrap, so what is read later has them all.
        unwrapped = self._count.days
        async with self._reading:
            while page := await self._log.opened(self._read, PAGE):
                self._take(page)
        days = sorted({*unwrapped, *self._announced})
        self.newest = Reconciled(
            tuple(Day(_date(each), unwrapped.get(each, 0), self._announced[each]) for each in days),
            self._erased,
        )
        return self.newest

    async def tell(self) -> None:
        """Enter each day with a surplus: once, and again where it grew, at most once a day.
        Raises ``LogUnavailable``."""
        now = self._now()
        for day in (await self.compare()).days:
            told, when = self._entered.get(day.day, (0, -1))
            if day.surplus <= told or when == now // DAY:
                continue
            detail = {
                "outcome": "unannounced",
                "day": day.day,
                "unwrapped": str(day.unwrapped),
                "announced": str(day.announced),
            }
            entry = Entry(kind="keys", time=now, count=day.surplus, detail=detail)
            await self._log.append([entry])
            self._entered[day.day] = day.surplus, now // DAY
            logs.logger().error("data keys were unwrapped past the access log", **detail)

    async def run(self) -> None:
        """``tell`` for as long as the vault runs; a log that is away only delays it."""
        while True:
            try:
                await self.tell()
            except LouverError as error:
                logs.logger().warning("not reconciled", reason=str(error))
            await asyncio.sleep(SECONDS)

    def _take(self, page: list[Opened]) -> None:
        for each in page:
            if each.entry is None:
                self._erased += 1
            elif each.entry.kind == "read":
                self._announced[each.entry.time // DAY] += _number(each.entry)
        self._read = page[-1].index + 1


def _number(entry: Entry) -> int:
    said = entry.detail.get(DETAIL, "0")
    return int(said) if said.isascii() and said.isdecimal() and len(said) <= 6 else 0


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()
