"""What a durable message costs the store, as ratios within one run.

Run by hand, from the top of the repository: ``python -m tests.benchmarks.bench_store``. Nothing
is asserted here. Three questions, each answered against a plain way of doing the same:

* group commit on the writer's thread, against one transaction for each message;
* rows in bulk, against a statement for each row, while the event loop is busy: every statement
  hands the interpreter's lock over and has to win it back;
* messages in order of arrival, against a table clustered by conversation.

CPU is that of the whole process, in microseconds for a row of 200 bytes, and so includes making
the message and hearing that it is stored. Every commit is synced.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import TypeVar

import apsw

from server.store.sqlite import SqliteStore, files, rows
from tests.store_entries import Entry, settle

ROWS = 20_000
SINGLE_ROWS = 2_000
CONVERSATIONS = 100
RECORD = os.urandom(200)
BATCH = 100
T = TypeVar("T")

Cost = tuple[float, float]
"""CPU microseconds for a row, and rows for a second of the wall clock."""


def main() -> None:
    """Print the three tables."""
    group_commit()
    busy_loop()
    layouts()


def group_commit() -> None:
    """How much a message costs by the number that are on their way at once."""
    say("\ngroup commit            CPU µs/row   rows/s   CPU to one by one")
    base = with_directory(lambda data: measured(SINGLE_ROWS, lambda: one_by_one(data)))
    tell("one transaction each", base, base)
    for flying in (1, 10, 100, 1000):
        count = min(ROWS, SINGLE_ROWS * flying)
        tell(
            f"{flying:5} on their way",
            with_directory(lambda data, f=flying, n=count: asyncio.run(stored(data, f, n))),  # type: ignore[misc]  # mypy knows no defaults in lambdas
            base,
        )


def busy_loop() -> None:
    """How long a batch waits for the interpreter's lock when another thread always wants it."""
    say(f"\nbatches of {BATCH} beside a busy thread    ms/batch   to bulk")
    bulk = with_directory(lambda data: beside_a_busy_thread(data, bulk=True))
    plain = with_directory(lambda data: beside_a_busy_thread(data, bulk=False))
    say(f"rows in bulk                          {bulk:11.1f} {1:9.2f}")
    say(f"a statement for each row              {plain:11.1f} {plain / bulk:9.2f}")


def layouts() -> None:
    """What the order of rows in the file costs; the store's is the first."""
    say("\nlayout                  CPU µs/row   rows/s   CPU to the store's")
    unique = "UNIQUE (talk, seq), UNIQUE (talk, id)"
    clustered = "PRIMARY KEY (talk, seq), UNIQUE (talk, id)"
    base = with_directory(lambda data: laid_out(data, f"{unique})"))
    tell("order of arrival", base, base)
    tell(
        "clustered",
        with_directory(lambda data: laid_out(data, f"{clustered}) WITHOUT ROWID")),
        base,
    )


def one_by_one(data: Path) -> None:
    """The plain loop: a transaction, a head looked up and a row for each message."""
    db = table(data, "UNIQUE (talk, seq), UNIQUE (talk, id))")
    for _ in range(SINGLE_ROWS):
        talk = random.randrange(CONVERSATIONS)
        with db:
            last = db.execute("SELECT max(seq) FROM message WHERE talk = ?", (talk,)).get or 0
            db.execute("INSERT INTO message VALUES (?,?,?,?)", row(talk, last + 1))
    db.close()


async def stored(data: Path, flying: int, count: int) -> Cost:
    """``count`` messages through the store, ``flying`` of them unanswered at any time."""
    store = SqliteStore(data, on_fatal=lambda error: say(str(error)))
    await store.open()
    talks = [os.urandom(16) for _ in range(CONVERSATIONS)]
    await settle(store, *(Entry(talk) for talk in talks))
    done = asyncio.Event()
    left, waiting = count, count

    def send() -> None:
        nonlocal left
        if left:
            left -= 1
            store.append(Entry(random.choice(talks), record=RECORD, told=told))

    def told(entry: Entry) -> None:
        nonlocal waiting
        waiting -= entry.seq > 0
        done.set() if not waiting else send()

    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(flying):
        send()
    await done.wait()
    cost = (time.process_time() - cpu) / count * 1e6, count / (time.perf_counter() - wall)
    await store.close()
    return cost


def beside_a_busy_thread(data: Path, *, bulk: bool) -> float:
    """Milliseconds for a batch while another thread computes."""
    db = table(data, "UNIQUE (talk, seq), UNIQUE (talk, id))")
    insert = rows.Bulk("INSERT INTO message VALUES", 4)
    stop, batches = Event(), 10

    def compute() -> None:
        while not stop.is_set():
            sum(range(1000))

    thread = Thread(target=compute)
    thread.start()
    started = time.perf_counter()
    for number in range(batches):
        made = [row(talk, number) for talk in range(BATCH)]
        db.execute("BEGIN IMMEDIATE")
        if bulk:
            insert.write(db, made)
        else:
            for one in made:
                db.execute("INSERT INTO message VALUES (?,?,?,?)", one)
        db.execute("COMMIT")
    took = time.perf_counter() - started
    stop.set()
    thread.join()
    db.close()
    return took / batches * 1e3


def laid_out(data: Path, constraints: str) -> Cost:
    """Batches of messages of random conversations into a table with these ``constraints``."""
    db = table(data, constraints)
    insert = rows.Bulk("INSERT INTO message VALUES", 4)
    heads = [0] * (CONVERSATIONS * 20)

    def fill() -> None:
        for number in range(ROWS // BATCH):
            made = []
            for _ in range(BATCH):
                talk = random.randrange(len(heads))
                heads[talk] += 1
                made.append(row(talk, heads[talk]))
            with db:
                insert.write(db, made)
            if number % 20 == 19:
                db.wal_checkpoint()

    cost = measured(ROWS, fill)
    db.close()
    return cost


def table(data: Path, constraints: str) -> apsw.Connection:
    db = files.writer(data / "bench.db", "full")
    db.execute(
        "CREATE TABLE message (talk INTEGER NOT NULL, seq INTEGER NOT NULL, id BLOB NOT NULL,"
        f" record BLOB NOT NULL, {constraints}"
    )
    return db


def row(talk: int, seq: int) -> rows.Row:
    return talk, seq, os.urandom(16), RECORD


def measured(count: int, work: Callable[[], None]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return (time.process_time() - cpu) / count * 1e6, count / (time.perf_counter() - wall)


def with_directory(work: Callable[[Path], T]) -> T:
    with tempfile.TemporaryDirectory() as directory:
        return work(Path(directory))


def tell(what: str, cost: Cost, base: Cost) -> None:
    say(f"{what:22} {cost[0]:11.1f} {cost[1]:8.0f} {cost[0] / base[0]:12.2f}")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
