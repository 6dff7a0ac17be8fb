"""Counting: exact, in closed label sets, and readable by Prometheus' own parser."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from crypto_modes import wire
from server.observe import BOUNDS, Histogram, Metrics


def scraped(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    page = metrics.exposition().decode()
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_bounds_are_log_spaced_from_ten_microseconds_to_a_hundred_seconds() -> None:
    assert BOUNDS[0] == pytest.approx(1e-5)
    assert BOUNDS[-1] == pytest.approx(100)
    steps = [after / before for before, after in pairwise(BOUNDS)]
    assert max(steps) < 1.6
    assert min(steps) > 1.57


@given(st.lists(st.floats(1e-7, 1e4), max_size=50))
def test_a_histogram_counts_each_duration_once_where_it_belongs(durations: list[float]) -> None:
    histogram = Histogram()
    for seconds in durations:
        histogram.observe(seconds)
    for index, bound in enumerate(BOUNDS):
        below = sum(seconds <= bound for seconds in durations)
        assert sum(histogram.counts[: index + 1]) == below
    assert sum(histogram.counts) == len(durations)
    assert histogram.total == pytest.approx(sum(durations))


def test_a_clock_that_stepped_back_takes_nothing_away() -> None:
    histogram = Histogram()
    histogram.observe(-5.0)
    assert histogram.total == 0.0
    assert sum(histogram.counts) == 1


def test_latencies_stand_apart_by_mode() -> None:
    metrics = Metrics()
    metrics.mode("tls").accepted.observe(0.0005)
    metrics.mode("e2ee").accepted.observe(0.5)
    metrics.mode("e2ee").delivered.observe(200.0)
    found = scraped(metrics)
    assert found["louver_accepted_seconds_count", ("tls",)] == 1
    assert found["louver_accepted_seconds_sum", ("e2ee",)] == 0.5
    assert found["louver_delivered_seconds_bucket", ("100.0", "e2ee")] == 0
    assert found["louver_delivered_seconds_bucket", ("+Inf", "e2ee")] == 1
    assert found["louver_messages_total", ("tls",)] == 1


def test_every_known_frame_and_error_is_there_before_it_happens() -> None:
    found = scraped(Metrics())
    assert found["louver_frames_total", ("send",)] == 0
    assert found["louver_frames_total", ("hello",)] == 0
    for name in wire.CODES.values():
        assert found["louver_errors_total", (name,)] == 0


def test_counts_arrive() -> None:
    metrics = Metrics()
    metrics.identify(durability="relaxed")
    metrics.frames["send"] += 3
    metrics.errors[111] += 1
    metrics.duplicates += 2
    found = scraped(metrics)
    assert found["louver_frames_total", ("send",)] == 3
    assert found["louver_errors_total", ("rate_limited",)] == 1
    assert found["louver_duplicates_total", ()] == 2
    assert found["louver_relay_info", ("relaxed",)] == 1


def test_peers_cannot_make_new_series_with_odd_close_codes() -> None:
    metrics = Metrics()
    for code in (1000, 4001, 4001, *range(3000, 4000), 4999):
        metrics.closes[code] += 1
    closes = {key: count for key, count in scraped(metrics).items() if "closes" in key[0]}
    assert closes == {
        ("louver_closes_total", ("1000",)): 1,
        ("louver_closes_total", ("4001",)): 2,
        ("louver_closes_total", ("other",)): 1001,
    }


def test_gauges_are_read_at_each_scrape() -> None:
    metrics = Metrics()
    connections = 1
    metrics.gauge("connections", "Open connections", lambda: connections)
    assert scraped(metrics)["louver_connections", ()] == 1
    connections = 7
    assert scraped(metrics)["louver_connections", ()] == 7


def test_two_relays_in_one_process_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.frames["send"] += 1
    assert scraped(second)["louver_frames_total", ("send",)] == 0
