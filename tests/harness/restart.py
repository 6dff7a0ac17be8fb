"""Draining and starting again under load: nothing lost, nothing twice, everybody told to come back.

What may live here: the loop. Unlike after a kill, a drained relay has written its cursors: what a
device acked must not come again (``stale``), and the process must end by itself with code 0.
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

from tests.harness.process import RelayProcess
from tests.harness.report import Result
from tests.harness.talkers import Company

PLANTS = ("forgetful_delivery", "late_marks")


async def run(
    place: Path, *, restarts: int, pairs: int = 4, seed: int = 0, planted: str = ""
) -> Result:
    """``restarts`` drains by SIGTERM, each some time after the relay was ready again."""
    chance = random.Random(seed)
    began = time.monotonic()
    relay = RelayProcess(place, planted=planted)
    await relay.start()
    company = Company(pairs, lambda: relay.url, seed)
    unclean = 0
    try:
        await company.enter()
        company.start()
        for _ in range(restarts):
            await company.talks()
            await asyncio.sleep(chance.uniform(0.3, 1.0))
            unclean += await relay.drain() != 0
            await relay.start()
        await asyncio.sleep(1.0)
        await company.finish()
    finally:
        for talker in company.talkers:
            await talker.stop()
        await relay.stop()
    wrong = company.history.verdict() | {"unclean exit": unclean}
    figures = {
        "restarts": restarts,
        "accepted": company.history.accepted,
        "reconnects": company.reconnects,
    }
    seconds = time.monotonic() - began
    return Result("restart", dict(figures), wrong, company.history.examples, planted, seconds)
