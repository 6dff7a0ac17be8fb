"""Notices and appeals as users see them: the two frames, and what is pushed when they come.

What may live here: who asks, and the shapes on the wire. What is told, to whom and when is in
``server/moderation``. Both frames are legal before ``hello`` too, with the device's token: who is
suspended cannot open a session, and must be able to read why and to appeal all the same.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from crypto_modes import wire
from crypto_modes.errors import Forbidden, RateLimited, Unauthorized, Unavailable
from server.moderation.records import Notice
from server.moderation.service import Moderation

if TYPE_CHECKING:
    from server.relay import Relay
    from server.session import Session

# A page stops at so many bytes, so that it fits any outbox and every client's receive limit.
PAGE_BYTES = 128 * 1024
PAGE = 50


class UserNotices:
    """Of one relay. ``moderation`` is set by the composition root; without one nobody is told
    anything."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.moderation: Moderation | None = None

    async def get(self, session: Session, frame: wire.GetNotices) -> None:
        """Note what was read, and answer with a page of notices."""
        account = await self._who(session, frame)
        if self.moderation is None:
            session.link.send(wire.Notices(ref=frame.ref))
            return
        if frame.read:
            await self.moderation.notices.read(account, frame.read)
        found = await self.moderation.notices.of(account, frame.after, PAGE)
        page = _fitting(found)
        more = len(page) < len(found) or len(found) == PAGE
        session.link.send(wire.Notices(ref=frame.ref, notices=page, more=more))

    async def appeal(self, session: Session, frame: wire.Appeal) -> None:
        """Take an appeal; answered once it is durable."""
        account = await self._who(session, frame)
        if self.moderation is None:
            raise Forbidden("this relay has no moderation to appeal to")
        appeal = await self.moderation.appeals.file(account, frame.action, frame.words)
        session.link.send(wire.Appealed(ref=frame.ref, action=appeal.id, time=appeal.time))

    async def greet(self, session: Session) -> None:
        """Push what no device of this account got yet; what fails is asked for another time."""
        if self.moderation is None:
            return
        try:
            found = await self.moderation.notices.fresh(session.account)
        except Unavailable as error:
            self._relay.observer.fault("notices", error)
            return
        if found:
            session.link.send(wire.Notices(ref=0, notices=_fitting(found)))

    async def _who(self, session: Session, frame: wire.GetNotices | wire.Appeal) -> bytes:
        """The account that asks: that of the session or, before one, of the token."""
        if session.account:
            return session.account
        if frame.token is None:
            raise Unauthorized("before 'hello' this needs the device's `token` and `device`")
        wait = self._relay.rates.login(session.network, time.monotonic())
        if wait > 0.0:
            raise RateLimited("too many attempts from your address", retry_after=wait)
        return (await self._relay.entrance.holder(frame.token, frame.device)).id


def told(notice: Notice) -> wire.Told:
    """A notice on the wire: nothing of who reported, asked, decided or approved."""
    statement = notice.statement
    reasons = msgspec.structs.asdict(statement) if statement is not None else {}
    return wire.Told(
        id=notice.id,
        number=notice.number,
        time=notice.due,
        topic=notice.topic,
        action=notice.action,
        kind=notice.kind,
        outcome=notice.outcome,
        basis=notice.basis,
        conversation=notice.conversation,
        until=notice.until,
        count=notice.count,
        read=bool(notice.read),
        **reasons,
    )


def _fitting(found: list[Notice]) -> tuple[wire.Told, ...]:
    """As many as fit a page, at least one."""
    page: list[wire.Told] = []
    size = 0
    for each in map(told, found):
        size += sum(len(part.encode()) for part in (each.facts, each.rule, each.redress))
        if page and size > PAGE_BYTES:
            break
        page.append(each)
    return tuple(page)
