"""Reports for the drill: what recipients would send in, and forgeries of it.

What may live here: making reports of both kinds, writing them to a file. What may not: judging
what a relay answers (``drill``). Pure but for ``write``; equal seeds give equal forgeries.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path

import msgspec

from client import Message
from client.compare.traffic import seeded
from crypto_modes.errors import BadArgument

# Higher than any message of a trace: no such place exists in any conversation.
_NO_SUCH_SEQ = 1_000_000_000
_PATIENCE = 1000


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line for ``louverd reveal --reports``; bytes travel as base64.

    ``key`` opens the sender's commitment. Where the mode does not frank there is none: the
    message is a claim, which the relay holds against its own record.
    """

    conversation: bytes
    seq: int
    reporter: bytes
    message: bytes
    key: bytes = b""


Way = Callable[[Report, Report, random.Random], Report]


def genuine(messages: Sequence[Message]) -> list[Report]:
    """What the recipients of ``messages`` would report."""
    return [
        Report(
            conversation=message.conversation,
            seq=message.seq,
            reporter=message.recipient,
            message=message.evidence.message if message.evidence else message.content,
            key=message.evidence.key if message.evidence else b"",
        )
        for message in messages
    ]


def forgeries(honest: Sequence[Report], number: int, seed: int) -> dict[str, list[Report]]:
    """``number`` distinct forgeries by what was altered, as evenly as they divide.

    Only what the mode looks at is altered: reports without a key are not forged by one. Each
    forgery says what is not true: at the place it names, a genuine report says something else, or
    there is no such place. ``honest`` must therefore hold every genuine report.

    Raises:
        BadArgument: ``honest`` is too little to make so many forgeries of.
    """
    rng = seeded(seed, "forgeries")
    told = set(honest)
    ways = _FRANKED if any(one.key for one in honest) else _CLAIMED
    made: dict[str, list[Report]] = {name: [] for name in ways if honest}
    names = cycle(ways)
    for _ in range(number if honest else 0):
        name = next(names)
        made[name].append(_new(honest, ways[name], rng, told))
        told.add(made[name][-1])
    return made


def write(path: Path, lines: Sequence[Report]) -> None:
    """A file for ``--reports``."""
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def _new(honest: Sequence[Report], way: Way, rng: random.Random, told: set[Report]) -> Report:
    for _ in range(_PATIENCE):
        fake = way(rng.choice(honest), rng.choice(honest), rng)
        if fake not in told:
            return fake
    raise BadArgument(f"{len(honest)} reports are too few to make more forgeries of")


def _text(report: Report, other: Report, rng: random.Random) -> Report:
    message = report.message
    texts = (_alter(message, rng), message + b"\0", message[:-1] or b"x", other.message)
    return msgspec.structs.replace(report, message=rng.choice(texts))


def _key(report: Report, other: Report, rng: random.Random) -> Report:
    # The last way takes the other report's whole evidence to this report's place.
    ways: tuple[Mapping[str, bytes], ...] = (
        {"key": _alter(report.key, rng)},
        {"key": bytes(len(report.key))},
        {"key": other.key},
        {"key": other.key, "message": other.message},
    )
    return msgspec.structs.replace(report, **rng.choice(ways))


def _reporter(report: Report, other: Report, rng: random.Random) -> Report:
    somebody = rng.choice((_alter(report.reporter, rng), other.reporter))
    return msgspec.structs.replace(report, reporter=somebody)


def _place(report: Report, other: Report, rng: random.Random) -> Report:
    places: tuple[tuple[bytes, int], ...] = (
        (other.conversation, other.seq),
        (report.conversation, _NO_SUCH_SEQ + rng.randrange(1_000_000)),
        (_alter(report.conversation, rng), report.seq),
    )
    conversation, seq = rng.choice(places)
    return msgspec.structs.replace(report, conversation=conversation, seq=seq)


def _alter(data: bytes, rng: random.Random) -> bytes:
    """One byte of ``data`` altered."""
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= rng.randrange(1, 256)
    return bytes(changed)


_CLAIMED: Mapping[str, Way] = {"text": _text, "reporter": _reporter, "place": _place}
_FRANKED: Mapping[str, Way] = {**_CLAIMED, "key": _key}
