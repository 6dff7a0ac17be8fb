"""What CI does about a test that failed: look again, alone, three times; and say so.

Only this judgement lives here (docs/decisions/0024). `./louver test` never looks twice.

    python -m tests.second_look

Ends with code 0 only where all that failed in the last run is few, hunts nothing by chance, and
passes every time when nothing else runs: then the test is unsteady, which is a bug in the test,
printed as one. Whatever fails for a reason in the code fails again, and so does this.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

LAST_FAILED = Path(".pytest_cache/v/cache/lastfailed")
# More than these at once is no accident.
MOST = 3
LOOKS = 3
# A harness draws its faults by chance: one that it saw once is a finding, whatever comes after.
HUNTERS = ("tests/test_harness", "tests/test_simulation", "tests/test_store_crash")

Run = Callable[[Sequence[str]], bool]


def alone(tests: Sequence[str]) -> bool:
    """Whether these pass in one process, with nothing else beside it."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    return subprocess.call(command) == 0


def verdict(failed: Sequence[str], run: Run) -> tuple[bool, str]:
    """Whether what failed may pass for unsteady, and what to print. ``failed`` are ids of tests."""
    if not failed:
        return False, "the run ended badly, and not by a test: read its output"
    if len(failed) > MOST:
        return False, f"{len(failed)} tests failed: more than {MOST} are no accident"
    modules = [test for test in failed if "::" not in test]
    if modules:
        return False, f"{modules[0]} is no test: it could not be read, so others may not have run"
    hunters = [test for test in failed if test.startswith(HUNTERS)]
    if hunters:
        return False, f"{hunters[0]} hunts by chance: what it found once is there"
    for look in range(1, LOOKS + 1):
        if not run(failed):
            return False, f"failed again, alone, at look {look} of {LOOKS}"
    names = "\n".join(f"  {test}" for test in failed)
    return True, f"UNSTEADY, a bug in the test (failed once, passed {LOOKS} times alone):\n{names}"


def last_failed(path: Path) -> list[str]:
    """The ids of the tests that failed in the last run; none where there is no record of it."""
    return sorted(json.loads(path.read_bytes())) if path.exists() else []


def main() -> int:
    """Look again at what failed in the last run."""
    steady, words = verdict(last_failed(LAST_FAILED), alone)
    sys.stderr.write(words + "\n")
    return 0 if steady else 1


if __name__ == "__main__":
    sys.exit(main())
