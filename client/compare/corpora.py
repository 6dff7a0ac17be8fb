"""Real conversations as traffic: the ``chitchat-dataset`` package, an extra.

Only reading and cleaning live here. 4,018 two-sided conversations, 243,046 messages, MIT.
Nothing of it is in this repository; it is read from the installed package.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime
from importlib.resources import files

import msgspec

from client.compare.trace import Trace
from client.compare.traffic import GAPS, Said, assemble, draw, seeded
from crypto_modes import wire
from crypto_modes.errors import BadArgument

PACKAGE = "chitchat_dataset"


class _Utterance(msgspec.Struct):
    text: str
    timestamp: datetime
    sender: str


class _Conversation(msgspec.Struct):
    messages: list[list[_Utterance]]


def chitchat(*, seed: int, users: int, rate: float, seconds: float) -> Trace:
    """A trace of real conversations, drawn and laid out as the seed says.

    Raises:
        BadArgument: the package is not installed.
    """
    rng = seeded(seed, "chitchat")
    source = _endless(two_sided(), rng)
    return assemble("chitchat", source, seed=seed, users=users, rate=rate, seconds=seconds)


def two_sided() -> list[list[_Utterance]]:
    """The conversations in which both people say something, as flat lists.

    Raises:
        BadArgument: the package is not installed.
    """
    try:
        raw = files(PACKAGE).joinpath("dataset.json").read_bytes()
    except ModuleNotFoundError:
        raise BadArgument(
            "the trace 'chitchat' needs the package chitchat-dataset: "
            "pip install 'louver[traces]', or use --trace synthetic"
        ) from None
    every = msgspec.json.decode(raw, type=dict[str, _Conversation])
    flat = ([u for turn in c.messages for u in turn if u.text] for c in every.values())
    return [said for said in flat if len({u.sender for u in said}) == 2]


def _endless(everyone: list[list[_Utterance]], rng: random.Random) -> Iterator[list[Said]]:
    while True:
        yield spread(rng.choice(everyone), rng)


def spread(utterances: list[_Utterance], rng: random.Random) -> list[Said]:
    """Gaps from timestamps; messages back-filled into one second get gaps of fitted chat.

    The stamps have whole seconds, and some seconds hold a whole pasted conversation: taken as
    they stand, these would be bursts nobody typed.
    """
    first = utterances[0].sender
    before = utterances[0].timestamp
    said = []
    for utterance in utterances:
        gap = (utterance.timestamp - before).total_seconds()
        before = utterance.timestamp
        text = utterance.text.encode()[: wire.CONTENT_LIMIT].decode(errors="ignore")
        said.append(Said(gap if gap > 0 else draw(GAPS, rng), int(utterance.sender != first), text))
    return said
