"""Who may alter a message, until when, and what it looks like then.

What may live here: the rules, pure, the same for what is sent and for what arrives. What may not:
storage and timers (``contents``), or the encoding (``crypto_modes/content.py``).

====================  ==========  ================  ==============================
                      who         until             what
====================  ==========  ================  ==============================
reaction              both users  always            text and files
edit                  its author  a day after it    text
deletion              its author  a day after it    text and files
====================  ==========  ================  ==============================

Nothing is altered by a message in a weaker mode than its own, nor by one that came below what was
promised: when a conversation was lowered, the operator could write it. A day: long enough to take
back a slip, and after it both can rely on what was said. Times are the relay's, the only ones that
both ends have; a relay that lies about them can stretch the day, and write nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from client.messages import Message
from crypto_modes.content import (
    Alteration,
    Attachment,
    Deletion,
    Edit,
    Plain,
    Reaction,
    encode,
    parse,
)

WINDOW = 24 * 60 * 60 * 1000
_UNPROMISED = frozenset(("below_floor", "wrong_mode"))

Weaker = Callable[[str, str], bool]


class Attempt(msgspec.Struct, frozen=True):
    """Somebody would alter something: ``what``, the account, the mode, and when, in ms."""

    what: Alteration
    sender: bytes
    mode: str
    time: int


def attempt(message: Message) -> Attempt | None:
    """What ``message`` would alter; None where it is none of that, or cannot be trusted with it."""
    what = message.what
    if not isinstance(what, Alteration) or _UNPROMISED & {*message.warnings}:
        return None
    return Attempt(what, message.sender, message.mode, message.time)


def refusal(attempt: Attempt, target: Message, weaker: Weaker) -> str:
    """Why ``target`` cannot be altered so, for people; empty where it can."""
    what = attempt.what
    if target.deleted or not target.opened:
        return "that message is not here any more"
    if not isinstance(target.what, Plain | Attachment):
        return "only what was written can be altered, not what altered it"
    if weaker(attempt.mode, target.mode):
        return f"that was written in mode {target.mode}, which is stronger than {attempt.mode}"
    if isinstance(what, Reaction):
        return ""
    if attempt.sender != target.sender:
        return "only who wrote a message can edit or delete it"
    if attempt.time - target.time > WINDOW:
        return "that was written over a day ago, and stands"
    if isinstance(what, Edit) and (target.kind != "text" or not isinstance(target.what, Plain)):
        return "only text can be edited"
    return ""


def order(message: Message) -> tuple[bool, int]:
    """What alters a message later wins. In the order of the relay's numbers; but what the mode
    found to be late does not win over what came before it, or a relay could undo an edit by
    swapping two.
    """
    return "reordered" not in message.warnings, message.seq


def altered(target: Message, alterations: Iterable[Message], weaker: Weaker) -> Message:
    """``target`` as it is to be shown: with its newest text and reactions, or ``deleted``."""
    shown = target
    for each in sorted(alterations, key=order):
        tried = attempt(each)
        if tried is not None and not refusal(tried, target, weaker):
            shown = _applied(shown, tried)
    return shown


def _applied(shown: Message, tried: Attempt) -> Message:
    match tried.what:
        case Reaction(_, emoji):
            others = {who: each for who, each in shown.reactions.items() if who != tried.sender}
            reactions = others | ({tried.sender: emoji} if emoji else {})
            return msgspec.structs.replace(shown, reactions=reactions)
        case Edit(_, text):
            content = encode(Plain(text.encode()), parse(shown.content).seconds)
            return msgspec.structs.replace(shown, content=content, edited=True)
        case Deletion():
            return emptied(shown)


def emptied(message: Message) -> Message:
    """``message`` without all that it said, and without the evidence of it."""
    return msgspec.structs.replace(
        message,
        content=b"",
        reply_to=b"",
        evidence=None,
        edited=False,
        deleted=True,
        reactions={},
    )
