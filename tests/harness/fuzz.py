"""Mutated bytes into every decoder, for as long as wanted: nothing but a value or our own error.

What may live here: the loop. The decoders and their seeds are in ``tests/decoders.py``.
``python -m tests.harness fuzz [--full]`` needs nothing else; what knows how far an input came is
``by_coverage.py``.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

from tests.decoders import careless, decoders, mutated, outcome
from tests.harness.report import Result

PLANTS = ("careless_decoder",)
_ROUND = 50
_KEPT = 2000  # inputs that were understood, mutated further


async def run(place: Path, *, seconds: float, seed: int = 0, planted: str = "") -> Result:
    """Every decoder in turn for ``seconds`` altogether; ``seed`` decides what is tried."""
    chance = random.Random(seed)
    table = dict(decoders())
    if planted:
        table[planted] = careless()
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
