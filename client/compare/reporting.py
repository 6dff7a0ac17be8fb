"""Forged reports for the drill, made of genuine ones.

What may live here: making forgeries. What may not: sending or judging reports (``desk``). Pure but
for ``sealed``; equal seeds give equal forgeries.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle

import msgspec

from client.compare.traffic import seeded
from crypto_modes import franking, reports
from crypto_modes.contract import DIGEST_SIZE, ID_SIZE
from crypto_modes.errors import BadArgument
from crypto_modes.reports import Item, Report, Sealed

# Higher than any message of a trace: no such place exists in any conversation.
_NO_SUCH_SEQ = 1_000_000_000
_PATIENCE = 1000

Way = Callable[[Report, Report, random.Random], Report]


def single(report: Report) -> list[Report]:
    """The same, about one message each."""
    return [msgspec.structs.replace(report, items=(item,)) for item in report.items]


def forgeries(honest: Sequence[Report], number: int, seed: int) -> dict[str, list[Report]]:
    """``number`` distinct forgeries by what was altered, as evenly as they divide.

    ``honest`` are all genuine reports, about one message each. Each forgery says what is not true,
    in a form that nobody but the judge can refuse: it can be encoded and sealed. Keys are forged
    where there are any; where there is no proof, one is made up.

    Raises:
        BadArgument: ``honest`` is too little to make so many forgeries of.
    """
    rng = seeded(seed, "forgeries")
    told = set(honest)
    franked = any(one.items[0].key for one in honest)
    ways = {**_WAYS, "key": _key} if franked else _WAYS
    made: dict[str, list[Report]] = {name: [] for name in ways if honest}
    names = cycle(ways)
    for _ in range(number if honest else 0):
        name = next(names)
        made[name].append(_new(honest, ways[name], rng, told))
        told.add(made[name][-1])
    return made


def sealed(report: Report, team: bytes, time: int) -> Sealed:
    """The report as it lies at the team's desk, had the relay taken it: not even the relay's own
    refusal, of a second report on one message, stands before the judge."""
    return Sealed(
        relay=report.relay,
        reporter=report.reporter,
        id=os.urandom(ID_SIZE),
        time=time,
        tags=reports.tags(report),
        sealed=reports.seal(team, report),
    )


def _new(honest: Sequence[Report], way: Way, rng: random.Random, told: set[Report]) -> Report:
    for _ in range(_PATIENCE):
        fake = way(rng.choice(honest), rng.choice(honest), rng)
        if fake not in told and _can_be_sent(fake):
            return fake
    raise BadArgument(f"{len(honest)} reports are too few to make more forgeries of")


def _can_be_sent(report: Report) -> bool:
    try:
        reports.encode(report)
    except BadArgument:
        return False
    return True


def _with(report: Report, **changes: object) -> Report:
    """The report with another item."""
    return msgspec.structs.replace(
        report, items=(msgspec.structs.replace(report.items[0], **changes),)
    )


def _text(report: Report, other: Report, rng: random.Random) -> Report:
    message = report.items[0].message
    texts = (_alter(message, rng), message + b"\0", message[:-1], other.items[0].message)
    return _with(report, message=rng.choice(texts))


def _sender(report: Report, other: Report, rng: random.Random) -> Report:
    somebody = rng.choice((_alter(report.reported, rng), other.reported))
    return msgspec.structs.replace(_with(report, sender=somebody), reported=somebody)


def _reporter(report: Report, other: Report, rng: random.Random) -> Report:
    """Somebody who did not receive it, who may even say so, or claims to be its recipient."""
    somebody = rng.choice((_alter(report.reporter, rng), other.reporter))
    claimed = _with(report, recipient=somebody) if rng.random() < 0.5 else report
    return msgspec.structs.replace(claimed, reporter=somebody)


def _place(report: Report, other: Report, rng: random.Random) -> Report:
    item, away = report.items[0], other.items[0]
    places: tuple[Mapping[str, object], ...] = (
        {"conversation": away.conversation, "seq": away.seq},
        {"seq": _NO_SUCH_SEQ + rng.randrange(1_000_000)},
        {"conversation": _alter(item.conversation, rng)},
        {"id": rng.choice((_alter(item.id, rng), away.id))},
        {"time": item.time + rng.randrange(1, 100_000)},
        {"device": _alter(item.device, rng)},
    )
    return _with(report, **rng.choice(places))


def _key(report: Report, other: Report, rng: random.Random) -> Report:
    # The last way takes the other report's whole evidence to this report's place.
    item, away = report.items[0], other.items[0]
    ways: tuple[Mapping[str, object], ...] = (
        {"key": _alter(item.key, rng)},
        {"key": bytes(len(item.key))},
        {"key": away.key},
        {"key": away.key, "message": away.message},
    )
    return _with(report, **rng.choice(ways))


def _proof(report: Report, other: Report, rng: random.Random) -> Report:
    """A text of one's own with a commitment that fits it; another's proof; a made-up one; none."""
    item, away = report.items[0], other.items[0]
    own = _committed(item, _alter(item.message, rng), rng.randbytes(DIGEST_SIZE))
    ways: list[Mapping[str, object]] = [own | {"stamp": rng.randbytes(DIGEST_SIZE)}]
    if item.stamp:
        ways += [
            own | {"stamp": item.stamp},
            {"stamp": _alter(item.stamp, rng)},
            {"commitment": away.commitment, "stamp": away.stamp},
            {"key": b"", "commitment": b"", "stamp": b""},
            {"key": b"", "commitment": b"", "stamp": b"", "mode": "tls"},
        ]
    return _with(report, **rng.choice(ways))


def _committed(item: Item, message: bytes, key: bytes) -> dict[str, object]:
    commitment = franking.commitment(key, item.conversation, item.id, message)
    return {"message": message, "key": key, "commitment": commitment}


def _alter(data: bytes, rng: random.Random) -> bytes:
    """One byte of ``data`` altered."""
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= rng.randrange(1, 256)
    return bytes(changed)


_WAYS: Mapping[str, Way] = {
    "text": _text,
    "sender": _sender,
    "reporter": _reporter,
    "place": _place,
    "proof": _proof,
}
