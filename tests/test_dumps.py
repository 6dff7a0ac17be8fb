"""Core dumps are off where keys are held: in every command that opens a key store, in louverd."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from client import dumps
from server import dumps as relay_dumps

ROOT = Path(__file__).parent.parent

# The limit may be nothing already, where the tests run; that it is asked for shows either way.
WATCHED = """
import ctypes, resource, sys

def watched(kind, limits, real=resource.setrlimit):
    real(kind, limits)
    print(kind == resource.RLIMIT_CORE, limits)

resource.setrlimit = watched
"""

LOUVER = """
from client.cli import options

async def work(terms):
    dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) if sys.platform == "linux" else 0
    print("dumpable", dumpable)

options.run(work, options.place(None, "nobody"))
"""

LOUVERD = """
from server import cli

cli.app = lambda: print("the command")
cli.main()
"""


@pytest.mark.parametrize(("program", "said"), [(LOUVER, "dumpable 0"), (LOUVERD, "the command")])
def test_the_commands_forbid_dumps_before_they_hold_a_key(program: str, said: str) -> None:
    """In a process of its own: what was lowered cannot be raised again."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED + program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["True (0, 0)", said]


@pytest.mark.parametrize("module", ["client", "server"])
def test_where_there_are_no_such_limits_nothing_happens(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = dumps if module == "client" else relay_dumps
    monkeypatch.setattr(chosen, "resource", None)
    monkeypatch.setattr(sys, "platform", "win32")
    chosen.forbid()
