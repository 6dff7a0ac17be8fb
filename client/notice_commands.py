"""What ``louver notices`` and ``louver appeal`` do.

What may live here: the steps of a command over the library. What may not: its options
(``cli.notices``), or how a notice is put (``notice_words``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from client import notice_words, wording
from client import profile as profiles
from client.commands import Terms
from client.connection import check_url
from client.entrance import Dial
from client.memory import Memory
from client.notices import Notices, at_the_door
from client.opening import tls_context
from crypto_modes.errors import BadArgument


async def show(terms: Terms, *, after: int) -> None:
    """Print what the relay's moderation tells this user; it counts as read then."""
    async with _door(terms) as notices:
        found = await notices.all(after)
        for told in found:
            if terms.json:
                terms.say(wording.as_json(msgspec.structs.asdict(told)))
            else:
                for line in notice_words.lines(told):
                    terms.say(line)
        if not found and not terms.json:
            terms.say("There are no notices for you.")
        await notices.mark_read([told.id for told in found if not told.read])


async def appeal(terms: Terms, action: str, words: str) -> None:
    """Object to a decision that a notice names."""
    try:
        id_ = bytes.fromhex(action)
    except ValueError:
        raise BadArgument(
            f"{action!r} names no decision: give the 32 letters and digits that louver notices"
            " shows"
        ) from None
    async with _door(terms) as notices:
        time = await notices.appeal(id_, words)
        if terms.json:
            terms.say(wording.as_json({"action": id_, "time": time}))
        else:
            terms.say("Your appeal was taken. Somebody else than who decided will look at it.")


@asynccontextmanager
async def _door(terms: Terms) -> AsyncIterator[Notices]:
    """Without a session: also who is suspended must be able to read why."""
    profile = profiles.load(terms.place)
    secure, _ = check_url(profile.url)
    ssl = tls_context(profile.ca or None) if secure else None
    keystore = profiles.open_keystore(terms.place, profile.guard)
    try:
        async with at_the_door(Dial(profile.url, profile.name, ssl=ssl), Memory(keystore)) as found:
            yield found
    finally:
        keystore.close()
