"""What the relay's share of one message costs in the modes where the relay itself encrypts.

Run by hand, from the top of the repository: ``python -m tests.benchmarks.bench_modes``. It
prints CPU microseconds a message and what each mode adds to ``tls``, from one run in which the
modes take turns, so that a slow moment of the machine meets all of them. ``at_rest`` runs over
the real cache of data keys. Nothing is asserted here.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from statistics import median

from crypto_modes import at_rest, tls
from crypto_modes.contract import NO_DIGEST, Meta, Mode, Need, Sealed, ServerMode, ServerTools
from server.keyrings.data_keys import DataKeyCache
from tests.keys import MemoryKeyring, MemoryKeys, NoFrankingKeys, key_need

ROUNDS = 15
MESSAGES = 2_000
BODY = os.urandom(200)
MODES: tuple[Mode, ...] = (tls.MODE, at_rest.MODE)
META = Meta(
    conversation=os.urandom(16),
    seq=1,
    id=os.urandom(16),
    sender=os.urandom(16),
    device=os.urandom(16),
    recipient=os.urandom(16),
    kind="text",
    mode="",
    epoch=1,
    time=time.time_ns() // 1_000_000,
)


def main() -> None:
    """Print the table."""
    sides = {mode.name: asyncio.run(_side(mode)) for mode in MODES}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for turn in range(ROUNDS):
        for name in sides if turn % 2 else reversed(sides):
            times[name].append(_round(name, sides[name]))
    print_row = "{:8} {:>8} {:>8} {:>8} {:>10}\n".format
    out = sys.stdout.write
    out(print_row("mode", "admit", "emit", "both", "over tls"))
    base = 0.0
    for name, rounds in times.items():
        admit, emit = (median(column) for column in zip(*rounds, strict=True))
        base = base or admit + emit
        row = (f"{value:.1f} µs" for value in (admit, emit, admit + emit, admit + emit - base))
        out(print_row(name, *row))


async def _side(mode: Mode) -> ServerMode:
    clock = time.time_ns
    keys = DataKeyCache(
        MemoryKeys(), MemoryKeyring(), now=lambda: clock() // 1_000_000, monotonic=_monotonic
    )
    tools = ServerTools(
        deployment=bytes(16), random=os.urandom, data_keys=keys, franking_keys=NoFrankingKeys()
    )
    side = mode.server(tools)
    try:
        side.admit(META, Sealed(mode=mode.name, epoch=1, body=BODY), NO_DIGEST)
    except Need as need:
        await keys.supply(key_need(need))
    return side


def _monotonic() -> int:
    return time.monotonic_ns() // 1_000_000


def _round(name: str, side: ServerMode) -> tuple[float, float]:
    """CPU microseconds of one ``admit`` and one ``emit``."""
    sealed = Sealed(mode=name, epoch=1, body=BODY)
    stored = side.admit(META, sealed, NO_DIGEST)
    return (
        _cost(lambda: side.admit(META, sealed, NO_DIGEST)),
        _cost(lambda: side.emit(stored, META.device)),
    )


def _cost(call: Callable[[], object]) -> float:
    start = time.process_time_ns()
    for _ in range(MESSAGES):
        call()
    return (time.process_time_ns() - start) / MESSAGES / 1000


if __name__ == "__main__":
    main()
