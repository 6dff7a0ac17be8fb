"""How the command line puts things: for people one line, for programs one JSON object per line.

Only text lives here; nothing that prints. Everything from the relay or a peer goes through
``plain``: a terminal obeys what it is sent.
"""

from __future__ import annotations

import json
import time
import unicodedata
from collections.abc import Mapping

from client.messages import Message, Sent
from crypto_modes.errors import (
    BadArgument,
    BadConfig,
    BelowFloor,
    CannotOpen,
    ConnectionLost,
    KeyChanged,
    KeyRefused,
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
    (BelowFloor, NOT_VERIFIED),
    (CannotOpen, NOT_VERIFIED),
    (ReportRefused, NOT_VERIFIED),
)
_WARNINGS = {
    "below_floor": "WEAKER THAN PROMISED",
    "cannot_open": "cannot be opened on this device",
    "fork": "THE RELAY SHOWS THE TWO OF YOU DIFFERENT CONVERSATIONS",
    "no_copy": "was not encrypted to this device: it was not linked then",
    "reordered": "arrived late",
    "session_reset": "encryption was set up anew; did they reinstall? If not, compare /safety",
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
        return f"{name[4:]} MESSAGES BEFORE THIS ARE MISSING"
    if name.startswith("withheld:"):
        return f"{name[9:]} OF YOUR MESSAGES DID NOT REACH THE DEVICE THAT WROTE THIS"
    return _WARNINGS.get(name, plain(name))


def line(message: Message, *, other: bool = False) -> str:
    """One message as one line; ``other``: it is not of the conversation on the screen.

    ``#7`` is its seq, by which commands name it.
    """
    clock = time.strftime("%H:%M", time.localtime(message.time / 1000))
    name = "me" if message.own else message.sender_name or message.sender.hex()[:8]
    place = " (another conversation)" if other else f" #{message.seq}"
    body = plain(message.text) if message.kind == "text" else f"[{message.kind}]"
    notes = "".join(f"  [! {warning(each)}]" for each in message.warnings)
    return f"{clock} {plain(name)}{place}: {body}{notes}"


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
        "text": message.text,
        "warnings": list(message.warnings),
    }
