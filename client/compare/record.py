"""Raw data on disk: every sample and every block, from which all reports are derived.

Only files live here: ``samples.csv.gz`` (one line per message), ``blocks.csv.gz`` (one line per
second of an instrument) and ``latency-MODE.hlog`` (HdrHistogram log, for other tools). Times in
samples are whole microseconds after the start of their round; -1 means that it never happened.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar, get_type_hints

from crypto_modes.errors import BadArgument

SAMPLES = "samples.csv.gz"
BLOCKS = "blocks.csv.gz"
NEVER = -1
_HIGHEST_US = 3_600_000_000

Phase = Literal["first", "warmup", "steady"]


class Sample(NamedTuple):
    """One message: when it was planned, handed to the client library, durable, and opened."""

    mode: str
    round: int
    phase: str
    row: int
    size: int
    planned_us: int
    sent_us: int
    accepted_us: int
    opened_us: int


class Block(NamedTuple):
    """One second (or slice) of an instrument, ``latency`` or ``saturation``."""

    mode: str
    round: int
    instrument: str
    block: int
    seconds: float
    messages: int
    server_cpu_us: float
    client_cpu_us: float


T = TypeVar("T", Sample, Block)


def write(directory: Path, samples: Iterable[Sample], blocks: Iterable[Block]) -> None:
    """Write both tables."""
    _write(directory / SAMPLES, Sample._fields, samples)
    _write(directory / BLOCKS, Block._fields, blocks)


def read(directory: Path) -> tuple[list[Sample], list[Block]]:
    """Read both tables.

    Raises:
        BadArgument: a table is missing or is not ours.
    """
    return _read(directory / SAMPLES, Sample), _read(directory / BLOCKS, Block)


def can_write_hlog() -> bool:
    """Whether its library is there: it has no wheel for Linux on ARM."""
    return find_spec("hdrh") is not None


def write_hlog(path: Path, latencies_us: Iterable[float], title: str) -> None:
    """A histogram log of latencies in microseconds, three significant digits.

    Only where ``can_write_hlog``. Nothing else is made of it: the samples hold the same.
    """
    from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]  # it ships no types
    from hdrh.log import HistogramLogWriter  # type: ignore[import-untyped]  # nor here

    histogram = HdrHistogram(1, _HIGHEST_US, 3)
    for value in latencies_us:
        histogram.record_value(min(max(int(value), 1), _HIGHEST_US))
    with path.open("w") as file:
        log = HistogramLogWriter(file)
        log.output_comment(f"[{title}; values in microseconds from the planned time]")
        log.output_log_format_version()
        log.output_legend()
        log.output_interval_histogram(histogram, 0.001, 1.0, 1.0)


def _write(path: Path, fields: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(fields)
    table.writerows(rows)
    # No name and no time in the header, so that equal data gives equal bytes.
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def _read(path: Path, kind: type[T]) -> list[T]:
    kinds = list(get_type_hints(kind).values())
    try:
        rows = csv.reader(io.StringIO(gzip.decompress(path.read_bytes()).decode()))
        if tuple(next(rows, ())) != kind._fields:
            raise BadArgument(f"{path} has not the columns {', '.join(kind._fields)}")
        return [kind(*(t(c) for t, c in zip(kinds, row, strict=True))) for row in rows]
    except (OSError, EOFError, ValueError) as error:
        raise BadArgument(f"cannot read {path}: {error}") from None
