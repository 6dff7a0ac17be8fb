"""The power fails at any write: what was acknowledged is there, and the database is whole.

What may live here: the load, the cuts, and what is looked at afterwards. The load runs once, on a
disk that records every step; then the power is cut again and again, after any step, and what a disk
could hold then is opened as after a restart. With ``synchronous=OFF``, or as lazy as ``relaxed``,
messages must get lost, or the harness proves nothing: those are its planted faults.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import apsw

from crypto_modes.contract import NO_DIGEST
from server.store.sqlite import SqliteStore, files, writer
from tests.harness.disk import CutDisk, recording_disk
from tests.harness.report import Result
from tests.store_entries import Entry, chain_after, populate, settle

PLANTS = ("synchronous_off", "relaxed")
WRONG = ("lost", "gap", "broken chain", "damaged")
TALKS = 6
# Small, so that a short load sees many checkpoints and the log begin again.
CHECKPOINT_PAGES = 60


class _Ack(NamedTuple):
    """A message, and after how many steps of the disk it was acknowledged."""

    steps: int
    conversation: bytes
    seq: int
    id: bytes


async def run(place: Path, *, cuts: int, messages: int, seed: int = 0, planted: str = "") -> Result:
    """``cuts`` cuts at random steps of a load of ``messages`` messages."""
    chance = random.Random(seed)
    began = time.monotonic()
    data = place / "data"
    data.mkdir(mode=0o700)
    with _settings(planted), recording_disk() as disk:
        acks = await _load(data, messages, disk.steps, chance)
    wrong = dict.fromkeys(WRONG, 0)
    examples: dict[str, str] = {}
    cut = CutDisk(disk.steps)
    for at in sorted(chance.randrange(1, len(disk.steps)) for _ in range(cuts)):
        cut.advance(at)
        with tempfile.TemporaryDirectory(dir=place) as image:
            cut.image(Path(image), chance)
            for name, text in _look(Path(image), [ack for ack in acks if ack.steps <= at]):
                wrong[name] += 1
                examples.setdefault(name, f"{text}, after step {at}")
    figures: dict[str, float | int | str] = {
        "cuts": cuts,
        "steps": len(disk.steps),
        "accepted": len(acks),
    }
    seconds = time.monotonic() - began
    return Result("powercut", figures, wrong, examples, planted, seconds)


@contextmanager
def _settings(planted: str) -> Iterator[None]:
    pages, synchronous = writer.CHECKPOINT_PAGES, dict(files.SYNCHRONOUS)
    writer.CHECKPOINT_PAGES = CHECKPOINT_PAGES
    if planted:
        files.SYNCHRONOUS["full"] = {"synchronous_off": "OFF", "relaxed": "NORMAL"}[planted]
    try:
        yield
    finally:
        writer.CHECKPOINT_PAGES = pages
        files.SYNCHRONOUS.update(synchronous)


async def _load(
    data: Path, messages: int, steps: list[object], chance: random.Random
) -> list[_Ack]:
    """Batches of many sizes; an ack counts from the moment the store's thread reports it."""
    store = SqliteStore(data, on_fatal=_fatal)
    acks: list[_Ack] = []
    await store.open()
    await populate(store)
    while len(acks) < messages:
        batch = [
            Entry(
                bytes([chance.randrange(TALKS)]) * 16, record=os.urandom(chance.randrange(1, 900))
            )
            for _ in range(chance.choice((1, 2, 5, 40)))
        ]
        await settle(store, *batch)
        acks += [_Ack(len(steps), each.conversation, each.seq, each.id) for each in batch]
    # Not closed: closing empties the log into the database, and the power fails before that.
    cut = len(steps)
    await store.close()
    del steps[cut:]
    return acks


def _look(image: Path, acks: list[_Ack]) -> Iterator[tuple[str, str]]:
    """Open a disk as after a restart; what is wrong with it."""
    path = image / files.MESSAGES
    if not path.exists():
        if acks:
            yield "lost", "the whole database"
        return
    try:
        db = apsw.Connection(str(path))
        problem = db.pragma("integrity_check")
        if problem != "ok":
            yield "damaged", str(problem)
            return
        rows = list(
            db.execute(
                "SELECT c.id, m.seq, m.id, m.record, m.chain FROM message m"
                " JOIN conversation c ON c.number = m.conversation ORDER BY c.id, m.seq"
            )
        )
        db.close()
    except apsw.SQLError:
        if acks:  # before the first commit there are no tables yet
            yield "lost", "every table"
        return
    except apsw.Error as error:
        yield "damaged", str(error)
        return
    found = {(conversation, seq): id_ for conversation, seq, id_, _, _ in rows}
    for ack in acks:
        if found.get((ack.conversation, ack.seq)) != ack.id:
            yield "lost", f"message {ack.seq} of {ack.conversation.hex()}"
    yield from _chains(rows)


def _chains(rows: list[tuple[bytes, int, bytes, bytes, bytes]]) -> Iterator[tuple[str, str]]:
    ends: dict[bytes, tuple[int, bytes]] = {}
    for conversation, seq, _, record, chain in rows:
        last, previous = ends.get(conversation, (0, NO_DIGEST))
        if seq != last + 1:
            yield "gap", f"{seq} follows {last} in {conversation.hex()}"
        elif chain_after(previous, seq, record) != chain:
            yield "broken chain", f"message {seq} of {conversation.hex()}"
        ends[conversation] = (seq, chain)


def _fatal(error: Exception) -> None:
    raise error
