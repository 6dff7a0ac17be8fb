"""Numbers: what the log's entries say of the staff's work, for auditors and whoever publishes it.

What may live here: asking for them. What may not: counting, which is done where the log is, or any
number of the relay's own tables, which nobody outside could verify.
"""

from __future__ import annotations

from crypto_modes.errors import BadArgument, Forbidden
from crypto_modes.grants import Person, Role
from server.access_log.counts import Counted, Row
from server.moderation.desk import Desk

__all__ = ["COUNTERS", "Counted", "Numbers", "Row"]

COUNTERS: tuple[Role, ...] = ("auditor", "admin")


class Numbers:
    """As ``Cases``."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def transparency(self, who: Person, first: int, end: int) -> Counted:
        """The transparency report of a time, from the access log alone: from ``first`` up to, but
        not including, ``end``, milliseconds. Raises ``VaultUnavailable``."""
        desk = self._desk
        if desk.staff().get(who.name) != who or who.role not in COUNTERS:
            raise Forbidden(f"a {who.role} may not see the counts of the access log")
        if first >= end:
            raise BadArgument("a time ends after it begins")
        return await desk.log.counts(first, end)
