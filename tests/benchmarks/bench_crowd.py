"""What a crowd costs those who talk: many idle connections, and all of them coming back at once.

    python tests/benchmarks/bench_crowd.py [--idle 15000] [--rate 1000] [--seconds 5]

A hundred clients send at a steady ``--rate``; the time from sending to ``accepted`` is taken first
alone, then among ``--idle`` open sessions that say nothing, in one run and on one relay, so that
the ratio holds. Memory is taken over the second half of the crowd, for the first takes what lay
free. Then every idle client hangs up and all come back together: a resume storm. The system's
limit of open files bounds the crowd (two processes hold one file a connection each).
Reads /proc, so it runs on Linux only. Asserts nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import resource
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import uvloop  # noqa: E402 - the path of the project comes first
from bench_relay import HELLOS, PAYLOADS, Server, User, prepare, running  # noqa: E402
from generator import Client, Load, connect  # noqa: E402

from crypto_modes import wire  # noqa: E402

TALKERS = 100
BYSTANDERS = 20
ACCEPTED = b"accepted"
AT_ONCE = 200  # handshakes under way, as many as a listening queue holds comfortably


class Steady:
    """Messages at a steady rate; the seconds from when each should have been sent to its answer."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self._due: dict[Client, list[float]] = {}

    def on_frame(self, client: Client, payload: bytes) -> None:
        if ACCEPTED in payload[:24] and self._due.get(client):
            self.waits.append(time.perf_counter() - self._due[client].pop(0))

    async def run(self, clients: list[Client], rate: float, seconds: float) -> list[float]:
        """Send for ``seconds``; all waits, ascending, without the first tenth."""
        self.waits, self._due = [], {client: [] for client in clients}
        began = time.perf_counter()
        for number, client in zip(range(int(rate * seconds)), itertools.cycle(clients)):
            due = began + number / rate
            if due > time.perf_counter():
                await asyncio.sleep(due - time.perf_counter())
            self._due[client].append(due)
            client.send(PAYLOADS[client]())
        await asyncio.sleep(1.0)
        return sorted(self.waits[len(self.waits) // 10 :])


async def bystanders(server: Server) -> list[bytes]:
    """The greetings of accounts that nobody writes to; many sessions each make the crowd."""
    clients = await connect(server.port, BYSTANDERS, lambda *_: None, wire.MSGPACK)
    users = [User(client, TALKERS + number) for number, client in enumerate(clients)]
    await asyncio.gather(*(user.enter("tls") for user in users))
    return [HELLOS[client] for client in clients]


async def crowd(server: Server, hellos: list[bytes], count: int) -> tuple[list[Client], float]:
    """``count`` more open sessions, and the seconds until the last was welcome."""
    welcome = asyncio.Semaphore(0)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(hello: bytes) -> Client:
        async with gate:
            (client,) = await connect(server.port, 1, lambda *_: welcome.release(), wire.MSGPACK)
            client.send(hello)
            return client

    began = time.perf_counter()
    hello = itertools.cycle(hellos)
    clients = await asyncio.gather(*(one(next(hello)) for _ in range(count)))
    for _ in range(count):
        async with asyncio.timeout(60):
            await welcome.acquire()
    return list(clients), time.perf_counter() - began


def show(name: str, waits: list[float], base: list[float]) -> None:
    """The median and the 99th percentile, and their ratios to those of ``base``."""
    for quantile in (0.5, 0.99):
        here, there = (each[int(len(each) * quantile)] * 1000 for each in (waits, base))
        print(f"{f'{name}, p{quantile * 100:.0f} ms':<40}{here:>10.2f} ({here / there:.2f}x)")


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idle", type=int, default=15_000)
    parser.add_argument("--rate", type=float, default=1_000.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    idle = min(options.idle, files - 1_000)
    load = Load(lambda client: PAYLOADS[client](), lambda data: ACCEPTED in data[:24])
    with running("tls") as server:
        talkers = await prepare(server, load, TALKERS)
        hellos = await bystanders(server)
        steady = Steady()
        for client in talkers:
            client.on_frame = steady.on_frame
        alone = await steady.run(talkers, options.rate, options.seconds)
        clients, _ = await crowd(server, hellos, idle - idle // 2)
        before = server.memory()
        more, seconds = await crowd(server, hellos, idle // 2)
        whole = server.memory()
        clients += more
        among = await steady.run(talkers, options.rate, options.seconds)
        for client in clients:
            client.transport.abort()
        await asyncio.sleep(1.0)
        cpu = server.cpu()
        clients, storm = await crowd(server, hellos, idle)
        cpu = server.cpu() - cpu
        after = await steady.run(talkers, options.rate, options.seconds)
    print(f"{'idle sessions':<40}{idle:>10,}")
    print(f"{'KB per idle session':<40}{(whole - before) / (idle // 2) / 1024:>10.1f}")
    print(f"{'MB of the relay with all of them':<40}{whole / 1e6:>10,.0f}")
    print(f"{'sessions opened per second':<40}{idle // 2 / seconds:>10,.0f}")
    print(f"{'back after a storm, per second':<40}{idle / storm:>10,.0f}")
    print(f"{'CPU µs of the relay for each of these':<40}{cpu / idle * 1e6:>10,.0f}")
    show("accepted, alone", alone, alone)
    show("accepted, among the idle", among, alone)
    show("accepted, after the storm", after, alone)


if __name__ == "__main__":
    uvloop.run(main())
