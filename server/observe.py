"""What a relay counts, for Prometheus: latencies per mode, frames, errors, closes, gauges.

Only counting lives here. The hot path touches plain integers (an observation costs about
150 ns, a count 50); Prometheus' own objects exist only while it asks. Labels come from closed
sets, so no client can make new time series.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from itertools import accumulate
from typing import get_args

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from crypto_modes import scanning, wire
from server import logs

# Seconds, five per decade from 10 us to 100 s, so that every percentile is within 26 %.
BOUNDS = tuple(round(10 ** (step / 5) * 1e-5, 10) for step in range(36))
# RFC 6455, 7.4.1; our own; and the statuses of refused handshakes.
_CLOSES = frozenset({*range(1000, 1016), *wire.CLOSES, *(status.value for status in HTTPStatus)})
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FRAME_TYPES = tuple(str(frame.__struct_config__.tag) for frame in get_args(wire.ClientFrame))
_LABELS = (*map(str, BOUNDS), "+Inf")


class Histogram:
    """Durations in seconds, counted in ``BOUNDS``."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration. A clock that stepped back counts as zero."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        if seconds > 0.0:
            self.total += seconds


class ModeMetrics:
    """One mode: ``accepted`` from a frame's arrival to its durable ``accepted``, ``delivered``
    from durable to written towards the recipient.
    """

    __slots__ = ("accepted", "delivered")

    def __init__(self) -> None:
        self.accepted = Histogram()
        self.delivered = Histogram()


class Metrics(Collector):
    """Everything one relay counts; hold on to its parts in the hot path::

    mode = metrics.mode("e2ee")
    mode.accepted.observe(seconds)
    metrics.frames["send"] += 1        # tags of wire.ClientFrame
    metrics.errors[error.code] += 1    # wire.CODES
    metrics.closes[code] += 1          # wire.CLOSES and RFC 6455's
    """

    def __init__(self) -> None:
        # Plain dicts with every key: faster than a Counter, and Prometheus sees zeros.
        self.frames = dict.fromkeys(_FRAME_TYPES, 0)
        self.errors = dict.fromkeys(wire.CODES, 0)
        self.closes: Counter[int] = Counter()
        self.hits: dict[str, int] = dict.fromkeys(scanning.ACTIONS, 0)
        self.duplicates = 0
        self._info: dict[str, str] = {}
        self._modes: dict[str, ModeMetrics] = {}
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def mode(self, name: str) -> ModeMetrics:
        """The counts of a registered mode; a new one the first time."""
        return self._modes.setdefault(name, ModeMetrics())

    def identify(self, **info: str) -> None:
        """Labels of ``louver_relay_info``: version, durability, loop; known once started."""
        self._info |= info

    def gauge(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """``read`` is asked at each scrape; ``louver_`` is put before ``name``."""
        self._gauges[f"louver_{name}"] = (meaning, read)

    def exposition(self) -> bytes:
        """The page for Prometheus, of type ``CONTENT_TYPE``."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at each scrape."""
        yield InfoMetricFamily("louver_relay", "What runs", value=self._info)
        yield self._messages()
        for stage, meaning in (
            ("accepted", "From a message's arrival to its durable confirmation"),
            ("delivered", "From durable to written towards the recipient"),
        ):
            yield self._latencies(stage, meaning)
        yield _counts("frames", "Frames received", "type", self.frames)
        errors = {wire.CODES[code]: count for code, count in self.errors.items()}
        yield _counts("errors", "Requests refused", "name", errors)
        yield _counts(
            "closes",
            "Connections closed, or refused with a status of HTTP",
            "code",
            self._by_close(),
        )
        yield _counts("scanned", "Messages that lists found something in", "action", self.hits)
        yield _total("duplicates", "Messages sent again with the same id", self.duplicates)
        yield _total("log_fields_dropped", "Log fields not on the list", logs.dropped())
        for name, (meaning, read) in self._gauges.items():
            yield GaugeMetricFamily(name, meaning, value=read())

    def _messages(self) -> Metric:
        family = CounterMetricFamily("louver_messages", "Messages made durable", labels=["mode"])
        for name, mode in self._modes.items():
            family.add_metric([name], sum(mode.accepted.counts))
        return family

    def _latencies(self, stage: str, meaning: str) -> Metric:
        family = HistogramMetricFamily(f"louver_{stage}_seconds", meaning, labels=["mode"])
        for name, mode in self._modes.items():
            histogram: Histogram = getattr(mode, stage)
            buckets = list(zip(_LABELS, accumulate(histogram.counts), strict=True))
            family.add_metric([name], buckets, histogram.total)
        return family

    def _by_close(self) -> dict[str, int]:
        """A peer may close with any number; only the known ones get a label of their own."""
        known: Counter[str] = Counter()
        for code, count in self.closes.items():
            known[str(code) if code in _CLOSES else "other"] += count
        return dict(known)


def _counts(name: str, meaning: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"louver_{name}", meaning, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def _total(name: str, meaning: str, count: int) -> Metric:
    return CounterMetricFamily(f"louver_{name}", meaning, value=count)
