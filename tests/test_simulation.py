"""The simulation of ``tests.harness``: a seed decides everything, so a failing one can be replayed.

What it finds, and the faults it must find, are in ``test_harness.py``.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time

import pytest

from tests.harness.process import ROOT
from tests.harness.simulated.clock import SimulatedLoop, Stuck, Wall, sealed


def replay(seed: int, hashing: int) -> str:
    """Everything that arrived in a seed; ``hashing`` orders the sets of that process."""
    environment = os.environ | {"PYTHONHASHSEED": str(hashing), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.harness.simulation", str(seed)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=True)
    return done.stdout.decode()


def test_a_seed_replays_byte_for_byte_in_another_process() -> None:
    first = replay(7, 1)
    assert len(first.splitlines()) > 100
    assert replay(7, 2) == first
    assert replay(8, 1) != first


def loop() -> SimulatedLoop:
    return SimulatedLoop(lambda factory: None)


def test_time_passes_without_waiting() -> None:
    simulated, began = loop(), time.monotonic()
    before = simulated.time()
    simulated.run_until_complete(asyncio.sleep(3600.0))
    assert simulated.time() - before == pytest.approx(3600.0)
    assert time.monotonic() - began < 60.0
    simulated.finish()


def test_who_waits_for_nothing_is_told() -> None:
    simulated = loop()
    with pytest.raises(Stuck):
        simulated.run_until_complete(simulated.create_future())
    simulated.finish()


def test_clocks_and_chance_are_those_of_the_seed_until_it_is_left() -> None:
    simulated = loop()
    wall = Wall(simulated)
    with sealed(simulated, wall, random.Random(1)):
        drawn, now = os.urandom(8), time.monotonic()
        wall.ahead += 60.0
        assert time.monotonic() == now
        assert time.time() == wall.time()
    with sealed(simulated, wall, random.Random(1)):
        assert os.urandom(8) == drawn
    assert os.urandom(8) != drawn
    assert time.monotonic() != now
    simulated.finish()
