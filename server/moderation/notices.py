"""Notices: what users are told about decisions that concern them, and from when on.

What may live here: making notices, handing them out, noting that they were read, and the moment at
which a delayed one falls due. What may not: why one is made (``actions``, ``appeals``,
``granting``), frames and sockets. No notice names one of the staff, or who reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from crypto_modes.contract import ID_SIZE
from crypto_modes.errors import Unavailable
from crypto_modes.transparency.access_log import Entry
from server.moderation.desk import Desk, changed
from server.moderation.records import Action, Asked, Notice, Statement

PAGE = 50
REDRESS = (
    "You can appeal once, in your own words, with `louver appeal`; somebody else than who decided"
    " will look at it. You can also go to a court or an out-of-court body."
)


class Notices:
    """What each account is told."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        # What fell due until then was handed to devices, or waits for them.
        self._seen = -1

    async def of(self, account: bytes, after: int = 0, limit: int = PAGE) -> list[Notice]:
        """Up to 50 of the account's notices that are due, with a higher number, ascending."""
        desk, now = self._desk, self._desk.now()
        found = await desk.store.notices(account, now, after, min(limit, PAGE))
        async with desk.lock:
            await self._note_told([each.id for each in found if not each.told])
        return found

    async def read(self, account: bytes, ids: Sequence[bytes]) -> int:
        """The user has read these; how many of them were his, due and unread."""
        desk, now = self._desk, self._desk.now()
        async with desk.lock:
            found = [await desk.store.get(Notice, id_) for id_ in dict.fromkeys(ids)]
            unread = [
                changed(each, read=now, told=each.told or now)
                for each in found
                if each and each.account == account and each.due <= now and not each.read
            ]
            await desk.store.put(*unread)
        return len(unread)

    async def fresh(self, account: bytes) -> list[Notice]:
        """What is due and no device of the account got yet; one gets it now."""
        desk = self._desk
        found = await desk.store.fresh(account, desk.now(), PAGE)
        async with desk.lock:
            await self._note_told([each.id for each in found])
        return found

    async def tick(self) -> int:
        """Tell devices what fell due since the last call or, the first time, whatever none got
        before the restart; how many notices. Call it at the start and every minute.
        """
        desk, now, after, count = self._desk, self._desk.now(), 0, 0
        while page := await desk.store.untold(self._seen, now, after, PAGE):
            after = page[-1].number
            count += len(page)
            async with desk.lock:
                await self._note_told([each.id for each in page if desk.hooks.tell(each)])
        self._seen = now
        return count

    async def push(self, notices: Sequence[Notice]) -> None:
        """Tell connected devices at once, with the desk's lock held; who is away is told when he
        comes. Never fails: what is not noted as told is told again."""
        desk = self._desk
        with suppress(Unavailable):
            for notice in notices:
                if notice.due <= desk.now():
                    # Read again, for its number.
                    kept = await desk.find(Notice, notice.id)
                    await self._note_told([kept.id] if desk.hooks.tell(kept) else [])

    async def _note_told(self, ids: Sequence[bytes]) -> None:
        desk = self._desk
        found = [await desk.store.get(Notice, id_) for id_ in ids]
        told = [changed(each, told=desk.now()) for each in found if each and not each.told]
        if told:
            await desk.store.put(*told)


def of_action(desk: Desk, action: Action) -> Notice:
    """The statement of reasons of an action, for whom it concerns."""
    return _notice(
        desk,
        account=action.account,
        topic="report" if action.kind == "none" else "action",
        action=action.id,
        kind=action.kind,
        outcome="nothing" if action.kind == "none" else "",
        conversation=action.conversation,
        until=action.until,
        count=len(action.seqs),
        statement=action.statement,
    )


def of_report(desk: Desk, reporter: bytes) -> Notice:
    """What became of a report: that something was done, and nothing of what."""
    return _notice(desk, account=reporter, topic="report", outcome="acted")


def of_release(desk: Desk, action: Action, sender: bytes) -> Notice:
    """What a list held may go, and why."""
    statement = msgspec.structs.replace(action.statement, redress="")
    return _notice(desk, account=sender, topic="released", statement=statement)


def of_decision(desk: Desk, action: Action, outcome: str, reason: str) -> Notice:
    """What became of an appeal."""
    return _notice(
        desk,
        account=action.account,
        topic="decision",
        action=action.id,
        kind=action.kind,
        outcome=outcome,
        statement=Statement(facts=reason, rule=action.statement.rule),
    )


def of_grant(desk: Desk, asked: Asked, account: bytes, due: int) -> Notice:
    """Something of a conversation may be read; told once the gag of the request ends."""
    grant = asked.grant
    return _notice(
        desk,
        account=account,
        topic="opened",
        due=max(due, desk.now()),
        basis=grant.basis,
        conversation=grant.conversation,
        count=grant.last - grant.first + 1,
    )


def entries(desk: Desk, notices: Sequence[Notice], case: bytes = b"") -> list[Entry]:
    """What the log has of them: whom, why and from when on, nothing of what they say."""
    return [
        desk.entry(
            "notice",
            "",
            case=case,
            basis=each.basis,
            # Not who reported: the auditors and the lawyers of others read the log.
            account=b"" if _is_reporters(each) else each.account,
            conversation=each.conversation,
            detail={"topic": each.topic, "due": str(each.due)},
        )
        for each in notices
    ]


def _is_reporters(notice: Notice) -> bool:
    """Whether it goes to somebody because he reported: ``none`` concerns nobody else."""
    return notice.topic == "report" or notice.kind == "none"


def _notice(desk: Desk, **fields: Any) -> Notice:
    now = desk.now()
    return Notice(**{"id": desk.random(ID_SIZE), "time": now, "due": now, **fields})
