"""The moderation of one relay: all its use cases put together, its start and its every minute.

Only construction and the order of upkeep live here.
"""

from __future__ import annotations

from server.moderation.actions import Actions
from server.moderation.appeals import Appeals
from server.moderation.cases import Cases
from server.moderation.desk import Desk, NoLog
from server.moderation.granting import Granting
from server.moderation.holds import Holds
from server.moderation.notices import Notices
from server.moderation.numbers import Numbers
from server.moderation.queue import Queue


class Moderation:
    """Made once for each relay; ``restore`` once its store is open."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.cases = Cases(desk)
        self.notices = Notices(desk)
        self.granting = Granting(desk, self.notices)
        self.queue = Queue(desk)
        self.holds = Holds(desk)
        self.actions = Actions(desk, self.holds, self.notices)
        self.numbers = Numbers(desk)
        self.appeals = Appeals(desk, self.actions, self.notices)

    async def restore(self) -> None:
        """Make the relay act on all that is in force, before anybody connects. Raises
        ``StoreUnavailable``."""
        await self.holds.restore()
        await self.actions.restore()
        await self.actions.tick()
        await self.notices.tick()

    async def tick(self) -> None:
        """Once a minute: what is owed, what fell due, reports that wait, emergencies that nobody
        reviewed. What needs the log comes last, and without a vault there is no log to wait for.
        Raises ``Unavailable``: then the rest waits.
        """
        await self.actions.tick()
        await self.notices.tick()
        if isinstance(self.desk.log, NoLog):
            return
        await self.queue.sync()
        await self.granting.tick()
