"""SIGKILL of the relay at random moments under load: no message that was acknowledged is lost.

What may live here: the loop. A killed process keeps what the system's cache holds, so this shows
the order of commit and acknowledgement, recovery and resumption; the syncs are ``powercut``'s.
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

from tests.harness.process import RelayProcess
from tests.harness.report import Result
from tests.harness.talkers import Company

PLANTS = ("early_ack", "forgetful_delivery")


async def run(
    place: Path, *, kills: int, pairs: int = 4, seed: int = 0, planted: str = ""
) -> Result:
    """``kills`` kills, each some time after the relay was ready again."""
    chance = random.Random(seed)
    began = time.monotonic()
    relay = RelayProcess(place, planted=planted)
    await relay.start()
    company = Company(pairs, lambda: relay.url, seed)
    try:
        await company.enter()
        company.start()
        for _ in range(kills):
            await company.talks()
            await asyncio.sleep(chance.uniform(0.05, 0.6))
            await relay.kill()
            company.history.forgiven()
            await relay.start()
        await asyncio.sleep(1.0)  # what a restart heals must not hide what a relay forgets
        await company.finish()
    finally:
        for talker in company.talkers:
            await talker.stop()
        await relay.stop()
    wrong = company.history.verdict()
    figures = {
        "kills": kills,
        "accepted": company.history.accepted,
        "reconnects": company.reconnects,
    }
    seconds = time.monotonic() - began
    return Result("kill", dict(figures), wrong, company.history.examples, planted, seconds)
