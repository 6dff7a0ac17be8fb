"""A vault that is killed at any place: nothing left it without its leaf, and its log is whole.

Every place at which it touches disk or keys is one at which it is killed once (``vault_victim``).
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from crypto_modes.transparency import note
from crypto_modes.transparency.access_log import Entry, Leaf
from crypto_modes.transparency.tiles import ENTRIES, Whole, of_level, unbundle
from server.access_log.durable import PAGE, DurableLog
from server.vault.counting import Count
from server.vault.reconciling import Reconciling
from tests.test_grants import NOW

ROOT = Path(__file__).parent.parent


def killed(place: Path, *options: str) -> list[tuple[int, str]]:
    """What left the vaults that were killed: the run whose call it answers, and the text."""
    command = [sys.executable, "-m", "tests.vault_victim", str(place), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = (place / "answers").read_text().splitlines()
    return [(int(run), text) for run, _, text in (line.partition(" ") for line in lines)]


async def entries_of(log: DurableLog) -> list[Entry]:
    found: list[Entry] = []
    while page := await log.opened(len(found), PAGE):
        for shown in page:
            assert shown.entry is not None
            found.append(shown.entry)
    return found


def named(entries: list[Entry]) -> set[str]:
    """The texts of all messages that the readings name."""
    ids = {id_ for each in entries if each.kind == "read" for id_ in each.records}
    return {f"HARM-{int.from_bytes(id_, 'big'):04}" for id_ in ids}


@pytest.mark.asyncio
async def test_nothing_leaves_a_vault_that_is_killed_without_its_leaf(tmp_path: Path) -> None:
    answers = killed(tmp_path)
    log = DurableLog(tmp_path / "vault")
    await log.open()
    entries = await entries_of(log)
    assert {text for _, text in answers} <= named(entries)
    # It was killed before anything was answered, and after; and it answered each call once.
    assert 0 < len(answers) < answers[-1][0]
    assert max(Counter(run for run, _ in answers).values()) == 1
    # The log is whole: every leaf under the head that it signed, every entry that of its leaf.
    head = note.open_checkpoint(log.head.encode(), log.verifier)
    assert head.size == log.size == len(entries)
    leaves: list[bytes] = []
    for tile in of_level(ENTRIES, log.size):
        leaves += unbundle(await log.tile(tile), tile.width)
    assert Whole(leaves).root == head.root
    for start in range(0, log.size, PAGE):
        for shown in await log.opened(start, PAGE):
            shown.check(Leaf.decode(leaves[shown.index]))
    # And no key was used that it does not tell of.
    count = Count(tmp_path / "vault" / "unwrapped")
    count.open()
    found = (await Reconciling(count, log, lambda: NOW).compare()).days
    assert sum(each.unwrapped for each in found) >= len(answers)
    assert [each for each in found if each.surplus] == []
    count.close()
    await log.close()


@pytest.mark.asyncio
async def test_a_vault_that_answers_on_a_promise_is_caught(tmp_path: Path) -> None:
    """The planted fault: the receipt comes before the entry is on the disk."""
    answers = killed(tmp_path, "--promise")
    log = DurableLog(tmp_path / "vault")
    await log.open()
    entries = await entries_of(log)
    await log.close()
    assert not {text for _, text in answers} <= named(entries)
