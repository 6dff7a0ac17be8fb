"""Percentiles and bootstrap intervals: arithmetic on arrays, and nothing else.

Samples of one second are alike and rounds drift, so resampling single messages would promise
far too much: the bootstrap draws whole rounds, and inside them whole blocks (of one second), both
with replacement. Two modes of one run are drawn with the same rounds, because they were
interleaved and share the machine's drift.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from client.compare.results import Estimate, Interval, Summary

Array = NDArray[np.float64]
Rounds = Sequence[Sequence[Array]]
Statistic = Callable[[Array], float]

RESAMPLES = 1000
LEVEL = 95.0


def summary(samples: Array) -> Summary:
    """The percentiles of ``samples``, in their unit.

    Raises:
        ValueError: there are none; an empty distribution has no percentile.
    """
    if not samples.size:
        raise ValueError("no samples to summarise")
    points = np.percentile(samples, [50, 90, 95, 99, 99.9, 100])
    names = ("p50", "p90", "p95", "p99", "p999", "max")
    numbers = {name: round(float(point), 4) for name, point in zip(names, points, strict=True)}
    return Summary(count=int(samples.size), **numbers)


def percentile(point: float) -> Statistic:
    """The statistic "percentile ``point``" of one-dimensional blocks."""

    def at(samples: Array) -> float:
        # Like np.percentile, linear between ranks, in a sixth of its time: it runs in a loop.
        rank = (samples.size - 1) * point / 100
        low = int(rank)
        high = min(low + 1, samples.size - 1)
        ordered = np.partition(samples, (low, high))
        return float(ordered[low] + (ordered[high] - ordered[low]) * (rank - low))

    return at


def quotient(pairs: Array) -> float:
    """The statistic "sum over sum" of blocks of (numerator, denominator) rows."""
    top, bottom = pairs.sum(axis=0)
    return float(top / bottom) if bottom else float("nan")


def ratio(
    over: Rounds,
    under: Rounds,
    statistic: Statistic,
    *,
    seed: int,
    paired: bool,
    resamples: int = RESAMPLES,
) -> Interval:
    """``statistic(over) / statistic(under)`` with its bootstrap interval.

    ``paired`` draws the same rounds on both sides. Without at least two blocks on both sides
    there is a value but no interval.
    """
    value = statistic(_join(over)) / statistic(_join(under))
    if min(sum(map(len, over)), sum(map(len, under))) < 2:
        return Interval(value=_digits(value))
    rng = np.random.default_rng(seed)
    drawn = np.empty(resamples)
    for i in range(resamples):
        picks = rng.integers(len(over), size=len(over))
        others = picks if paired else rng.integers(len(under), size=len(under))
        drawn[i] = statistic(_draw(over, picks, rng)) / statistic(_draw(under, others, rng))
    low, high = np.nanpercentile(drawn, [50 - LEVEL / 2, 50 + LEVEL / 2])
    return Interval(value=_digits(value), low=_digits(float(low)), high=_digits(float(high)))


def median(samples: Array, *, seed: int, resamples: int = RESAMPLES) -> Estimate:
    """The median of independent ``samples`` with its bootstrap interval; none for fewer than 3."""
    value = _digits(float(np.median(samples)))
    if samples.size < 3:
        return Estimate(value=value)
    rng = np.random.default_rng(seed)
    drawn = np.median(rng.choice(samples, (resamples, samples.size)), axis=1)
    low, high = np.percentile(drawn, [50 - LEVEL / 2, 50 + LEVEL / 2])
    return Estimate(value=value, low=_digits(float(low)), high=_digits(float(high)))


def _draw(rounds: Rounds, picks: NDArray[np.int64], rng: np.random.Generator) -> Array:
    blocks: list[Array] = []
    for pick in picks:
        chosen = rounds[pick]
        blocks += [chosen[i] for i in rng.integers(len(chosen), size=len(chosen))]
    return np.concatenate(blocks)


def _join(rounds: Rounds) -> Array:
    return np.concatenate([block for blocks in rounds for block in blocks])


def _digits(value: float) -> float:
    return float(f"{value:.4g}")
