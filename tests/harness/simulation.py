"""Thousands of small worlds, each decided by a seed: what only a rare order of events breaks.

What may live here: what happens to a world, the seeds, and the verdicts. What a world is made of is
in ``tests.harness.simulated``. In one seed a few devices talk for some seconds of virtual time
while connections are cut and stall, disks fill, the key service goes away, and the relay is drained
or loses power. A seed that fails does the same again, byte for byte::

    python -m tests.harness.simulation SEED [FAULT]     # prints everything that arrived
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from server.delivery import Delivery
from server.sending import Outgoing
from server.session import Session
from tests.harness.report import Result
from tests.harness.simulated.clients import SimulatedCompany
from tests.harness.simulated.clock import SimulatedLoop, Stuck, Wall, sealed
from tests.harness.simulated.network import Network
from tests.harness.simulated.node import KeyService, Node
from tests.harness.simulated.store import Disk

PLANTS = ("early_ack", "forgetful_delivery", "impatient_session", "impatient_lane")
# Virtual seconds after which a world that is still busy counts as one that never ends.
_LIFETIME = 600.0
_CHUNK = 20
_REPLAYED = 10  # seeds of every run that are run once more, in another process


class Outcome(NamedTuple):
    """One seed: a digest of all that arrived, what was wrong, and how much happened."""

    seed: int
    digest: str
    wrong: dict[str, int]
    example: str
    accepted: int
    events: int


class _World:
    """Everything of one seed, and what may happen to it."""

    def __init__(self, seed: int, lines: list[str] | None, planted: str) -> None:
        part = {name: random.Random(f"{seed}/{name}") for name in ("net", "disk", "talk", "node")}
        self.chance = random.Random(f"{seed}/events")
        self.network = Network(part["net"], lines)
        self.loop = self.network.loop = SimulatedLoop(self.network.listen)
        self.wall = Wall(self.loop)
        self.disk = Disk(part["disk"], lazy=0.1 if planted == "early_ack" else 0.0)
        self.keys = KeyService(part["node"])
        self.node = Node(self.network, self.disk, self.keys, part["node"])
        self.company = SimulatedCompany(self.network, part["talk"])
        self.happened = 0

    async def live(self) -> None:
        """From the first start of the relay to the last delivery."""
        async with asyncio.timeout(_LIFETIME):
            await self.node.start()
            await self.company.enter()
            self.company.start()
            churn = asyncio.create_task(self._churn())
            for _ in range(self.chance.randint(0, 6)):
                await asyncio.sleep(self.chance.random() ** 2)
                await self.chance.choice(_EVENTS)(self)
                self.happened += 1
            await churn
            for stream in self.network.streams:
                for way in (stream.up, stream.down):
                    way.hold(False)
            await asyncio.sleep(1.0)
            await self.company.finish()

    async def _churn(self) -> None:
        """In some worlds connections never last, until all has been said."""
        lasting = self.chance.choice((0.0, 0.0, 0.05, 0.2))
        ends = self.loop.time() + 25 * lasting
        while self.loop.time() < ends and not self._silent():
            await asyncio.sleep(lasting * 2 * self.chance.random())
            if self.network.streams:
                self.chance.choice(self.network.streams).cut()

    def _silent(self) -> bool:
        return all(each.quiet and each.settled for each in self.company.talkers)

    def _pause(self, longest: float) -> float:
        return self.chance.random() ** 2 * longest

    async def cut(self) -> None:
        """Some connections break."""
        for stream in list(self.network.streams):
            if self.chance.random() < 0.5:
                stream.cut()

    async def stall(self) -> None:
        """One connection passes nothing on, in one direction or both, and then it does again."""
        if self.network.streams:
            stream = self.chance.choice(self.network.streams)
            ways = self.chance.choice(
                ((stream.up,), (stream.down,), (stream.down,), (stream.up, stream.down))
            )
            for way in ways:
                way.hold(True)
                self.loop.call_later(self._pause(8.0), way.hold, False)

    async def power(self) -> None:
        """The relay's machine loses power, and comes back."""
        self.node.crash()
        self.company.history.forgiven()
        await asyncio.sleep(self._pause(1.0))
        await self.node.start()

    async def drain(self) -> None:
        """The operator restarts the relay. It has written its cursors."""
        await self.node.drain()
        await asyncio.sleep(self._pause(0.5))
        await self.node.start()

    async def fill(self) -> None:
        """The disk is full for a while."""
        self.network.troubled = True
        self.disk.full = True
        await asyncio.sleep(self._pause(2.0))
        self.disk.full = False

    async def blind(self) -> None:
        """Nothing can be read for a while."""
        self.network.troubled = True
        self.disk.unreadable = True
        await asyncio.sleep(self._pause(1.0))
        self.disk.unreadable = False

    async def lock(self) -> None:
        """The relay forgets its keys, while the key service may be away."""
        self.network.troubled = True
        self.keys.away = self.chance.random() < 0.5
        self.node.data_keys.flush()
        await asyncio.sleep(self._pause(1.0))
        self.keys.away = False

    async def set_clock(self) -> None:
        """Somebody sets the wall clock."""
        self.wall.ahead += self.chance.uniform(-3600.0, 3600.0)


_EVENTS: tuple[Callable[[_World], Any], ...] = (
    _World.cut,
    _World.cut,
    _World.stall,
    _World.stall,
    _World.power,
    _World.drain,
    _World.fill,
    _World.blind,
    _World.lock,
    _World.set_clock,
)


def simulate(seed: int, planted: str = "", lines: list[str] | None = None) -> Outcome:
    """One seed. Not where an event loop runs: it takes clocks and chance from the process."""
    world = _World(seed, lines, planted)
    history, loop = world.company.history, world.loop
    entropy = random.Random(f"{seed}/entropy")
    with sealed(loop, world.wall, entropy), _fault(planted):
        for talker in world.company.talkers:
            talker.device = os.urandom(16)
        ended = ""
        try:
            loop.run_until_complete(world.live())
        except (Stuck, TimeoutError) as error:
            ended = f"{type(error).__name__}: {error}"
        digest, happened = world.network.trace.hexdigest(), world.happened
        wrong = Counter(history.verdict())
        wrong["stuck"] += bool(ended)
        failures = [*loop.failures, *world.node.faults]
        wrong["fault"] += len(failures)
        loop.finish()
    texts = [*history.examples.values(), ended, *failures]
    example = next((text for text in texts if text), "")
    return Outcome(seed, digest, dict(wrong), example, history.accepted, happened)


async def run(place: Path, *, seeds: int, seed: int = 0, planted: str = "") -> Result:
    """``seeds`` seeds from ``seed`` on, on every processor."""
    began = time.monotonic()
    chunks = [
        (first, min(first + _CHUNK, seed + seeds)) for first in range(seed, seed + seeds, _CHUNK)
    ]
    again = (seed, min(seed + _REPLAYED, seed + seeds))
    loop = asyncio.get_running_loop()
    fresh = multiprocessing.get_context("spawn")
    workers = min(os.cpu_count() or 1, len(chunks))
    with ProcessPoolExecutor(workers, fresh) as pool, ProcessPoolExecutor(1, fresh) as other:
        replay = loop.run_in_executor(other, _several, *again, planted)
        work = [loop.run_in_executor(pool, _several, *chunk, planted) for chunk in chunks]
        outcomes = [outcome for some in await asyncio.gather(*work) for outcome in some]
        replayed = await replay
    wrong: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for outcome in outcomes:
        wrong.update(outcome.wrong)
        for name, count in outcome.wrong.items():
            if count:
                examples.setdefault(name, f"seed {outcome.seed}: {outcome.example}")
    differing = [a.seed for a, b in zip(outcomes, replayed, strict=False) if a.digest != b.digest]
    wrong["not replayed"] = len(differing)
    if differing:
        examples["not replayed"] = f"seed {differing[0]}"
    figures: dict[str, float | int | str] = {
        "seeds": len(outcomes),
        "accepted": sum(outcome.accepted for outcome in outcomes),
        "events": sum(outcome.events for outcome in outcomes),
        "failing seeds": sum(any(outcome.wrong.values()) for outcome in outcomes),
    }
    seconds = time.monotonic() - began
    return Result("simulation", figures, dict(wrong), examples, planted, seconds)


def _several(first: int, last: int, planted: str) -> list[Outcome]:
    logging.disable(logging.CRITICAL)  # a process of its own: what it should tell, it returns
    return [simulate(seed, planted) for seed in range(first, last)]


# --- planted faults ---


@contextmanager
def _fault(name: str) -> Iterator[None]:
    """Put one in; ``early_ack`` is the disk's."""
    plants: dict[str, tuple[type, str, Any]] = {
        "forgetful_delivery": (Delivery, "_stored", _forgetful),
        "impatient_session": (Session, "received", _impatient_session),
        "impatient_lane": (Outgoing, "left", _impatient),
    }
    if name not in plants:
        yield
        return
    with patch.object(*plants[name]):
        yield


_stored = Delivery._stored


def _forgetful(self: Any, message: Any) -> None:
    """Some live deliveries are dropped, and their place marked as sent."""
    if self._begun and message.meta.id[0] < 3:
        self.sent[message.meta.conversation] = message.meta.seq
    else:
        _stored(self, message)


_received = Session.received


def _impatient_session(self: Any, frame: Any) -> None:
    """A frame is handled although one before it still waits for the store."""
    self._task = None
    _received(self, frame)


def _impatient(self: Any, lane: Any) -> None:
    """What waits for a key goes again before those that were at the store have come back."""
    self._at_store.pop(lane, None)


if __name__ == "__main__":
    told: list[str] = []
    outcome = simulate(int(sys.argv[1]), sys.argv[2] if sys.argv[2:] else "", told)
    sys.stdout.write("\n".join([*told, repr(outcome), ""]))
