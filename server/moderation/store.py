"""What moderation's store must do: the Protocol that every engine implements.

No SQL lives here. One file of its own, so that a backup, a restriction or an erasure of what the
staff did is a matter of that file. Nothing is deleted, and every read is a page.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from server.moderation.records import Backlog, Flood, Notice, Pressed, Record, Standing

T = TypeVar("T", bound=Record)
Value = bytes | int | str
PAGE_LIMIT = 200


class ModerationStore(Protocol):
    """Every method may raise ``StoreUnavailable``."""

    async def open(self) -> None: ...
    async def close(self) -> None: ...

    async def put(self, *records: Record) -> None:
        """Keep all of them or none; durable. A record of version 1 is new, one of version n takes
        the place of its version n - 1.

        Raises ``Stale`` where that is not what is stored.
        """

    async def drop(self, kind: type[Record], *keys: bytes | int) -> None:
        """Forget these. Only for what is kept for a while, never for what somebody did."""

    async def get(self, kind: type[T], key: bytes | int) -> T | None:
        """The record of this kind under its key."""

    async def find(
        self, kind: type[T], after: int, limit: int, until: int = 0, /, **where: Value
    ) -> list[T]:
        """Up to ``limit`` (at most 200) with a higher number, ascending, whose fields are these
        and, unless ``until`` is 0, whose ``time`` is before it."""

    async def last_report(self) -> int:
        """The highest number of a report in the queue."""

    async def standing(self, account: bytes) -> Standing:
        """How often this account was reported, as far as reviewers have noted."""

    async def floods(self, hour: int, least: int, limit: int) -> list[Flood]:
        """Reporters with at least so many reports in one hour since ``hour``, the most first."""

    async def backlog(self) -> list[Backlog]:
        """Unsettled reports by state and assignee, those that wait longest first."""

    async def pressed(self, least: int, limit: int) -> list[Pressed]:
        """Accounts with unsettled reports by at least so many people, the most first."""

    async def notices(self, account: bytes, now: int, after: int, limit: int) -> list[Notice]:
        """Up to ``limit`` notices of an account that are due, with a higher number, ascending."""

    async def untold(self, since: int, now: int, after: int, limit: int) -> list[Notice]:
        """Up to ``limit`` that fell due after ``since`` and until ``now``, with a higher number,
        ascending, and that no device got yet."""

    async def fresh(self, account: bytes, now: int, limit: int) -> list[Notice]:
        """The first ``limit`` of an account that are due and that no device got yet."""
