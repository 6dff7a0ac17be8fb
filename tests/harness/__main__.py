"""``python -m tests.harness NAME``: run one harness; see the package."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from tests.harness import (
    chaos,
    conformance,
    faults,
    fuzz,
    hostile,
    kill,
    powercut,
    restart,
    simulation,
    soak,
)
from tests.harness.report import Result, conclude

Run = Callable[..., Coroutine[Any, Any, Result]]

# The harness, its arguments in the quick and in the full form, and the faults it can be given.
HARNESSES: dict[str, tuple[Run, dict[str, Any], dict[str, Any], tuple[str, ...]]] = {
    "chaos": (chaos.run, {"rounds": 1}, {"rounds": 25}, chaos.PLANTS),
    "conformance": (
        conformance.run,
        {"kinds": ("text",)},
        {"kinds": ("text", "binary")},
        conformance.PLANTS,
    ),
    "faults": (faults.run, {"rounds": 2}, {"rounds": 100}, faults.PLANTS),
    "fuzz": (fuzz.run, {"seconds": 2.0}, {"seconds": 3600.0}, fuzz.PLANTS),
    "hostile": (
        hostile.run,
        {"seconds": 5.0, "headers": 100, "readers": 30, "floods": 1},
        {"seconds": 60.0, "headers": 500, "readers": 200, "floods": 5},
        hostile.PLANTS,
    ),
    "kill": (kill.run, {"kills": 8}, {"kills": 1000}, kill.PLANTS),
    "powercut": (
        powercut.run,
        {"cuts": 400, "messages": 400},
        {"cuts": 10_000, "messages": 2_000},
        powercut.PLANTS,
    ),
    "restart": (restart.run, {"restarts": 4}, {"restarts": 200}, restart.PLANTS),
    "simulation": (simulation.run, {"seeds": 200}, {"seeds": 10_000}, simulation.PLANTS),
    "soak": (soak.run, {"seconds": 20.0}, {"seconds": 3600.0}, soak.PLANTS),
}


def main(arguments: list[str]) -> int:
    """Run what the arguments say; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.harness")
    parser.add_argument("name", choices=HARNESSES)
    parser.add_argument("--full", action="store_true", help="the long form")
    parser.add_argument("--plant", default="", help="a fault that must be found")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None, help="where to write the record")
    options = parser.parse_args(arguments)
    run, quick, full, plants = HARNESSES[options.name]
    if options.plant and options.plant not in plants:
        parser.error(f"{options.name} has these faults: {', '.join(plants)}")
    given = full if options.full else quick
    with tempfile.TemporaryDirectory(prefix="louver-harness-") as place:
        work = run(Path(place), **given, seed=options.seed, planted=options.plant)
        result = asyncio.run(work)
    return conclude(result, options.json)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
