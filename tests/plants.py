"""The harness that proves the harness: ``python -m tests.plants [ROW …]``.

Takes one protection away at a time (``planted.py``), runs the tests that are said to show it, and
fails if one of them still passes. As a pytest plugin (``-p tests.plants``, with ``LOUVER_PLANT``
naming a plant by its number in the table) it plants before anything else is imported.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests import planted, planted_keys, planted_state, planted_vault
from tests.plant import Plant
from tests.removals import Change

ROOT = Path(__file__).parent.parent
PLANTS = planted.PLANTS + planted_keys.PLANTS + planted_state.PLANTS + planted_vault.PLANTS
_SURVIVORS = "survived: "


def place(name: str) -> tuple[Any, str]:
    """The object and its attribute that a dotted name means. Raises ``AttributeError``."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            home = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:-1]:
            home = getattr(home, part)
        getattr(home, parts[-1])
        return home, parts[-1]
    raise AttributeError(f"there is no {name}")


def plant(changes: Mapping[str, Change]) -> None:
    """Replace what stands at each place."""
    for name, change in changes.items():
        home, attribute = place(name)
        setattr(home, attribute, change(getattr(home, attribute)))


# What must still work without any one protection: else a test fails for another reason than its
# own, and shows nothing.
SOUND = "tests/test_client.py::test_two_people_talk"


class Survivors:
    """A pytest plugin: a test function survives if none of its cases failed."""

    def __init__(self) -> None:
        self.failed: dict[str, bool] = defaultdict(bool)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.partition("[")[0]
        self.failed[name] = self.failed[name] or (report.failed and report.when == "call")

    def found(self) -> list[str]:
        """The survivors; ``SOUND`` is one if it failed."""
        return [name for name, failed in self.failed.items() if failed == (name == SOUND)]

    def pytest_terminal_summary(self) -> None:
        """One line per survivor, for whoever started this."""
        for name in self.found():
            print(f"\n{_SURVIVORS}{name}")  # noqa: T201 - the answer


def pytest_configure(config: pytest.Config) -> None:
    """Part of pytest's plugin interface."""
    config.pluginmanager.register(Survivors())


def survivors(given: Plant) -> list[str]:
    """The tests that pass although the protection is gone; none, where the tests are worth it.
    ``SOUND`` is among them if two people cannot talk any more: that proves nothing."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.plants", "-p", "no:cacheprovider"]
    command += ["-p", "no:randomly", "--tb=no", "-o", "timeout=300", SOUND, *given.tests]
    environment = os.environ | {"LOUVER_PLANT": str(PLANTS.index(given))}
    ran = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    lines = ran.stdout.splitlines()
    found = [line.removeprefix(_SURVIVORS) for line in lines if line.startswith(_SURVIVORS)]
    # 1: tests failed; 0: all passed. Anything else, and nothing was tried.
    if ran.returncode not in (0, 1):
        found.append(f"nothing ran: {' '.join((ran.stdout + ran.stderr).split()[-40:])}")
    return found


def main(rows: Iterable[int]) -> int:
    """Plant all faults of ``rows``, or of all; one line each. The number of faults not noticed."""
    wanted, missed = set(rows), 0
    for given in PLANTS:
        if wanted and given.row not in wanted:
            continue
        found = survivors(given)
        missed += bool(found)
        verdict = f"NOT NOTICED by {', '.join(found)}" if found else "noticed"
        count = len(given.tests)
        print(f"{given.row:>2} without {given.without}: {count} tests, {verdict}", flush=True)  # noqa: T201 - the answer
    return missed


if "LOUVER_PLANT" in os.environ:
    plant(PLANTS[int(os.environ["LOUVER_PLANT"])].changes)

if __name__ == "__main__":
    sys.exit(1 if main(int(each) for each in sys.argv[1:]) else 0)
