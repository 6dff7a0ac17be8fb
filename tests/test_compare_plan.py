"""Plans, thresholds and the command line's refusals: exit code 2 before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.compare import cli, plan, record, results
from client.compare.cli import run
from crypto_modes.errors import BadArgument
from tests.compare_results import made_up, raw


def _plan(rounds: int) -> plan.Plan:
    size = plan.Size(users=2, rate=100, warmup=0, duration=1, rounds=rounds, slices=1)
    trace = plan.make_trace("synthetic", size, 1)
    return plan.Plan(
        modes=("a", "b", "c"),
        trace=trace,
        size=size,
        seed=1,
        thresholds=(),
        out=Path("x"),
        argv=(),
    )


def test_modes_alternate_forth_and_back() -> None:
    order = [mode for number in range(3) for mode in _plan(3).order(number)]
    assert "".join(order) == "abccbaabc"


@pytest.mark.parametrize(
    ("text", "crossed"),
    [
        ("e2ee.latency_ms.p50<50", False),
        ("e2ee.latency_ms.p50 < 0.5", True),
        ("tls.lost<=0", False),
        ("tls.throughput.per_core_second>=1e6".replace("1e6", "1000000"), True),
        ("e2ee.exposure.database.recovered<=0", False),
        ("tls.moderation.scan.readable>0", True),
    ],
)
def test_thresholds_are_judged(text: str, crossed: bool) -> None:
    condition = plan.threshold(text, ("tls", "e2ee"))
    assert condition.judge(made_up()).crossed is crossed


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("p99", "takes a condition"),
        ("e2ee.latency_ms.p99=50", "takes a condition"),
        ("mls.latency_ms.p99<50", "not among the modes"),
        ("tls.latency_ms.p42<50", "there is: count, p50"),
        ("tls.latency_ms<50", "no measure ''"),
        ("tls.words<50", "is no number"),
    ],
)
def test_a_wrong_threshold_says_what_is_right(text: str, complaint: str) -> None:
    with pytest.raises(BadArgument, match=complaint):
        plan.threshold(text, ("tls", "e2ee"))


@pytest.mark.parametrize(
    "words",
    [
        ["--quick", "--full"],
        ["--modes", "tls,rot13"],
        ["--modes", "tls,tls"],
        ["--modes", ""],
        ["--users", "1"],
        ["--rounds", "0"],
        ["--rate", "fast"],
        ["--duration", "0"],
        ["--threshold", "nonsense"],
        ["--trace", "no/such/file"],
        ["--no-such-flag"],
        ["--postures", "signal"],
        ["diff", "only-one"],
        ["report", "no/such/directory"],
    ],
)
def test_wrong_usage_is_exit_2_and_one_line(
    words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "report"
    extra = [] if words[0] in ("diff", "report") else ["--out", str(out)]
    assert run([*words, *extra]) == cli.USAGE
    said = capsys.readouterr().err
    assert said.startswith("louver: ")
    assert not out.exists()


def test_a_report_is_rendered_again_from_raw_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = raw()
    record.write(tmp_path, source.samples, source.blocks)
    (tmp_path / results.FILE).write_bytes(results.encode(made_up()))
    assert run(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "index.html")
    assert "<svg" in (tmp_path / "index.html").read_text()


def test_diff_of_a_run_with_itself_sees_no_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = raw()
    record.write(tmp_path, source.samples, source.blocks)
    (tmp_path / results.FILE).write_bytes(results.encode(made_up()))
    assert run(["diff", str(tmp_path), str(tmp_path), "--json"]) == 0
    said = capsys.readouterr().out
    assert '"latency_ms.p50"' in said
    assert '"value": 1.0' in said


def test_help_names_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for code in ("4 measurement invalid", "5 verification failed", "99 threshold crossed"):
        assert code in said
