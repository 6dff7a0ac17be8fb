"""The results file: shipped schema, validation, lookups; raw data on disk; intervals."""

from __future__ import annotations

import sys
from pathlib import Path

import jsonschema
import msgspec
import numpy as np
import pytest

from client.compare import campaign, cli, measures, plan, record, results, stats
from client.compare.ladder import Taken
from client.compare.measures import Raw
from client.compare.trace import Row, Trace
from crypto_modes.errors import BadArgument
from tests import compare_results
from tests.compare_results import made_up, raw


def test_the_shipped_schema_is_the_structs() -> None:
    assert results.shipped_schema() == results.json_schema()


def test_results_follow_the_shipped_schema() -> None:
    document = msgspec.json.decode(results.encode(made_up()))
    jsonschema.Draft202012Validator(results.shipped_schema()).validate(document)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.update(schema="louver.compare/2"),
        lambda d: d["modes"]["tls"].update(lost="none"),
        lambda d: d["modes"]["tls"].update(latencies={}),
        lambda d: d["modes"]["tls"]["exposure"]["database"].pop("declared"),
        lambda d: d.pop("trace"),
    ],
)
def test_what_is_not_results_is_refused(tmp_path: Path, spoil: object) -> None:
    document = msgspec.json.decode(results.encode(made_up()))
    assert callable(spoil)
    spoil(document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(results.shipped_schema()).validate(document)
    (tmp_path / results.FILE).write_bytes(msgspec.json.encode(document))
    with pytest.raises(BadArgument, match="does not follow"):
        results.read(tmp_path)


def test_lookup_finds_numbers_and_says_what_is_there() -> None:
    some = made_up()
    assert results.lookup(some, "tls.latency_ms.p99") == some.modes["tls"].latency_ms.p99
    assert results.lookup(some, "tls.moderation.scan.readable") is None
    with pytest.raises(BadArgument, match="there is: tls, at_rest, e2ee"):
        results.lookup(some, "mls.latency_ms.p99")
    with pytest.raises(BadArgument, match="names a group"):
        results.lookup(some, "tls.latency_ms")


def test_raw_data_is_read_back_exactly(tmp_path: Path) -> None:
    source = raw(rounds=1, seconds=2)
    record.write(tmp_path, source.samples, source.blocks)
    assert record.read(tmp_path) == (list(source.samples), list(source.blocks))


def test_equal_data_gives_equal_files(tmp_path: Path) -> None:
    source = raw(rounds=1, seconds=1)
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        record.write(tmp_path / name, source.samples, source.blocks)
        files.append((tmp_path / name / record.SAMPLES).read_bytes())
    assert files[0] == files[1]


def test_foreign_tables_are_refused(tmp_path: Path) -> None:
    record.write(tmp_path, [], [])
    (tmp_path / record.BLOCKS).write_bytes((tmp_path / record.SAMPLES).read_bytes())
    with pytest.raises(BadArgument, match="has not the columns"):
        record.read(tmp_path)


def test_hlog_holds_the_latencies(tmp_path: Path) -> None:
    from hdrh.histogram import HdrHistogram
    from hdrh.log import HistogramLogReader

    path = tmp_path / "x.hlog"
    record.write_hlog(path, [1000.0] * 99 + [50_000.0], "tls")
    reader = HistogramLogReader(str(path), HdrHistogram(1, 3_600_000_000, 3))
    histogram = reader.get_next_interval_histogram()
    reader.close()
    assert histogram.get_total_count() == 100
    assert histogram.get_value_at_percentile(50) == pytest.approx(1000, rel=0.001)
    assert histogram.get_max_value() == pytest.approx(50_000, rel=0.001)


def test_without_its_library_there_is_no_hlog_and_the_rest_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hdrh", None)  # any import of it fails
    monkeypatch.setattr(record, "can_write_hlog", lambda: False)
    trace = Trace("t", 1, 2, (Row(0, 0, 1, "text", "x"),))
    size = plan.Size(users=2, rate=1, warmup=0, duration=1, rounds=1, slices=1)
    planned = plan.Plan(
        modes=compare_results.MODES, trace=trace, size=size, seed=1, thresholds=(), out=tmp_path,
        argv=(),
    )  # fmt: skip
    cli._check_installed()
    cli._write(planned, campaign.Finished(made_up(), raw(), [], Taken(100, {}), 0))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(
            "blocks.csv.gz",
            "index.html",
            "ladder.json",
            "results.json",
            "samples.csv.gz",
            "steps.json",
            "trace.jsonl",
        )
    ]


def test_the_library_of_histograms_is_found_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert record.can_write_hlog()
    monkeypatch.setattr(record, "find_spec", lambda name: None)
    assert not record.can_write_hlog()


def test_summary_names_percentiles() -> None:
    summary = stats.summary(np.arange(1, 1002, dtype=np.float64))
    assert (summary.p50, summary.p99, summary.max, summary.count) == (501, 991, 1001, 1001)
    with pytest.raises(ValueError, match="no samples"):
        stats.summary(np.array([]))


def test_interval_covers_the_true_ratio_about_95_times_in_100() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for seed in range(40):
        over, under = (
            [[rng.normal(mean, 1, 40) for _ in range(5)] for _ in range(4)] for mean in (20, 10)
        )
        got = stats.ratio(over, under, stats.percentile(50), seed=seed, paired=False, resamples=200)
        assert got.low is not None
        assert got.high is not None
        covered += got.low <= 2.0 <= got.high
    assert 32 <= covered <= 40


def test_percentile_is_numpys() -> None:
    samples = np.random.default_rng(1).lognormal(size=777)
    for point in (0, 50, 99, 99.9, 100):
        assert stats.percentile(point)(samples) == pytest.approx(np.percentile(samples, point))


def test_drift_between_rounds_widens_the_interval() -> None:
    rng = np.random.default_rng(6)

    def width(drift: float) -> float:
        over, under = (
            [[rng.normal(10 + drift * i * k, 1, 50) for _ in range(4)] for i in range(3)]
            for k in (1, 0)
        )
        got = stats.ratio(over, under, stats.percentile(50), seed=1, paired=True, resamples=300)
        assert got.low is not None
        assert got.high is not None
        return got.high - got.low

    assert width(3.0) > 3 * width(0.0)


def test_one_block_gives_a_value_and_no_interval() -> None:
    one = [[np.array([[4.0, 2.0]])]]
    got = stats.ratio(one, [[np.array([[1.0, 1.0]])]], stats.quotient, seed=1, paired=True)
    assert got == results.Interval(value=2.0)


def test_same_seed_same_interval() -> None:
    source = raw()
    first = measures.ratios(source, "e2ee", "tls", seed=3)
    assert first == measures.ratios(source, "e2ee", "tls", seed=3)
    assert first["latency_ms.p50"].value == pytest.approx(3.1 / 1.2, rel=0.2)


def test_a_slower_run_shows_in_the_change() -> None:
    change = measures.changes(raw(scale=2.0), raw(), "at_rest", seed=1)["latency_ms.p50"]
    assert change.low is not None
    assert change.low > 1.4


def test_messages_that_never_arrived_are_not_samples() -> None:
    lost = record.Sample("tls", 0, "steady", 1, 8, 0, 0, 5000, record.NEVER)
    seen = record.Sample("tls", 0, "steady", 2, 8, 0, 0, 5000, 7000)
    assert measures.flat(Raw([lost, seen], []).latency("tls")).tolist() == [7.0]


def _late(lag_ms: float, rounds: int = 3) -> Raw:
    """Latency of 10 ms at the median; in the last round every message left ``lag_ms`` late."""
    made = []
    for number in range(rounds):
        late = int(lag_ms * 1000) if number == rounds - 1 else 0
        for row in range(200):
            at = row * 10_000
            made.append(
                record.Sample("x", number, "steady", row, 8, at, at + late, at + 9000, at + 10_000)
            )
    return Raw(made, [])


@pytest.mark.parametrize(("lag_ms", "noisy"), [(0.1, False), (4.9, False), (5.1, True)])
def test_p99_tells_nothing_where_the_generator_lags_by_half_the_median(
    lag_ms: float, noisy: bool
) -> None:
    assert measures.noisy(_late(lag_ms), "x") is noisy


def test_only_ratios_of_p99_are_too_noisy_to_tell() -> None:
    source = raw()
    busy = Raw(
        [
            s._replace(sent_us=s.planned_us + 2000) if (s.mode, s.phase) == ("tls", "steady") else s
            for s in source.samples
        ],
        source.blocks,
    )
    for mode in ("at_rest", "e2ee"):
        got = measures.ratios(busy, mode, "tls", seed=1)
        assert {name for name, one in got.items() if one.noisy} == {
            "latency_ms.p99",
            "accepted_ms.p99",
        }
    assert not any(one.noisy for one in measures.ratios(source, "e2ee", "tls", seed=1).values())
    assert not any(one.noisy for one in measures.changes(busy, source, "e2ee", seed=1).values())
    assert measures.changes(busy, source, "tls", seed=1)["latency_ms.p99"].noisy


@pytest.mark.parametrize(
    ("low", "high", "noisy", "tells"),
    [(1.1, 2.0, False, True), (0.9, 2.0, False, False), (1.1, 2.0, True, False),
     (None, None, False, False)],
)  # fmt: skip
def test_a_ratio_tells_only_beyond_its_interval_and_the_noise(
    low: float | None, high: float | None, noisy: bool, tells: bool
) -> None:
    assert results.Interval(value=1.5, low=low, high=high, noisy=noisy).tells is tells
