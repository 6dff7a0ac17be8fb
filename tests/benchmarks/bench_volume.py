"""What stored messages cost: starting, a page of history and resuming, with few and with many.

    python tests/benchmarks/bench_volume.py [--messages 100000 1000000] [--repeat 50]

One relay after the other runs on a data directory of its own that holds so many messages, spread
over ``--conversations`` conversations; the figures of the last are also given as ratios to the
first, so that what grows with volume shows on a busy machine too (with fewer than 60 in each
conversation, the pages of the first are short). The rows are put into the
database directly, in the order and the form in which the relay itself would have stored them.
Start is from starting the process, with Python, until ``/readyz`` says yes. Reads /proc, so it runs
on Linux only. Asserts nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent.parent)]

import apsw  # noqa: E402 - the path of the project comes first

from crypto_modes import wire  # noqa: E402
from crypto_modes.policy import conversation_id  # noqa: E402
from server.store.sqlite import files  # noqa: E402
from tests.harness.process import RelayProcess  # noqa: E402
from tests.raw_client import RawClient  # noqa: E402

RECORD = 64
WAITING = 100
INDEXES = "SELECT name, sql FROM sqlite_schema WHERE tbl_name = 'message' AND type = 'index'"
# The first message of the first conversation is there, sent through the relay.
FILL = """
    WITH RECURSIVE turn (number) AS (
        SELECT 1 UNION ALL SELECT number + 1 FROM turn WHERE number + 1 < ?2
    )
    INSERT INTO message (conversation, seq, id, sender, device, kind, mode, epoch, time, record,
        commitment, stamp, chain)
    SELECT number % ?1 + 1, number / ?1 + 1, randomblob(16), 0, ?3, 'text', 'tls', 1, ?4,
        randomblob(?5), x'', x'', zeroblob(32) FROM turn
"""


async def prepare(
    relay: RelayProcess, messages: int, conversations: int
) -> tuple[RawClient, bytes]:
    """Accounts through the relay, then rows beside it; one of the users, and the conversation."""
    await relay.start()
    alice = await RawClient.enter(relay.url, "alice")
    bob = await RawClient.enter(relay.url, "bob")
    await alice.say(bob, "the first")
    await alice.close()
    await bob.close()
    await relay.stop()
    fill(relay.place / "data" / files.MESSAGES, messages, conversations)
    return bob, conversation_id(alice.account, bob.account)


def fill(path: Path, messages: int, conversations: int) -> None:
    """Rows for ``messages`` messages, turn by turn in each conversation, as traffic would come."""
    db = apsw.Connection(str(path))
    db.pragma("synchronous", "OFF")
    for number in range(2, conversations + 1):
        db.execute(
            "INSERT INTO conversation (number, id, first, second) VALUES (?, ?, ?, ?)",
            (number, os.urandom(16), os.urandom(16), os.urandom(16)),
        )
    indexes = list(db.execute(INDEXES))
    for name, _ in indexes:  # built at the end, in one piece
        db.execute(f"DROP INDEX {name}")
    db.execute(FILL, (conversations, messages, os.urandom(16), time.time_ns() // 1_000_000, RECORD))
    for _, statement in indexes:
        db.execute(statement)
    db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    db.close()


async def measure(messages: int, conversations: int, repeat: int) -> dict[str, float]:
    """The figures, in milliseconds, for one volume."""
    with tempfile.TemporaryDirectory(prefix="louver-volume-") as place:
        relay = RelayProcess(Path(place))
        bob, conversation = await prepare(relay, messages, conversations)
        starts, cpu = [], []
        for _ in range(5):
            began = time.monotonic()
            await relay.start()
            starts.append((time.monotonic() - began) * 1000)
            cpu.append(spent(relay.pid))
            await relay.stop()
        await relay.start()
        try:
            found = await ask(relay, bob, conversation, repeat)
        finally:
            await relay.stop()
        size = (relay.place / "data" / files.MESSAGES).stat().st_size / 1e6
    return {
        "start to ready, ms": statistics.median(starts),
        "CPU of the start, ms": statistics.median(cpu),
        **found,
        "database, MB": size,
    }


def spent(pid: int) -> float:
    """Milliseconds of CPU that a process took so far, all threads together."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e6


async def ask(
    relay: RelayProcess, bob: RawClient, conversation: bytes, repeat: int
) -> dict[str, float]:
    """Pages of history from both ends, and coming back to ``WAITING`` messages."""
    client = await bob.again(relay.url)
    first = await client.expect(wire.Deliver)
    end = first.seq
    while end < (await last_seq(client, conversation)):
        end = (await client.expect(wire.Deliver)).seq
        await client.send(wire.Ack(conversation=conversation, seq=end))

    async def resume() -> None:
        await (await bob.again(relay.url)).close()

    calls: dict[str, Callable[[], Awaitable[None]]] = {
        "newest page of 50": lambda: page(client, conversation, 0),
        "oldest page of 50": lambda: page(client, conversation, min(60, end)),
        "hello to welcome": resume,
    }
    found: dict[str, float] = {}
    for name, call in calls.items():
        took, cpu = [], spent(relay.pid)
        for _ in range(repeat):
            began = time.monotonic()
            await call()
            took.append((time.monotonic() - began) * 1000)
        found[f"{name}, ms"] = statistics.median(took)
        found[f"{name}, CPU ms"] = (spent(relay.pid) - cpu) / repeat
    await client.close()
    return found


async def last_seq(client: RawClient, conversation: bytes) -> int:
    """The newest seq of a conversation."""
    request = wire.History(ref=client.ref(), conversation=conversation, limit=1)
    answer = await client.ask(request, wire.Page)
    return answer.messages[-1].seq


async def page(client: RawClient, conversation: bytes, before: int) -> None:
    """One page of 50."""
    request = wire.History(ref=client.ref(), conversation=conversation, before=before, limit=50)
    await client.ask(request, wire.Page)


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--conversations", type=int, default=1_000)
    parser.add_argument("--repeat", type=int, default=50)
    options = parser.parse_args()
    results = [
        await measure(messages, options.conversations, options.repeat)
        for messages in options.messages
    ]
    print(f"{'messages stored':<26}" + "".join(f"{each:>18,}" for each in options.messages))
    for key, base in results[0].items():
        cells = [f"{found[key]:,.2f} ({found[key] / base:.2f}x)" for found in results]
        print(f"{key:<26}" + "".join(f"{cell:>18}" for cell in cells))


if __name__ == "__main__":
    asyncio.run(main())
