"""A disk that is full, read-only, or fails: temporary errors, no false acknowledgement, recovery.

What may live here: the order of faults and what must follow each. A fault that may pass must be
survived without a restart; a write or a sync that failed for another reason must stop the relay,
since nobody knows what the disk still holds, and a restart on what is really there must lose
nothing.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

import apsw

from server.app import App
from server.settings_tree import Settings
from server.store.sqlite import faults as classes
from server.store.sqlite import writer
from tests.conftest import GENEROUS
from tests.faulty_disk import FaultyDisk, faulty_disk
from tests.harness.report import Result
from tests.harness.talkers import Company
from tests.ports import spare_port

PLANTS = ("sync_again",)


def _error(kind: type[apsw.Error], code: int) -> Callable[[], apsw.Error]:
    def make() -> apsw.Error:
        error = kind("planted")
        error.extendedresult = code
        return error

    return make


PASSING = {
    "full": _error(apsw.FullError, apsw.SQLITE_FULL),
    "read-only": _error(apsw.ReadOnlyError, apsw.SQLITE_READONLY),
}
LASTING = {
    "write": _error(apsw.IOError, apsw.SQLITE_IOERR_WRITE),
    "sync": _error(apsw.IOError, apsw.SQLITE_IOERR_FSYNC),
}


class _Relay:
    """A relay inside this process, because the disk's faults are."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self.app: App | None = None
        self.port = spare_port()

    async def start(self) -> None:
        self.app = App(
            Settings(
                data=self._data,
                mode="tls",
                listen={"port": self.port, "insecure": True},
                internal={"port": 0},
                limits=GENEROUS | {"connections_per_address": 10_000},
                log={"level": "error"},
            )
        )
        await self.app.start()

    async def stop(self) -> None:
        if self.app is not None:
            app, self.app = self.app, None
            await app.stop()


async def run(
    place: Path,
    *,
    rounds: int,
    pairs: int = 2,
    seed: int = 0,
    planted: str = "",
    patience: float = 60.0,
) -> Result:
    """Every fault ``rounds`` times, in an order that ``seed`` decides; what has to follow one may
    take ``patience`` seconds.
    """
    chance = random.Random(seed)
    began = time.monotonic()
    relay = _Relay(place / "data")
    company = Company(pairs, lambda: f"ws://127.0.0.1:{relay.port}/", seed)
    wrong = {"not recovered": 0, "not stopped": 0}
    kinds = [*PASSING, *LASTING] * rounds
    chance.shuffle(kinds)
    calm, writer.CALM = writer.CALM, 0.2
    fatal = classes.fatal
    if planted == "sync_again":
        classes.fatal = lambda error, system: False  # type: ignore[assignment]  # planted
    try:
        with faulty_disk("-wal") as disk:
            await relay.start()
            await company.enter()
            company.start()
            for kind in kinds:
                await asyncio.sleep(chance.uniform(0.2, 0.5))
                if kind in LASTING:
                    wrong["not stopped"] += not await _stops(relay, disk, kind, patience)
                else:
                    await _passes(disk, kind, chance)
                company.history.forgiven()
                wrong["not recovered"] += not await _recovers(company, patience)
            await company.finish()
    finally:
        writer.CALM, classes.fatal = calm, fatal
        for talker in company.talkers:
            await talker.stop()
        await relay.stop()
    figures: dict[str, float | int | str] = {
        "faults": len(kinds),
        "accepted": company.history.accepted,
        "reconnects": company.reconnects,
    }
    wrong |= company.history.verdict()
    examples = company.history.examples
    return Result("faults", figures, wrong, examples, planted, time.monotonic() - began)


async def _passes(disk: FaultyDisk, kind: str, chance: random.Random) -> None:
    disk.on_write = PASSING[kind]()
    await asyncio.sleep(chance.uniform(0.2, 0.6))
    disk.on_write = None


async def _stops(relay: _Relay, disk: FaultyDisk, kind: str, patience: float) -> bool:
    """Whether the relay ends; a new one goes on with what is on the disk."""
    assert relay.app is not None
    error = LASTING[kind]()
    disk.on_write, disk.on_sync = (error, None) if kind == "write" else (None, error)
    try:
        async with asyncio.timeout(patience):
            await relay.app.fatal.wait()
        stopped = True
    except TimeoutError:
        stopped = False
    disk.on_write = disk.on_sync = None
    await relay.stop()
    await relay.start()
    return stopped


async def _recovers(company: Company, patience: float) -> bool:
    """Whether everybody has something accepted again."""
    waiting = {talker: talker.accepted for talker in company.talkers}
    until = time.monotonic() + patience
    while waiting and time.monotonic() < until:
        await asyncio.sleep(0.02)
        waiting = {each: before for each, before in waiting.items() if each.accepted <= before}
    return not waiting
