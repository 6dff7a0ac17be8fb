"""What will be run: modes, trace, sizes, order. Pure; nothing here starts anything."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from operator import ge, gt, le, lt
from pathlib import Path

from client.compare import results
from client.compare.results import Results
from client.compare.results import Threshold as Verdict
from client.compare.trace import Trace, load
from crypto_modes.errors import BadArgument

_OPERATORS = {"<": lt, "<=": le, ">": gt, ">=": ge}
_CONDITION = re.compile(r"\s*([a-z0-9_.]+?)\s*(<=|>=|<|>)\s*([0-9.]+)\s*")


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured. ``duration`` is of the steady state of one round, in seconds;
    ``acquaintances`` all write to each other once, one pair after the other (``steps``);
    ``forgeries`` of reports are judged in each mode; ``ladder`` is how often each ingredient is
    timed, ``floors`` how often a relay is saturated in each of its settings for it."""

    users: int
    rate: float
    warmup: float
    duration: float
    rounds: int
    slices: int
    pairs: int = 4
    window: int = 128
    slice_seconds: float = 0.5
    acquaintances: int = 3
    forgeries: int = 300
    ladder: int = 15
    floors: int = 0


QUICK = Size(users=12, rate=120, warmup=0.5, duration=3, rounds=1, slices=3, ladder=7)
DEFAULT = Size(users=24, rate=150, warmup=0.5, duration=4, rounds=3, slices=3, acquaintances=5)
FULL = Size(users=60, rate=200, warmup=2, duration=20, rounds=6, slices=12, acquaintances=8,
            forgeries=10_000, ladder=40, floors=3)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A condition on a number of the results; crossed where it does not hold."""

    text: str
    path: str
    sign: str
    bound: float

    def judge(self, found: Results) -> Verdict:
        """Whether it holds. What was not measured cannot hold."""
        value = results.lookup(found, self.path)
        crossed = value is None or not _OPERATORS[self.sign](value, self.bound)
        return Verdict(text=self.text, value=value, crossed=crossed)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One comparison."""

    modes: tuple[str, ...]
    trace: Trace
    size: Size
    seed: int
    thresholds: tuple[Threshold, ...]
    out: Path
    argv: tuple[str, ...]

    def order(self, number: int) -> tuple[str, ...]:
        """The modes in the order in which they run in this round: ABC CBA ABC …, so that a
        machine that slowly warms up, or slows down, favours nobody."""
        return self.modes if number % 2 == 0 else self.modes[::-1]


def modes(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """The modes named in ``text``, separated by commas. Raises ``BadArgument``."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names or len(set(names)) != len(names):
        raise BadArgument("--modes takes each mode once, for example --modes tls,e2ee")
    for name in names:
        if name not in known:
            raise BadArgument(f"no mode {name!r}; there are {', '.join(known)}")
    return names


def threshold(text: str, chosen: Sequence[str]) -> Threshold:
    """Parse ``MODE.MEASURE<NUMBER``. Raises ``BadArgument``, also for a measure there is not."""
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise BadArgument(
            f"--threshold takes a condition such as 'e2ee.latency_ms.p99<50', not {text!r}"
        )
    path, sign, bound = found.groups()
    mode, _, measure = path.partition(".")
    if mode not in chosen:
        raise BadArgument(f"--threshold {text!r}: {mode!r} is not among the modes compared")
    results.check_path(measure)
    return Threshold(text=text, path=path, sign=sign, bound=float(bound))


def make_trace(name: str, size: Size, seed: int) -> Trace:
    """The trace called ``synthetic`` or ``chitchat``, or from a file. Raises ``BadArgument``."""
    from client.compare.corpora import chitchat
    from client.compare.traffic import synthetic

    makers = {"synthetic": synthetic, "chitchat": chitchat}
    maker = makers.get(name)
    if maker is None:
        return load(Path(name))
    seconds = size.warmup + size.duration
    return maker(seed=seed, users=size.users, rate=size.rate, seconds=seconds)
