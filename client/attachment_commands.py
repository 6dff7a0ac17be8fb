"""What ``louver send --file`` and ``louver attachments …`` do.

What may live here: the steps of a command over the library. What may not: its options
(``cli.attachments``, ``cli.chatting``), or the chat's own commands (``slash``).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

from client import wording
from client.commands import Terms, message_of, opened
from client.spool import Source, kind_of
from client.transfer import Progress
from crypto_modes import wire
from crypto_modes.errors import BadArgument


async def send(
    terms: Terms, to: str, file: str, kind: str = "", reply_to: str = "", *, alone: bool = True
) -> None:
    """Send a file; ``-`` takes it from standard input. ``reply_to`` is a number or an id;
    ``alone``: nothing was given that belongs to a text."""
    if not file or not alone:
        raise BadArgument("send either a text or a file: louver send --to NAME --file PATH")
    source: Source = sys.stdin.buffer if file == "-" else Path(file)
    async with opened(terms) as chat:
        target = (await message_of(chat, to, reply_to)).id if reply_to else b""
        sent = await chat.attachments.send(
            to, source, kind=_kind(kind) or kind_of(file), reply_to=target, progress=_shown()
        )
        if terms.json:
            terms.say(wording.as_json(wording.sent_fields(sent)))


def _kind(word: str) -> wire.Kind | None:
    found = next((each for each in get_args(wire.Kind) if each == word), None)
    if word and found is None:
        raise BadArgument(f"a file is a file, image, voice or video, not {word!r}")
    return found


async def save(terms: Terms, peer: str, which: str, place: str) -> None:
    """Save the attachment of the message with this number or id."""
    where = _place(place)
    async with opened(terms) as chat:
        message = await message_of(chat, peer, which)
        path = await chat.attachments.save(message, where, progress=_shown())
        if terms.json:
            terms.say(wording.as_json({"path": str(path)}))
        else:
            terms.say(f"Verified and saved: {wording.plain(str(path))}")


def _place(text: str) -> Path:
    """Where to save. ``DIR/`` means a directory, and never a new file of that name."""
    path = Path(text)
    if text.endswith("/") and not path.is_dir():
        raise BadArgument(f"there is no directory {text}: make it first, or name a new file")
    return path


def _shown() -> Progress | None:
    """Percents on a terminal; nothing where nobody looks."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        end = "\n" if done == total else ""
        sys.stderr.write(f"\r{done * 100 // total:3} %{end}")
        sys.stderr.flush()

    return show
