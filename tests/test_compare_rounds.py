"""Rounds: void in one mode, repeated in all; the numbers come from one attempt alone."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from client.compare import instruments, plan, rounds, saturate
from client.compare.fleet import Round, Tick
from client.compare.lab import Lab
from client.compare.load import FIRST, Log, OpenedRow, SentRow, digest, introduction
from client.compare.plan import Plan
from client.compare.rounds import Taken

MODES = ("a", "b", "c")


def _plan() -> Plan:
    size = plan.Size(users=2, rate=100, warmup=0, duration=1, rounds=2, slices=1)
    trace = plan.make_trace("synthetic", size, 1)
    out = Path("x")
    return Plan(modes=MODES, trace=trace, size=size, seed=1, thresholds=(), out=out, argv=())


def _played(plan: Plan, *, late_ms: int, slow_ms: int) -> Round:
    """Everything sent ``late_ms`` after it was planned, acknowledged ``slow_ms`` after that."""
    late, slow = late_ms * 1_000_000, slow_ms * 1_000_000
    log = Log()
    firsts = list(enumerate(plan.trace.pairs.items()))
    rows = [(FIRST - n, first, introduction(n), 0) for n, (_, first) in firsts]
    rows += [(i, r.sender, r.content, r.at_us * 1000) for i, r in enumerate(plan.trace.rows)]
    for row, sender, content, at in rows:
        id_ = digest(str(row).encode())
        log.sent.append(SentRow(row, id_, at, at + late, at + late + slow))
        opened = at + late + slow + 1_000_000
        log.opened.append(OpenedRow(1 - sender, id_, bytes(16), opened, digest(content)))
    return Round(0, [Tick(0, 0, 0), Tick(1, 1, 1)], [log])


class _Bench:
    """Stands for relays and instruments; ``bad`` are the parts (by number) that are void."""

    def __init__(self, bad: dict[int, dict[str, int]]) -> None:
        self.bad, self.parts, self.saturated = bad, 0, 0
        self.names: list[str] = []

    @contextlib.asynccontextmanager
    async def relay(self, mode: str, name: str) -> AsyncIterator[None]:
        self.names.append(name)
        yield

    async def latency(self, lab: Any, relay: Any, plan: Plan) -> Round:
        self.parts += 1
        return _played(plan, **{"late_ms": 1, "slow_ms": 2, **self.bad.get(self.parts, {})})

    async def saturation(self, *_: Any) -> saturate.Outcome:
        self.saturated += 1
        return saturate.Outcome([saturate.Slice(1, 10, 1, 1)], 10, 10, 10, 100)


async def _play(
    monkeypatch: pytest.MonkeyPatch, bad: dict[int, dict[str, int]]
) -> tuple[Taken, _Bench, int]:
    bench = _Bench(bad)
    monkeypatch.setattr(instruments, "latency", bench.latency)
    monkeypatch.setattr(instruments, "saturation", bench.saturation)
    lab: Lab = bench  # type: ignore[assignment]  # of a laboratory only the relays are used
    taken = Taken()

    def say(text: str, *, more: int = 0) -> None:
        added.append(more)

    added: list[int] = []
    await rounds.play(_plan(), lab, taken, 0, say)
    return taken, bench, sum(added)


def _told(taken: Taken) -> list[tuple[str, int, bool, bool]]:
    return [(one.mode, one.attempt, one.valid, one.kept) for one in taken.rounds]


LATE = {"late_ms": 40}
SLOW = {"slow_ms": 700}


@pytest.mark.asyncio
async def test_a_good_round_is_played_once(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, bench, more = await _play(monkeypatch, {})
    assert _told(taken) == [(mode, 0, True, True) for mode in MODES]
    assert (bench.saturated, more) == (3, 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("flaw", [LATE, SLOW])
async def test_one_void_mode_repeats_the_round_in_all_modes(
    monkeypatch: pytest.MonkeyPatch, flaw: dict[str, int]
) -> None:
    taken, bench, more = await _play(monkeypatch, {2: flaw})
    before = [("a", 0, True, False), ("b", 0, False, False)]
    assert _told(taken) == before + [(mode, 1, True, True) for mode in MODES]
    assert [one.order for one in taken.rounds] == [0, 1, 2, 3, 4]
    assert len(set(bench.names)) == 5
    assert more == 2
    rows = len(_plan().trace.rows) + len(_plan().trace.pairs)
    for mode in MODES:
        assert sum(sample.mode == mode for sample in taken.samples) == rows
        assert len(taken.outcomes[mode]) == 1
    # A message lost in an attempt that does not count is lost all the same: all are checked.
    assert [taken.verdicts[mode].delivered for mode in MODES] == [2 * rows, 2 * rows, rows]


@pytest.mark.asyncio
async def test_the_second_attempt_is_kept_whatever_it_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken, bench, _ = await _play(monkeypatch, {1: LATE, 3: LATE})
    assert _told(taken) == [
        ("a", 0, False, False),
        ("a", 1, True, True),
        ("b", 1, False, True),
        ("c", 1, True, True),
    ]
    assert bench.saturated == 3
