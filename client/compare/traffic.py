"""Synthetic one-to-one chat, fitted to measured chat; and the clock that warps it.

What may live here: the fitted distributions, drawing conversations from them, laying
conversations of any origin on one time line, and injecting labels and canaries. No file, no
network. Everything follows from the seed.

The quantiles were measured on 4,018 two-sided conversations of the MIT-licensed
``chitchat-dataset`` (sizes in bytes, gaps in seconds); between them lengths are drawn
log-linearly.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from client.compare.canary import SIZE as CANARY_SIZE
from client.compare.canary import Canaries
from client.compare.trace import Row, Trace
from crypto_modes.errors import BadArgument

SIZES = ((0.0, 1), (0.05, 5), (0.1, 7), (0.25, 18), (0.5, 36), (0.75, 67), (0.9, 110),
         (0.95, 143), (0.99, 174), (0.9995, 175), (1.0, 672))  # fmt: skip
GAPS = ((0.0, 0.5), (0.1, 3), (0.25, 6), (0.5, 13), (0.75, 30), (0.9, 63), (0.95, 101),
        (0.99, 308), (0.999, 3300), (1.0, 7200))  # fmt: skip
LENGTHS = ((0.0, 2), (0.25, 3), (0.5, 6), (0.75, 28), (0.95, 155), (0.99, 300), (1.0, 600))
TURN = 1.86  # messages before the other one speaks

SPAM_SHARE = 0.02
SEVERE_SHARE = 0.01
CANARY_COUNT = 48
HORIZON = 3 * 3600.0  # seconds of chat time in which conversations begin
KNOTS = 24  # pieces of the warped clock

_LEXICON = (
    "the and you that was for are with his they this have from one had word but not what all "
    "were when your can said there use each which she how their will other about out many then "
    "them these some her would make like him into time has look two more write see number way "
    "could people than first water been call who now find long down day did get come made may "
    "café naïve über señor 東京 🙂 👍"
)
_WORDS = _LEXICON.split()
_SPAM = "Congratulations! You won a prize, claim it at prize.example"


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a conversation: ``gap`` seconds after the one before, by ``side`` 0 or 1."""

    gap: float
    side: int
    text: str


def draw(anchors: Sequence[tuple[float, float]], rng: random.Random) -> float:
    """A value whose quantiles are the anchors, log-linear between them."""
    u = rng.random()
    right = min(bisect_right(anchors, u, key=lambda a: a[0]), len(anchors) - 1)
    (p0, x0), (p1, x1) = anchors[right - 1], anchors[right]
    return x0 * math.exp((u - p0) / (p1 - p0) * math.log(x1 / x0))


def seeded(seed: int, purpose: str) -> random.Random:
    """A generator of its own for each purpose, so that one more draw here shifts nothing there."""
    return random.Random(f"{seed} {purpose}")  # noqa: S311  traffic must repeat; nothing is secret


def text_of(size: int, rng: random.Random) -> str:
    """Harmless words, cut to exactly ``size`` bytes of UTF-8."""
    words: list[str] = []
    length = -1
    while length < size:
        words.append(rng.choice(_WORDS))
        length += len(words[-1].encode()) + 1
    cut = " ".join(words).encode()[:size].decode(errors="ignore")
    return cut + "." * (size - len(cut.encode()))


def conversations(rng: random.Random) -> Iterator[list[Said]]:
    """Endless synthetic conversations."""
    while True:
        said = []
        side = 0
        for position in range(round(draw(LENGTHS, rng))):
            if position and rng.random() < 1 / TURN:
                side = 1 - side
            gap = draw(GAPS, rng)
            said.append(Said(gap, side, text_of(round(draw(SIZES, rng)), rng)))
        yield said


def synthetic(*, seed: int, users: int, rate: float, seconds: float) -> Trace:
    """A trace of about ``rate`` messages a second for ``seconds`` among ``users`` people."""
    source = conversations(seeded(seed, "conversations"))
    return assemble("synthetic", source, seed=seed, users=users, rate=rate, seconds=seconds)


def assemble(
    name: str,
    source: Iterator[list[Said]],
    *,
    seed: int,
    users: int,
    rate: float,
    seconds: float,
) -> Trace:
    """Lay conversations on one time line, warp it to a steady rate, inject labels and canaries.

    Raises:
        BadArgument: too few users, or a rate and duration that leave no messages.
    """
    wanted = round(rate * seconds)
    if users < 2 or wanted < 2 * CANARY_COUNT:
        raise BadArgument(
            f"a comparison needs at least 2 users and {2 * CANARY_COUNT} messages "
            f"(rate × duration), not {users} and {wanted}"
        )
    rng = seeded(seed, "assemble")
    pairs = friends(users, rng)
    planned: list[tuple[float, int, int, str]] = []
    while len(planned) < wanted:
        ends = rng.choice(pairs)
        clock = rng.random() * HORIZON
        for said in next(source)[: wanted - len(planned)]:
            clock += said.gap
            planned.append((clock, ends[said.side], ends[1 - said.side], said.text))
    planned.sort(key=lambda row: row[0])
    times = warp([row[0] for row in planned], seconds)
    texts, labels = inject([row[3] for row in planned], seed)
    rows = tuple(
        Row(round(at * 1e6), row[1], row[2], "text", text, label)
        for at, row, text, label in zip(times, planned, texts, labels, strict=True)
    )
    return Trace(name, seed, users, rows)


def friends(users: int, rng: random.Random) -> list[tuple[int, int]]:
    """Who talks with whom: everyone with somebody, some with several; 1.5 pairs a user."""
    order = rng.sample(range(users), users)
    pairs = {(min(p), max(p)) for p in zip(order, order[1:] + order[:1], strict=True)}
    while len(pairs) < min(round(1.5 * users), users * (users - 1) // 2):
        a, b = rng.sample(range(users), 2)
        pairs.add((min(a, b), max(a, b)))
    return [p if rng.random() < 0.5 else (p[1], p[0]) for p in sorted(pairs)]


def warp(times: Sequence[float], seconds: float) -> list[float]:
    """Map sorted chat times to 0 … ``seconds``: fast where few talk, slow where many do.

    The rate becomes steady over ``KNOTS`` pieces; order and bursts inside a piece stay.
    """
    step = max(1, math.ceil((len(times) - 1) / KNOTS))
    marks = [*range(0, len(times) - 1, step), len(times) - 1]
    warped: list[float] = [0.0]
    for low, high in pairwise(marks):
        start, span = times[low], times[high] - times[low]
        t0, t1 = (seconds * mark / (len(times) - 1) for mark in (low, high))
        for i in range(low + 1, high + 1):
            share = (times[i] - start) / span if span > 0 else (i - low) / (high - low)
            warped.append(t0 + (t1 - t0) * share)
    return warped


def inject(texts: list[str], seed: int) -> tuple[list[str], list[str]]:
    """Put labelled cases and canaries into messages large enough that no size changes.

    ``spam`` is made-up advertising, ``severe`` a harmless marker such as ``HARM-0007`` that
    stands for content nobody should have to store; the rest are unlabelled.
    """
    rng = seeded(seed, "inject")
    need = max(CANARY_SIZE, len("HARM-0000")) + 2
    roomy = [i for i, text in enumerate(texts) if len(text.encode()) >= need]
    spam, severe = (round(len(texts) * share) for share in (SPAM_SHARE, SEVERE_SHARE))
    chosen = rng.sample(roomy, min(len(roomy), CANARY_COUNT + spam + severe))
    texts, labels = list(texts), [""] * len(texts)
    canaries = Canaries(str(seed))
    for number, row in enumerate(chosen):
        if number < CANARY_COUNT:
            texts[row] = _replace(texts[row], canaries.make(number))
        elif number < CANARY_COUNT + spam:
            texts[row] = _replace(texts[row], f"SPAM-{number:04d} {_SPAM}")
            labels[row] = "spam"
        else:
            texts[row] = _replace(texts[row], f"HARM-{number:04d}")
            labels[row] = "severe"
    return texts, labels


def _replace(text: str, start: str) -> str:
    """``text`` beginning with ``start``, at the old size in bytes (never shorter than a marker)."""
    size = len(text.encode())
    head = f"{start} ".encode()[:size]
    tail = text.encode()[len(head) :].decode(errors="ignore")
    body = head.decode(errors="ignore") + tail
    return body + "." * (size - len(body.encode()))
