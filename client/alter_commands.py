"""What ``louver react``, ``edit`` and ``delete`` do.

What may live here: the steps of a command over ``chat.compose``, and how its result is put. What
may not: its options (``cli.altering``), or who may alter what (``alterations``).
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable

from client import wording
from client.client import Chat
from client.commands import Terms, message_of, opened
from client.messages import Sent
from crypto_modes import wire
from crypto_modes.errors import BadArgument


async def react(terms: Terms, to: str, which: str, emoji: str) -> None:
    """Put an emoji at a message, in the place of one's former one; empty takes it back."""
    await _alter(terms, to, which, lambda chat, target: chat.compose.react(to, target, emoji))


async def edit(terms: Terms, to: str, which: str, text: str) -> None:
    """Put another text in the place of an own one; ``-`` takes it from standard input."""
    if text == "-":
        text = sys.stdin.read(wire.CONTENT_LIMIT + 1)
    if not text:
        raise BadArgument("there is no new text; `louver delete` takes a message back")
    await _alter(terms, to, which, lambda chat, target: chat.compose.edit(to, target, text))


async def delete(terms: Terms, to: str, which: str) -> None:
    """Take an own message back."""
    await _alter(terms, to, which, lambda chat, target: chat.compose.delete(to, target))
    if not terms.json:
        terms.say(wording.deleted(to))


async def _alter(
    terms: Terms, to: str, which: str, do: Callable[[Chat, bytes], Awaitable[Sent]]
) -> None:
    async with opened(terms) as chat:
        target = (await message_of(chat, to, which)).id
        sent = await do(chat, target)
        if terms.json:
            terms.say(wording.as_json({**wording.sent_fields(sent), "target": target}))
