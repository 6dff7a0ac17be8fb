"""How the command line puts things: for people one line, for programs one JSON object per line.

Only text lives here; nothing that prints. Everything from the relay or a peer goes through
``plain``: a terminal obeys what it is sent.
"""

from __future__ import annotations

import json
import time
import unicodedata
from collections.abc import Callable, Mapping

from client.messages import Message, Sent
from crypto_modes.content import MARK, Attachment, Deletion, Edit, Plain, Reaction, Timer
from crypto_modes.errors import (
    BadArgument,
    BadConfig,
    BelowFloor,
    CannotOpen,
    ConnectionLost,
    KeyChanged,
    KeyRefused,
    LogRefused,
    LouverError,
    ReportRefused,
)

OK, UNEXPECTED, USAGE, UNREACHABLE, NOT_VERIFIED, INTERRUPTED = 0, 1, 2, 3, 5, 130

_EXITS: tuple[tuple[type[LouverError], int], ...] = (
    (BadArgument, USAGE),
    (BadConfig, USAGE),
    (ConnectionLost, UNREACHABLE),
    (KeyChanged, NOT_VERIFIED),
    (KeyRefused, NOT_VERIFIED),
    (LogRefused, NOT_VERIFIED),
    (BelowFloor, NOT_VERIFIED),
    (CannotOpen, NOT_VERIFIED),
    (ReportRefused, NOT_VERIFIED),
)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
# The id of a message -> how it is called on the screen.
Number = Callable[[bytes], str]
UNNUMBERED = "another message"
_WARNINGS = {
    "below_floor": "WEAKER THAN PROMISED",
    "cannot_open": "cannot be opened on this device",
    "fork": "THE RELAY SHOWS THE TWO OF YOU DIFFERENT CONVERSATIONS",
    "no_copy": "was not encrypted to this device: it was not linked then",
    "removed": "was removed by the relay's moderation",
    "reordered": "arrived late",
    "session_reset": "encryption was set up anew; did they reinstall? If not, compare /safety",
    "split_view": "CLAIMS TO SEE ANOTHER LOG OF KEYS THAN YOU; ask for their louver keys log",
    "wrong_mode": "not in the mode that was agreed on",
}


def exit_code(error: LouverError) -> int:
    """0 fine, 1 unexpected, 2 usage or configuration, 3 not reachable, 5 verification failed."""
    return next((code for kind, code in _EXITS if isinstance(error, kind)), UNEXPECTED)


def plain(text: str) -> str:
    """``text`` without what steers a terminal or reorders a line: controls become U+FFFD."""
    return "".join(
        char
        if char == " " or unicodedata.category(char) not in ("Cc", "Cf", "Zl", "Zp")
        else "\ufffd"
        for char in text
    )


def warning(name: str) -> str:
    """A warning of a message, for people."""
    if name.startswith("gap:"):
        return f"{name[4:]} MESSAGES BEFORE THIS ARE MISSING HERE"
    if name.startswith("withheld:"):
        return f"{name[9:]} OF YOUR MESSAGES DID NOT REACH THE DEVICE THAT WROTE THIS"
    return _WARNINGS.get(name, plain(name))


def line(message: Message, *, other: bool = False, number: Number = lambda _: UNNUMBERED) -> str:
    """One message as one line; ``other``: it is not of the conversation on the screen.

    ``#7`` is its seq, by which commands name it; ``number`` gives that of another message.
    """
    name = "me" if message.own else message.sender_name or message.sender.hex()[:8]
    place = " (another conversation)" if other else f" #{message.seq}"
    notes = "".join(f"  [! {warning(each)}]" for each in message.warnings)
    return f"{clock(message.time)} {plain(name)}{place}: {body(message, number)}{notes}"


def body(message: Message, number: Number = lambda _: UNNUMBERED) -> str:
    """What a message says, and what became of it."""
    if message.deleted:
        return "[deleted]"
    said = _said(message, number)
    if message.reply_to:
        said = f"[answers {number(message.reply_to)}] {said}"
    notes = ["edited"] if message.edited else []
    if message.expires:
        notes.append(f"disappears at {clock(message.expires)}")
    if message.reactions:
        notes.append(" ".join(plain(each) for each in message.reactions.values()))
    return said + "".join(f"  [{each}]" for each in notes)


def _said(message: Message, number: Number) -> str:
    match message.what:
        case Attachment(name=name, size=size):
            return f"[{message.kind}: {plain(name)}, {size} bytes]"
        case Reaction(target, emoji):
            return f"[{plain(emoji) or 'no more reaction'} to {number(target)}]"
        case Edit(target, text):
            return f"[now reads, {number(target)}] {plain(text)}"
        case Deletion(target):
            return f"[deleted {number(target)}]"
        case Timer(0):
            return "[from now on messages stay]"
        case Timer(seconds):
            return f"[from now on messages disappear {duration(seconds)} after they are shown]"
        case Plain(content) if content[:1] == MARK and message.kind == "text":
            return "[something that this version does not know]"
    return plain(message.text) if message.kind == "text" else f"[{message.kind}]"


def deleted(peer: str) -> str:
    """What taking a message back does, and what it cannot do."""
    return (
        f"Deleted here, and by {plain(peer)}'s program if it obeys. A copy may have been kept, and"
        " the relay keeps its own; files it is told to delete."
    )


def clock(time_ms: int) -> str:
    """The time of day here; the date with it where it is another day."""
    then = time.localtime(time_ms / 1000)
    today = time.strftime("%F") == time.strftime("%F", then)
    return time.strftime("%H:%M" if today else "%F %H:%M", then)


def duration(seconds: int) -> str:
    """A timer in the largest unit that divides it: ``90 s``, ``1 h``, ``7 d``."""
    sizes = ((_UNITS[unit], unit) for unit in "dhm")
    size, unit = next(((size, unit) for size, unit in sizes if seconds % size == 0), (1, "s"))
    return f"{seconds // size} {'min' if unit == 'm' else unit}"


def seconds_of(text: str) -> int:
    """The seconds of a timer as it is typed: ``30s``, ``5m``, ``1h``, ``7d``, ``off``.

    Raises ``BadArgument``.
    """
    if text == "off":
        return 0
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not (number.isascii() and number.isdecimal()) or len(number) > 9:
        raise BadArgument("a timer is like 30s, 5m, 1h, 7d, or off")
    return int(number) * _UNITS[unit]


def moment(milliseconds: int) -> str:
    """Day and time, in the reader's time zone."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(milliseconds / 1000))


def safety(number: str) -> str:
    """60 digits in groups of five, three lines of twenty."""
    digits = number.replace(" ", "")
    groups = [digits[start : start + 5] for start in range(0, len(digits), 5)]
    return "\n".join(
        "  " + " ".join(groups[start : start + 4]) for start in range(0, len(groups), 4)
    )


def as_json(fields: Mapping[str, object]) -> str:
    """One JSON object on one line; bytes as hex."""
    return json.dumps(
        {key: value.hex() if isinstance(value, bytes) else value for key, value in fields.items()}
    )


def sent_fields(sent: Sent) -> dict[str, object]:
    """A sent message, for programs."""
    return {
        "id": sent.id,
        "conversation": sent.conversation,
        "seq": sent.seq,
        "time": sent.time,
    }


def message_fields(message: Message) -> dict[str, object]:
    """A message, for programs. ``text`` as it was sent: JSON escapes what steers a terminal."""
    return {
        "id": message.id,
        "conversation": message.conversation,
        "seq": message.seq,
        "time": message.time,
        "sender": message.sender,
        "name": message.sender_name,
        "own": message.own,
        "kind": message.kind,
        "mode": message.mode,
        "says": type(message.what).__name__.lower(),
        "text": message.text,
        "reply_to": message.reply_to,
        "target": message.target,
        "edited": message.edited,
        "deleted": message.deleted,
        "expires": message.expires,
        "reactions": {who.hex(): emoji for who, emoji in message.reactions.items()},
        "warnings": list(message.warnings),
    }
