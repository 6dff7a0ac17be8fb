"""A relay that is killed at a random moment has every message it acknowledged, and no gap.

Killing a process proves the order of commit and acknowledgement, not the syncs: for those the
power-cut harness cuts a simulated disk.
"""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from crypto_modes.contract import NO_DIGEST
from server.store.sqlite import SqliteStore
from tests.store_entries import chain_after
from tests.store_writer import TALKS

KILLS = 10


def run_and_kill(data: Path, lines: int) -> list[tuple[bytes, int, bytes]]:
    """What the process acknowledged before it was killed, some time after ``lines`` lines."""
    command = [sys.executable, "-m", "tests.store_writer", str(data)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    read = [process.stdout.readline() for _ in range(lines)]
    process.kill()
    read += process.stdout.readlines()
    process.stdout.close()
    assert process.wait() == -9
    acknowledged = []
    for line in read:
        if line.endswith("\n"):
            talk, seq, id_ = line.split()
            acknowledged.append((bytes.fromhex(talk), int(seq), bytes.fromhex(id_)))
    return acknowledged


@pytest.mark.asyncio
async def test_kill_after_kill_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    chance = random.Random(2)
    acknowledged = []
    for _ in range(KILLS):
        acknowledged += run_and_kill(tmp_path, chance.randrange(1, 400))
    store = SqliteStore(tmp_path, on_fatal=print)
    await store.open()
    stored: dict[tuple[bytes, int], bytes] = {}
    for number in range(TALKS):
        chain = NO_DIGEST
        talk = bytes([number]) * 16
        for expected, message in enumerate(await store.after(talk, 0, 1_000_000), start=1):
            chain = chain_after(chain, expected, message.record)
            assert (message.meta.seq, message.chain) == (expected, chain)
            stored[talk, expected] = message.meta.id
    await store.close()
    assert len(acknowledged) > KILLS
    assert [(talk, seq) for talk, seq, id_ in acknowledged if stored.get((talk, seq)) != id_] == []
