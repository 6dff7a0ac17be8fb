"""Hostile clients beside good ones: the good ones' messages are accepted as fast as before.

What may live here: the two phases, calm and under attack, and what is compared. The attackers are
in ``attackers``; the relay has the limits it is shipped with, but for
how many may log in at once. How much slower the good ones get is
told and not judged, unless they are not served any more: on a machine with few processors the
attackers themselves take the time.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from crypto_modes import wire
from tests.harness.process import ROOT, RelayProcess
from tests.harness.report import Result
from tests.harness.talkers import Company, Talker
from tests.raw_client import RawClient

PLANTS = ("boundless_outbox",)
# The relay's memory, in bytes: so much, and what its settings let wait for each slow reader. These
# readers ask for the dearest answer there is, a page of 256 KiB, again and again.
GROWTH = 64 * 2**20
OUTBOX = 2**20
ABSURD_SECONDS = 5.0
_PACE = (0.03, 0.06)  # between two messages of a good client; the relay's limit is one in 0.02 s


class PacedTalker(Talker):
    """Sends one message after the other, not faster than allowed, and measures the answers."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.took: list[float] = []
        self._window = 1
        self._asked = 0.0

    async def _send(self, client: RawClient, id_: bytes) -> None:
        await asyncio.sleep(self._chance.uniform(*_PACE))
        self._asked = time.monotonic()
        await super()._send(client, id_)

    def _accepted(self, frame: wire.Accepted) -> None:
        self.took.append(time.monotonic() - self._asked)
        super()._accepted(frame)


class PacedCompany(Company):
    """A company of such."""

    kind = PacedTalker

    def took(self) -> list[float]:
        """The seconds that each answer since the last call took, ascending."""
        found: list[float] = []
        for talker in self.talkers:
            assert isinstance(talker, PacedTalker)
            found += talker.took
            talker.took = []
        return sorted(found)


async def run(
    place: Path,
    *,
    seconds: float,
    headers: int,
    readers: int,
    floods: int,
    pairs: int = 4,
    seed: int = 0,
    planted: str = "",
) -> Result:
    """``seconds`` of calm and as many under attack."""
    began = time.monotonic()
    relay = RelayProcess(place, planted=planted, strict=True)
    await relay.start()
    company = PacedCompany(pairs, lambda: relay.url, seed)
    try:
        await company.enter()
        company.start()
        await asyncio.sleep(1.0)
        company.took()
        await asyncio.sleep(seconds)
        calm, before = company.took(), relay.memory()
        tried, most = await _under_attack(relay, seconds, (headers, readers, floods))
        attacked = company.took()
        await company.finish()
    finally:
        for talker in company.talkers:
            await talker.stop()
        await relay.stop()
    slow, quick = percentile(attacked, 99), percentile(calm, 99)
    wrong = company.history.verdict() | {
        "memory": int(most - before > GROWTH + readers * OUTBOX),
        "not served": int(not attacked),
        "hardly served": int(slow > ABSURD_SECONDS),
    }
    figures: dict[str, float | int | str] = {
        "slow headers": headers,
        "slow readers": readers,
        "flooders": 3 * floods,
        "logins tried": tried.get("logins", 0),
        "accepted": company.history.accepted,
        "reconnects": company.reconnects,
        "ms p99 in calm": round(quick * 1000, 1),
        "ms p99 under attack": round(slow * 1000, 1),
        "x slower": round(slow / quick, 1),
        "MiB grown": round((most - before) / 2**20, 1),
    }
    spent = time.monotonic() - began
    return Result("hostile", figures, wrong, company.history.examples, planted, spent)


def percentile(ascending: list[float], percent: int) -> float:
    """Of measured values; infinite where nothing was measured."""
    if not ascending:
        return float("inf")
    return ascending[min(len(ascending) * percent // 100, len(ascending) - 1)]


async def _under_attack(
    relay: RelayProcess, seconds: float, counts: tuple[int, int, int]
) -> tuple[dict[str, int], int]:
    """What the attackers tried, and the most memory that the relay used meanwhile, in bytes."""
    module = (sys.executable, "-m", "tests.harness.attackers", str(relay.port), str(seconds))
    process = await asyncio.create_subprocess_exec(
        *module, *map(str, counts), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    if await process.stdout.readline() != b"ready\n":
        raise RuntimeError("the attackers could not begin")
    answer = asyncio.create_task(process.stdout.read())
    most = 0
    while not answer.done():
        most = max(most, relay.memory())
        await asyncio.wait([answer], timeout=0.1)
    await process.wait()
    return json.loads(await answer), most
