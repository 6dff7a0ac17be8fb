"""Steady load for a long time: memory, latency, open files and tasks stay what they were.

What may live here: the load, the samples, and what counts as growing. A relay that forgets nothing
of what passes through it grows by the message, which shows in seconds under enough of them; what
grows by the hour needs the full form.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import NamedTuple

from tests.harness.hostile import PacedCompany, percentile
from tests.harness.process import RelayProcess
from tests.harness.report import Result

PLANTS = ("hoarder",)
WARM_SECONDS = 0.25  # of the time: caches fill and the allocator takes its room
# What a process may grow by while it is watched: noise of the allocator, and of SQLite's cache.
SLACK = 16 * 2**20
FILES = 8
SLOWER = 20.0  # times, and half a second: a shared machine has such minutes


class _Sample(NamedTuple):
    at: float
    memory: int
    files: int


async def run(
    place: Path, *, seconds: float, pairs: int = 4, seed: int = 0, planted: str = ""
) -> Result:
    """``seconds`` of talk at a steady pace, sampled a hundred times."""
    began = time.monotonic()
    relay = RelayProcess(place, planted=planted)
    await relay.start()
    company = PacedCompany(pairs, lambda: relay.url, seed)
    samples: list[_Sample] = []
    thirds: list[list[float]] = []
    try:
        await company.enter()
        company.start()
        await asyncio.sleep(seconds * WARM_SECONDS)
        company.took()
        started = time.monotonic()
        for third in range(3):
            while time.monotonic() - started < seconds * (third + 1) / 3:
                samples.append(_Sample(time.monotonic(), relay.memory(), relay.open_files()))
                await asyncio.sleep(seconds / 100)
            thirds.append(company.took())
        await company.finish()
    finally:
        for talker in company.talkers:
            await talker.stop()
        await relay.stop()
    first, last = percentile(thirds[0], 99), percentile(thirds[2], 99)
    slope = _slope(samples)
    grown = slope * (samples[-1].at - samples[0].at)
    files = samples[-1].files - samples[0].files
    wrong = company.history.verdict() | {
        "memory": int(grown > SLACK),
        "open files": int(files > FILES),
        "slower": int(last > first * SLOWER and last > first + 0.5),
    }
    figures: dict[str, float | int | str] = {
        "accepted": company.history.accepted,
        "KiB/s of memory": round(slope / 1024, 1),
        "MiB grown": round(grown / 2**20, 2),
        "files more": files,
        "ms p99 in the first third": round(first * 1000, 1),
        "ms p99 in the last": round(last * 1000, 1),
    }
    spent = time.monotonic() - began
    return Result("soak", figures, wrong, company.history.examples, planted, spent)


def _slope(samples: list[_Sample]) -> float:
    """Of the line that fits the memory best, in bytes a second."""
    middle = sum(each.at for each in samples) / len(samples)
    spread = sum((each.at - middle) ** 2 for each in samples)
    return sum((each.at - middle) * each.memory for each in samples) / spread
