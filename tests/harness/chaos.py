"""A misbehaving network between clients and relay: nothing lost, and soon well again.

What may live here: the order of bad weather and calm, and how long it takes until everybody has a
new message accepted after it cleared up.
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

from tests.harness.process import RelayProcess
from tests.harness.report import Result
from tests.harness.talkers import Company
from tests.harness.weather import KINDS, Weather

PLANTS = ("forgetful_delivery",)
RESUME_SECONDS = 2.0  # the promise for the 99th percentile
_PATIENCE = 15.0


async def run(
    place: Path, *, rounds: int, pairs: int = 4, seed: int = 0, planted: str = ""
) -> Result:
    """Every kind of weather ``rounds`` times, in an order that ``seed`` decides."""
    chance = random.Random(seed)
    began = time.monotonic()
    relay = RelayProcess(place, planted=planted)
    await relay.start()
    weather = Weather(relay.port, chance)
    await weather.open()
    company = Company(pairs, lambda: f"ws://127.0.0.1:{weather.port}/", seed)
    resumed: list[float] = []
    try:
        await company.enter()
        company.start()
        forecast = [kind for _ in range(rounds) for kind in KINDS]
        chance.shuffle(forecast)
        for kind in forecast:
            await asyncio.sleep(0.3)
            weather.become(kind)
            await asyncio.sleep(chance.uniform(0.3, 1.2))
            weather.become("calm")
            resumed += await _resume(company)
        await company.finish()
    finally:
        for talker in company.talkers:
            await talker.stop()
        await weather.close()
        await relay.stop()
    resumed.sort()
    slow = resumed[int(len(resumed) * 0.99)]
    wrong = company.history.verdict() | {"slow resume": int(slow > RESUME_SECONDS)}
    figures: dict[str, float | int | str] = {
        "storms": len(forecast),
        "accepted": company.history.accepted,
        "reconnects": company.reconnects,
        "ms resume p99": round(slow * 1000),
    }
    examples = company.history.examples
    return Result("chaos", figures, wrong, examples, planted, time.monotonic() - began)


async def _resume(company: Company) -> list[float]:
    """For each talker, the seconds until it has something accepted again."""
    healed = time.monotonic()
    waiting = {talker: talker.accepted for talker in company.talkers}
    found = []
    while waiting and time.monotonic() - healed < _PATIENCE:
        await asyncio.sleep(0.01)
        for talker, before in list(waiting.items()):
            if talker.accepted > before:
                found.append(time.monotonic() - healed)
                del waiting[talker]
    return found + [_PATIENCE] * len(waiting)
