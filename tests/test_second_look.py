"""What may pass for unsteady in CI, and what never does."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.second_look import HUNTERS, LAST_FAILED, LOOKS, MOST, Run, alone, last_failed, verdict

ONCE = "tests/test_once.py::test_x"


class Runs:
    """Plays back whether each look passes, and counts them."""

    def __init__(self, *passes: bool) -> None:
        self.left = list(passes)

    def __call__(self, tests: Sequence[str]) -> bool:
        return self.left.pop(0)


def never(tests: Sequence[str]) -> bool:
    raise AssertionError("nothing is to be run")


def test_what_passes_every_time_alone_is_unsteady_and_named() -> None:
    runs = Runs(*[True] * LOOKS)
    steady, words = verdict([ONCE], runs)
    assert steady
    assert ONCE in words
    assert "a bug in the test" in words
    assert runs.left == []


@pytest.mark.parametrize("look", range(LOOKS))
def test_what_fails_once_more_has_failed(look: int) -> None:
    passes = [True] * LOOKS
    passes[look] = False
    assert verdict([ONCE], Runs(*passes))[0] is False


@pytest.mark.parametrize(
    ("failed", "why"),
    [
        ([], "not by a test"),
        ([f"{ONCE}[{number}]" for number in range(MOST + 1)], "no accident"),
        ([ONCE, "tests/test_other.py"], "is no test"),
        ([ONCE, "tests/test_harness.py::test_kill"], "hunts by chance"),
    ],
)
def test_what_is_never_looked_at_again(failed: list[str], why: str) -> None:
    run: Run = never
    steady, words = verdict(failed, run)
    assert not steady
    assert why in words


@pytest.mark.parametrize("prefix", HUNTERS)
def test_hunters_are_where_the_table_says(prefix: str) -> None:
    assert list(Path(__file__).parents[1].glob(f"{prefix}*.py"))


def test_the_record_is_the_one_that_pytest_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real run that fails leaves what is read here, and a look at it alone fails as well."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # they take seconds, and do nothing
    test = tmp_path / "test_wrong.py"
    test.write_text("def test_wrong(): assert False\n")
    (tmp_path / "pytest.ini").write_text(f"[pytest]\ncache_dir = {tmp_path / 'cache'}\n")
    assert last_failed(tmp_path / "cache/v/cache/lastfailed") == []
    assert not alone([str(test), "--rootdir", str(tmp_path), "-p", "cacheprovider"])
    assert last_failed(tmp_path / "cache/v/cache/lastfailed") == ["test_wrong.py::test_wrong"]
    test.write_text("def test_wrong(): pass\n")
    assert alone([str(test), "--rootdir", str(tmp_path)])


@pytest.mark.parametrize(("code", "ends"), [(0, 0), (1, 0), (2, 1), (3, 1), (139, 1)])
def test_a_run_that_was_cut_off_is_not_looked_at_again(
    tmp_path: Path, code: int, ends: int
) -> None:
    """No list of failed tests tells of it; one that is left from an earlier run would."""
    ci = (Path(__file__).parents[1] / ".ci/run").read_text()
    body = ci[ci.index("\ntests() ") : ci.index('\nstep "tests"')]
    louver = tmp_path / "louver"
    louver.write_text(f'#!/bin/sh\n[ "$1" = exec ] && exit 0\nexit {code}\n')
    louver.chmod(0o755)
    left = tmp_path / LAST_FAILED
    left.parent.mkdir(parents=True)
    left.write_text('{"tests/test_long_ago.py::test_x": true}')
    assert subprocess.call(["bash", "-c", f"{body}\ntests"], cwd=tmp_path) == ends
    assert not left.exists()
