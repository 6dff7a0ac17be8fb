"""Plans, thresholds and the command line's refusals: exit code 2 before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.compare import campaign, cli, plan, record, results
from client.compare.cli import run
from crypto_modes.errors import BadArgument
from tests import toy_mode
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
        ("tls.latency_ms.p42<50", "did you mean latency_ms.p99 or"),
        ("tls.latency.p99<50", "did you mean latency_ms.p99 or"),
        ("tls.latency_ms<50", "did you mean latency_ms.count or latency_ms.p50 or"),
        ("tls.exposure.databse.recovered<=0", "did you mean exposure.database.recovered or"),
        ("tls.words<50", r"no measure 'words'; There are: latency_ms.count\|p50\|p90"),
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


def test_every_measure_that_is_offered_can_be_looked_up() -> None:
    known = list(results.measures())
    assert len(known) > 50
    for path in known:
        condition = plan.threshold(f"e2ee.{path}>=0", ("tls", "e2ee"))
        condition.judge(made_up())


@pytest.mark.parametrize("failure", [KeyboardInterrupt, BadArgument])
def test_an_interrupted_run_leaves_no_empty_directory(
    failure: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    async def compare(plan: plan.Plan, *_: object) -> None:
        seen.append(plan.out.is_dir())
        raise failure("stop")

    monkeypatch.setattr(campaign, "compare", compare)
    (tmp_path / "old").mkdir()
    assert run(["--out", str(tmp_path / "new" / "report")]) in (cli.USAGE, cli.INTERRUPTED)
    assert run(["--out", str(tmp_path / "old")]) in (cli.USAGE, cli.INTERRUPTED)
    assert seen == [True, True]
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_mode_of_another_package_can_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = []

    async def compare(plan: plan.Plan, *_: object) -> None:
        planned.append(plan.modes)
        raise BadArgument("enough")

    monkeypatch.setattr(campaign, "compare", compare)
    monkeypatch.setattr("client.opening.entry_points", lambda group: [_Entry()])
    assert run(["--modes", "forgetful,tls"]) == cli.USAGE
    assert run([]) == cli.USAGE
    assert planned == [("forgetful", "tls"), ("tls", "at_rest", "e2ee")]


class _Entry:
    """An entry point that another package would declare."""

    def load(self) -> object:
        return toy_mode.MODE


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
