"""The door to ``atheris``, with a stand-in for it: the seeds go in, what is wrong comes out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace

import msgspec
import pytest

from tests.decoders import decoders
from tests.harness import by_coverage

ENDED = """INFO: Instrumenting crypto_modes.wire
#2\tINITED cov: 8 ft: 8 corp: 1/1b
#9\tDONE   cov: 16 ft: 16 corp: 5/233b
stat::number_of_executed_units: 820290
"""


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What a decoder was tried with by an ``atheris`` that only reads the corpus."""
    seen: list[bytes] = []
    handed: list[tuple[list[str], Callable[[bytes], None]]] = []

    def fuzz() -> None:
        options, one = handed[0]
        for path in sorted(Path(options[-1]).iterdir()):
            seen.append(path.read_bytes())
            one(seen[-1])

    module = ModuleType("atheris")
    module.__dict__.update(
        instrument_imports=lambda include: nullcontext(include),
        Setup=lambda options, one, enable_python_coverage: handed.append((options, one)),
        Fuzz=fuzz,
    )
    monkeypatch.setitem(sys.modules, "atheris", module)
    return seen


def test_a_decoder_begins_with_what_it_understands(tried: list[bytes], tmp_path: Path) -> None:
    by_coverage.hand_over("server frame, json", tmp_path, 1)
    assert set(tried) == set(decoders()["server frame, json"].seeds)


def test_the_planted_fault_comes_out(tried: list[bytes], tmp_path: Path) -> None:
    place = tmp_path / by_coverage.slug(by_coverage.PLANT)
    by_coverage.sow(place, (b"\x93",))
    with pytest.raises(msgspec.DecodeError):
        by_coverage.hand_over(by_coverage.PLANT, tmp_path, 1)
    assert tried[-1] == b"\x93"


def test_a_line_says_how_often_it_ran(tmp_path: Path) -> None:
    line = by_coverage.figures("note", 0, ENDED, tmp_path)
    assert line == {"decoder": "note", "runs": 820290, "edges": 16, "ok": True}


@pytest.mark.parametrize(("code", "said"), [(77, ENDED), (0, "No module named atheris")])
def test_an_end_that_is_none_is_told_with_its_input(code: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "client_frame_json-crash-1").write_bytes(b"\x93")
    line = by_coverage.figures("client frame, json", code, said, tmp_path)
    assert not line["ok"]
    assert line["inputs"] == ["93"]
    assert "Instrumenting" not in line["said"]


@pytest.mark.parametrize("wrong", [False, True])
def test_each_is_fuzzed_and_the_exit_code_says_it(
    wrong: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ended(command: list[str], **_: object) -> SimpleNamespace:
        name = command[command.index("--inside") + 1]
        return SimpleNamespace(returncode=77 if wrong and name == "note" else 0, stdout=ENDED)

    monkeypatch.setattr(by_coverage.subprocess, "run", ended)
    assert by_coverage.main(["note", "report", "--keep", str(tmp_path)]) == wrong
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_an_unknown_decoder_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        by_coverage.main(["novel"])
    assert "no such decoder: novel" in capsys.readouterr().err
