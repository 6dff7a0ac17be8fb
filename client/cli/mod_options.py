"""What the commands of ``louver mod`` share: options, times, and how one begins.

What may live here: option types. What may not: a command, or what one does.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from client.cli import options

Facts = Annotated[str, typer.Option(help="What happened, for the user to read.")]
Rule = Annotated[str, typer.Option(help="Which rule that breaks, or does not.")]
Reason = Annotated[str, typer.Option(help="Why.")]
Until = Annotated[str, typer.Option(help="2026-12-31, 2026-12-31T12:00, or 30m, 12h, 7d from now.")]
Conversation = Annotated[str, typer.Option(help="Its id, or who talks there: alice,bob.")]
Seqs = Annotated[list[int] | None, typer.Option(help="A message's number; repeatable.")]
Yes = Annotated[bool, typer.Option("--yes", help="Sign without asking.")]
_UNITS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}


def at_desk(
    work: Callable[[Any, Any], None], profile: str, home: Path | None, as_json: bool
) -> None:
    """Run a command with the person's desk and the words for what it says."""

    def begin(terms: Any) -> None:
        desk = importlib.import_module("client.moderation.many").Many(terms)
        work(desk, importlib.import_module("client.moderation.words"))

    options.run_plainly(begin, options.place(home, profile), as_json)


def milliseconds(text: str) -> int:
    """A time as it is typed, in the zone of this machine; 0 for none. Raises ``BadArgument``."""
    from crypto_modes.errors import BadArgument

    if not text:
        return 0
    number, unit = text[:-1], text[-1]
    if unit in _UNITS and number.isascii() and number.isdecimal() and len(number) <= 9:
        return time.time_ns() // 1_000_000 + int(number) * _UNITS[unit]
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise BadArgument(
            f"{text!r} is no time; write 2026-12-31, 2026-12-31T12:00, or 30m, 12h, 7d from now"
        ) from None


def before(text: str) -> int:
    """The same for a time that is over, so that 24h is as long ago."""
    now = time.time_ns() // 1_000_000
    found = milliseconds(text)
    return 2 * now - found if found > now else found
