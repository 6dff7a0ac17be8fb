"""What the relay's share of one message costs in each mode.

Run by hand, from the top of the repository: ``python -m tests.benchmarks.bench_modes``. It
prints CPU microseconds a message, what each mode adds to ``tls``, and that as a multiple of one
bare AES-256-GCM seal and open of the same text, which holds on other machines too. All of it is
from one run in which the modes take turns, so that a slow moment meets all of them. ``at_rest``
runs over the real cache of data keys, ``e2ee`` carries copies for two devices. Nothing is
asserted here.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from statistics import median

from crypto_modes import wire
from crypto_modes.contract import NO_DIGEST, Meta, Mode, Need, Sealed, ServerMode, ServerTools
from crypto_modes.padding import pad
from crypto_modes.primitives import aead_open, aead_seal
from crypto_modes.registry import BUILTIN
from server.keyrings.data_keys import DataKeyCache
from tests.keys import MemoryKeyring, MemoryKeys, key_need

ROUNDS = 15
MESSAGES = 2_000
BODY = os.urandom(200)
COPY = 130 + len(pad(BODY))  # header, franking key, tag and the padded text
_KEY, _NONCE = os.urandom(32), bytes(12)
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
    sides = {mode.name: asyncio.run(_side(mode)) for mode in BUILTIN}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    bare: list[float] = []
    for turn in range(ROUNDS):
        for name in sides if turn % 2 else reversed(sides):
            times[name].append(_round(name, sides[name]))
        bare.append(_cost(_seal_and_open))
    row = "{:8} {:>9} {:>9} {:>9} {:>9} {:>9}\n".format
    out = sys.stdout.write
    out(row("mode", "admit", "emit", "both", "over tls", "× AES-GCM"))
    base = 0.0
    for name, rounds in times.items():
        admit, emit = (median(column) for column in zip(*rounds, strict=True))
        base = base or admit + emit
        over = admit + emit - base
        shown = (f"{value:.1f} µs" for value in (admit, emit, admit + emit, over))
        out(row(name, *shown, f"{over / median(bare):.1f}"))


async def _side(mode: Mode) -> ServerMode:
    clock = time.time_ns
    keys = DataKeyCache(
        MemoryKeys(), MemoryKeyring(), now=lambda: clock() // 1_000_000, monotonic=_monotonic
    )
    tools = ServerTools(
        deployment=bytes(16), random=os.urandom, data_keys=keys, franking_keys=OneFrankingKey()
    )
    side = mode.server(tools)
    try:
        side.admit(META, _sealed(mode.name), NO_DIGEST)
    except Need as need:
        await keys.supply(key_need(need))
    return side


class OneFrankingKey:
    """The same key for every month."""

    def find(self, month: int) -> bytes:
        """Always there."""
        return bytes(32)


def _sealed(mode: str) -> Sealed:
    """A message as the mode's clients send it; the relay does not look into ``e2ee`` copies."""
    if mode != "e2ee":
        return Sealed(mode=mode, epoch=1, body=BODY)
    copies = tuple(wire.Copy(device, os.urandom(COPY)) for device in (META.device, bytes(16)))
    return Sealed(mode=mode, epoch=1, copies=copies, commitment=bytes(32))


def _monotonic() -> int:
    return time.monotonic_ns() // 1_000_000


def _round(name: str, side: ServerMode) -> tuple[float, float]:
    """CPU microseconds of one ``admit`` and one ``emit``."""
    sealed = _sealed(name)
    stored = side.admit(META, sealed, NO_DIGEST)
    return (
        _cost(lambda: side.admit(META, sealed, NO_DIGEST)),
        _cost(lambda: side.emit(stored, META.device)),
    )


def _seal_and_open() -> None:
    aead_open(_KEY, _NONCE, aead_seal(_KEY, _NONCE, BODY, b""), b"")


def _cost(call: Callable[[], object]) -> float:
    start = time.process_time_ns()
    for _ in range(MESSAGES):
        call()
    return (time.process_time_ns() - start) / MESSAGES / 1000


if __name__ == "__main__":
    main()
