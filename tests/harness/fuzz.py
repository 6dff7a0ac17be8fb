"""Mutated bytes into every decoder, for as long as wanted: nothing but a value or our own error.

What may live here: the loop, and the door for a coverage-guided fuzzer. The decoders and their
seeds are in ``tests/decoders.py``. ``python -m tests.harness fuzz [--full]`` needs nothing else;
with the package ``atheris`` installed, one decoder at a time is fuzzed by coverage::

    python -m tests.harness.fuzz "e2ee header" -max_total_time=3600
"""

from __future__ import annotations

import importlib
import random
import sys
import time
from pathlib import Path

import msgspec

from tests.decoders import Decoder, decoders, mutated, outcome
from tests.harness.report import Result

PLANTS = ("careless_decoder",)
_ROUND = 50
_KEPT = 2000  # inputs that were understood, mutated further


async def run(place: Path, *, seconds: float, seed: int = 0, planted: str = "") -> Result:
    """Every decoder in turn for ``seconds`` altogether; ``seed`` decides what is tried."""
    chance = random.Random(seed)
    table = dict(decoders())
    if planted:
        table[planted] = Decoder(msgspec.msgpack.decode, (b"\x93\x01\x02\x03",))
    corpus = {name: list(each.seeds) for name, each in table.items()}
    tried, wrong, examples = 0, dict.fromkeys(table, 0), {}
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        for name, decoder in table.items():
            for _ in range(_ROUND):
                data = mutated(chance.choice(corpus[name]), chance)
                error = outcome(decoder, data)
                tried += 1
                if error is not None:
                    wrong[name] += 1
                    examples.setdefault(name, f"{type(error).__name__}: {data[:200].hex()}")
                elif len(corpus[name]) < _KEPT and chance.random() < 0.01:
                    corpus[name].append(data[:4096])
    figures: dict[str, float | int | str] = {"inputs": tried, "decoders": len(table)}
    spent = time.monotonic() - began
    return Result("fuzz", figures, wrong, examples, planted, spent)


def by_coverage(name: str, options: list[str]) -> None:
    """Hand one decoder to ``atheris``, which ends the process itself."""
    atheris = importlib.import_module("atheris")
    decoder = decoders()[name]

    def one(data: bytes) -> None:
        error = outcome(decoder, data)
        if error is not None:
            raise error

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    by_coverage(sys.argv[1], sys.argv[2:])
