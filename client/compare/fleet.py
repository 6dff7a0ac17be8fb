"""The load processes of one round, driven from the parent, and the CPU they and the relay use.

What may live here: starting ``load`` processes, giving them orders, sampling ``/proc`` once a
second. What may not: clients or messages.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from client.compare import proc
from client.compare.lab import Lab, LabFailure, Relay, environment
from client.compare.load import Job, Log
from client.compare.trace import Trace

CONNECT_SECONDS = 60.0
SETTLE_SECONDS = 15.0
_LEAD_NS = 300_000_000  # from the order to play until the trace starts
_LINE_LIMIT = 4 * 1024 * 1024


@dataclass(frozen=True)
class Tick:
    """CPU so far, in microseconds, at one moment of the round."""

    seconds: float
    server_us: float
    client_us: float


@dataclass
class Round:
    """What the processes of one round saw; ``start_ns`` is when the trace began."""

    start_ns: int = 0
    ticks: list[Tick] = field(default_factory=list)
    logs: list[Log] = field(default_factory=list)


class Fleet:
    """Load processes that share the users of a trace."""

    def __init__(self, relay: Relay, trace: Trace, workers: Sequence[_Worker]) -> None:
        self._relay = relay
        self._trace = trace
        self._workers = workers
        self.accounts: dict[int, str] = {}

    async def connect(self) -> None:
        """Wait until every user is connected."""
        for answer in await self._all(lambda worker: worker.read(CONNECT_SECONDS)):
            self.accounts |= {int(user): account for user, account in answer["accounts"].items()}

    async def introduce(self) -> None:
        """The first message of every conversation; one process after the other."""
        for worker in self._workers:
            await worker.ask({"introduce": self.accounts}, CONNECT_SECONDS)

    async def play(self, warmup: float) -> Round:
        """The whole trace, with CPU samples at each second after the warm-up, and at its end."""
        round_ = Round(time.monotonic_ns() + _LEAD_NS)
        limit = self._trace.seconds + CONNECT_SECONDS
        sampling = asyncio.create_task(self._sample(round_, warmup))
        try:
            await self._all(lambda worker: worker.ask({"play": round_.start_ns}, limit))
            await sampling
        finally:
            sampling.cancel()
        return round_

    async def finish(self, round_: Round) -> Round:
        """Wait for the last deliveries and collect what everybody saw."""
        limit = SETTLE_SECONDS + CONNECT_SECONDS
        await self._all(lambda worker: worker.ask({"finish": SETTLE_SECONDS}, limit))
        decoder = msgspec.msgpack.Decoder(Log)
        for worker in self._workers:
            raw = await asyncio.to_thread(Path(worker.output).read_bytes)
            round_.logs.append(decoder.decode(raw))
        return round_

    async def report(self, team: str) -> None:
        """Every recipient reports the labelled messages to the team with this fingerprint."""
        await self._all(lambda worker: worker.ask({"report": team}, CONNECT_SECONDS))

    async def _sample(self, round_: Round, warmup: float) -> None:
        blocks = max(1, round(self._trace.seconds - warmup))
        for mark in (*(warmup + block for block in range(blocks)), self._trace.seconds):
            due = round_.start_ns + int(mark * 1e9)
            await asyncio.sleep(max(0.0, (due - time.monotonic_ns()) / 1e9))
            seconds = (time.monotonic_ns() - round_.start_ns) / 1e9
            clients = sum(proc.cpu_us(worker.pid) for worker in self._workers)
            round_.ticks.append(Tick(seconds, proc.cpu_us(self._relay.pid), clients))

    async def _all(self, work: Any) -> list[Any]:
        return list(await asyncio.gather(*(work(worker) for worker in self._workers)))


class _Worker:
    """One load process."""

    def __init__(self, process: asyncio.subprocess.Process, output: str, errors: Path) -> None:
        self._process = process
        self._errors = errors
        self.output = output
        self.pid = process.pid

    async def ask(self, order: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Give an order and wait for its answer. Raises ``LabFailure``."""
        assert self._process.stdin is not None  # noqa: S101  a pipe, as started below
        try:
            self._process.stdin.write(msgspec.json.encode(order) + b"\n")
            await self._process.stdin.drain()
        except ConnectionError:
            raise self._broken("died") from None
        return await self.read(seconds)

    async def read(self, seconds: float) -> dict[str, Any]:
        """The next answer. Raises ``LabFailure``."""
        assert self._process.stdout is not None  # noqa: S101  a pipe, as started below
        try:
            async with asyncio.timeout(seconds):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise self._broken(f"did not answer within {seconds:.0f} s") from None
        if not line:
            raise self._broken("died")
        return msgspec.json.decode(line, type=dict[str, Any])

    async def stop(self) -> None:
        """End it, whatever it is doing."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    def _broken(self, what: str) -> LabFailure:
        tail = self._errors.read_text(errors="replace").strip().splitlines()[-6:]
        return LabFailure(f"a load process {what}: {' / '.join(tail) or 'it said nothing'}")


@asynccontextmanager
async def fleet(
    lab: Lab, relay: Relay, trace: Trace, *, port: int = 0, keep_labelled: bool = False
) -> AsyncIterator[Fleet]:
    """Load processes for all users of ``trace``: one per core, at least two.

    ``port`` is where to connect instead of the relay itself (a tap).
    """
    path = relay.home / "trace.jsonl"
    path.write_bytes(trace.encoded)
    url = f"wss://127.0.0.1:{port or relay.port}"
    count = max(2, min(os.cpu_count() or 1, 8))
    workers: list[_Worker] = []
    try:
        for index in range(min(count, trace.users)):
            users = {
                user: (f"u{user:05d}", lab.issuer.token(f"u{user:05d}"))
                for user in range(index, trace.users, count)
            }
            output = str(relay.home / f"load-{index}.log")
            job = Job(url, str(lab.certificates), str(path), output, users, keep_labelled)
            workers.append(await _start(relay.home / f"load-{index}", job))
        yield Fleet(relay, trace, workers)
    finally:
        await asyncio.gather(*(worker.stop() for worker in workers))


async def _start(stem: Path, job: Job) -> _Worker:
    order, errors = stem.with_suffix(".json"), stem.with_suffix(".err")
    order.touch(mode=0o600)  # it holds tokens
    order.write_bytes(msgspec.json.encode(job))
    with errors.open("wb") as complaints:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "client.compare.load", str(order)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=complaints,
            env=environment(),
            limit=_LINE_LIMIT,
        )
    return _Worker(process, job.output, errors)
