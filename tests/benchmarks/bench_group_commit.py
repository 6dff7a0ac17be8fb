"""How long a message waits for the disk, by how many share a commit: the price of a batch.

    python -m tests.benchmarks.bench_group_commit [--seconds 2] [--rounds 3]

The real store alone, every commit synced, records of 200 bytes in a hundred conversations. First so
many messages are always on their way, with the limit that is shipped: the commits take the size
that the load gives them. Then ``CROWD`` are, with other limits on how many may share a commit. The
time is from handing a message over to hearing that it is durable. Sizes are means; medians of the
rounds, which take turns. Asserts nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from server.store.sqlite import SqliteStore, writer
from tests.store_entries import Entry, settle

FLYING = (1, 4, 16, 64, 256, 1024)
CROWD = 256
LIMITS = (1, 8, 64, 512)
CONVERSATIONS = 100
RECORD = os.urandom(200)


class Figures(NamedTuple):
    """Messages for a commit, milliseconds until durable, and messages for a second."""

    size: float
    p50: float
    p99: float
    rate: float


async def measure(data: Path, flying: int, limit: int, seconds: float) -> Figures:
    """``flying`` messages on their way for ``seconds``, at most ``limit`` in a commit."""
    sizes: list[int] = []
    commit = writer.Writer._commit

    def counted(self: writer.Writer, entries: list[Entry], *rest: list[object]) -> None:
        sizes.append(len(entries))
        commit(self, entries, *rest)  # type: ignore[arg-type]  # handed on as it came

    with patch.object(writer, "BATCH", limit), patch.object(writer.Writer, "_commit", counted):
        store = SqliteStore(data, on_fatal=lambda error: say(str(error)))
        await store.open()
        talks = [os.urandom(16) for _ in range(CONVERSATIONS)]
        await settle(store, *(Entry(talk) for talk in talks))
        sizes.clear()
        began = time.perf_counter()
        waits = await keep(store, talks, flying, seconds)
        took = time.perf_counter() - began
        await store.close()
    waits.sort()
    written = [size for size in sizes if size]
    at = {quantile: waits[int(len(waits) * quantile)] * 1e3 for quantile in (0.5, 0.99)}
    return Figures(statistics.fmean(written), at[0.5], at[0.99], len(waits) / took)


async def keep(store: SqliteStore, talks: list[bytes], flying: int, seconds: float) -> list[float]:
    """The seconds that each message took; a new one follows each that is durable."""
    waits: list[float] = []
    asked: dict[bytes, float] = {}
    silent = asyncio.Event()
    until = time.perf_counter() + seconds

    def send() -> None:
        entry = Entry(random.choice(talks), record=RECORD, told=told)
        asked[entry.id] = time.perf_counter()
        store.append(entry)

    def told(entry: Entry) -> None:
        now = time.perf_counter()
        waits.append(now - asked.pop(entry.id))
        if now < until:
            send()
        elif not asked:
            silent.set()

    for _ in range(flying):
        send()
    await silent.wait()
    return waits


def table(title: str, rows: dict[int, list[Figures]]) -> None:
    """One row for each setting, with ratios to the first."""
    heads = f"{'a commit':>10}{'p50 ms':>10}{'p99 ms':>10}{'messages/s':>12}{'p50':>8}{'rate':>8}"
    say(f"\n{title:<28}{heads}")
    medians = {
        key: Figures(*(statistics.median(each) for each in zip(*found, strict=True)))
        for key, found in rows.items()
    }
    base = next(iter(medians.values()))
    for key, found in medians.items():
        ratios = f"{found.p50 / base.p50:>7.2f}x{found.rate / base.rate:>7.2f}x"
        times = f"{found.p50:>10.2f}{found.p99:>10.2f}"
        say(f"{key:<28}{found.size:>10.1f}{times}{found.rate:>12,.0f}{ratios}")


def main() -> None:
    """Measure in turns and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    shipped = writer.BATCH
    by_load: dict[int, list[Figures]] = {flying: [] for flying in FLYING}
    by_limit: dict[int, list[Figures]] = {limit: [] for limit in LIMITS}
    for _ in range(options.rounds):
        for flying, load in by_load.items():
            load.append(once(flying, shipped, options.seconds))
        for limit, capped in by_limit.items():
            capped.append(once(CROWD, limit, options.seconds))
    table("on their way", by_load)
    table(f"limit, {CROWD} on their way", by_limit)


def once(flying: int, limit: int, seconds: float) -> Figures:
    with tempfile.TemporaryDirectory(prefix="louver-commit-") as place:
        return asyncio.run(measure(Path(place), flying, limit, seconds))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
