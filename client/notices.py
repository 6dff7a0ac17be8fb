"""What the relay's moderation tells this user, and objecting to it.

What may live here: the two questions, over an open session or at the door. What may not: how a
notice is put (``notice_words``), or asking the user.

Whoever is suspended has no session. The relay answers these two questions all the same, to a device
that shows its token, so that everybody can read why and object.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

import msgspec

from client.connection import Connection, open_connection
from client.entrance import Dial, exchange
from client.memory import Memory
from crypto_modes import wire
from crypto_modes.contract import ID_SIZE
from crypto_modes.errors import BadArgument, LimitExceeded

F = TypeVar("F", bound=wire.Frame)
# Pages that are asked for at a time; a relay that always says `more` ends here.
PAGES = 100


class Asking(Protocol):
    """Asks the relay: ``Session.ask``, or the door."""

    async def __call__(self, request: wire.Frame, kind: type[F], /) -> F: ...


class Notices:
    """The notices of one account."""

    def __init__(self, ask: Asking) -> None:
        self._ask = ask

    async def all(self, after: int = 0) -> list[wire.Told]:
        """Every notice with a number above ``after``, by number."""
        found: list[wire.Told] = []
        for _ in range(PAGES):
            page = await self._ask(wire.GetNotices(ref=0, after=after), wire.Notices)
            fresh = [each for each in page.notices if each.number > after]
            found += fresh
            if not page.more or not fresh:
                break
            after = max(each.number for each in fresh)
        return found

    async def mark_read(self, ids: Sequence[bytes]) -> None:
        """Tell the relay that the user has read these."""
        for at in range(0, len(ids), wire.NOTICES_LIMIT):
            read = tuple(ids[at : at + wire.NOTICES_LIMIT])
            # Nothing is above this number: only the marks matter.
            frame = wire.GetNotices(ref=0, after=(1 << 53) - 1, read=read)
            await self._ask(frame, wire.Notices)

    async def appeal(self, action: bytes, words: str) -> int:
        """Object to an action, once; when the relay took it, in milliseconds.

        Raises ``BadArgument`` or ``LimitExceeded`` for what cannot be one, ``Forbidden`` where
        nothing such was decided about this account, or it was appealed before.
        """
        if len(action) != ID_SIZE:
            raise BadArgument("an action is named by 16 bytes, as its notice shows them")
        if not 0 < len(words.encode()) <= wire.APPEAL_LIMIT:
            raise LimitExceeded(f"an appeal has 1 to {wire.APPEAL_LIMIT} bytes")
        frame = wire.Appeal(ref=0, action=action, words=words)
        return (await self._ask(frame, wire.Appealed)).time


class _Door:
    """Asks with the device's token, before any hello."""

    def __init__(self, connection: Connection, token: str, device: bytes) -> None:
        self._connection = connection
        self._fields = {"token": token, "device": device}
        self._ref = 0

    async def ask(self, request: wire.Frame, kind: type[F], /) -> F:
        self._ref += 1
        asked = msgspec.structs.replace(request, ref=self._ref, **self._fields)
        return await exchange(self._connection, asked, kind)


@asynccontextmanager
async def at_the_door(dial: Dial, memory: Memory) -> AsyncIterator[Notices]:
    """The notices of the account that ``memory`` holds a token of, without opening a session.

    Raises ``ConnectionLost``, and ``BadArgument`` where there is no token.
    """
    identity = memory.adopt(dial.name)
    if not identity.token:
        raise BadArgument(f"this device has no token of {dial.name!r} yet: register or log in")
    connection = await open_connection(dial.url, protocol=dial.protocol, ssl=dial.ssl)
    try:
        yield Notices(_Door(connection, identity.token, identity.device).ask)
    finally:
        await connection.close()
