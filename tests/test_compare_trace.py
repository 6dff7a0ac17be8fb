"""Traffic: the fit to measured chat, the file, the warped clock, labels and canaries."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from client.compare import corpora, traffic
from client.compare.canary import SIZE, Canaries
from client.compare.trace import Row, Trace, load
from client.compare.traffic import Said, conversations, seeded, synthetic
from crypto_modes.errors import BadArgument


@pytest.fixture(scope="module")
def talk() -> list[list[Said]]:
    return list(islice(conversations(seeded(7, "fit")), 3000))


def _quantiles(values: list[float], *points: float) -> list[float]:
    return [float(q) for q in np.quantile(values, points)]


def test_sizes_fit_measured_chat(talk: list[list[Said]]) -> None:
    sizes = [float(len(said.text.encode())) for one in talk for said in one]
    assert _quantiles(sizes, 0.1, 0.5, 0.9, 0.99) == pytest.approx([7, 36, 110, 174], rel=0.05)
    assert 174 < max(sizes) <= 672


def test_gaps_fit_measured_chat(talk: list[list[Said]]) -> None:
    gaps = [said.gap for one in talk for said in one]
    assert _quantiles(gaps, 0.1, 0.5, 0.9, 0.99) == pytest.approx([3, 13, 63, 308], rel=0.08)


def test_lengths_fit_measured_chat(talk: list[list[Said]]) -> None:
    assert _quantiles([float(len(one)) for one in talk], 0.5, 0.95) == pytest.approx(
        [6, 155], rel=0.15
    )


def test_turns_fit_measured_chat(talk: list[list[Said]]) -> None:
    # Long conversations only: the end of a short one cuts its last turn.
    long = [one for one in talk if len(one) >= 100]
    turns = sum(1 + sum(a.side != b.side for a, b in pairwise(one)) for one in long)
    assert sum(map(len, long)) / turns == pytest.approx(1.86, rel=0.03)


def test_same_seed_same_bytes() -> None:
    make = lambda seed: synthetic(seed=seed, users=12, rate=100, seconds=5)  # noqa: E731  short
    assert make(3).encoded == make(3).encoded
    assert make(3).sha256 != make(4).sha256


def test_rate_is_steady_after_warping() -> None:
    trace = synthetic(seed=1, users=20, rate=200, seconds=10)
    assert len(trace.rows) == 2000
    per_second = Counter(row.at_us // 1_000_000 for row in trace.rows)
    assert all(per_second[second] == pytest.approx(200, rel=0.45) for second in range(10))
    assert trace.seconds == pytest.approx(10)


def test_warp_keeps_order_and_ends() -> None:
    times = [0.0, 1.0, 1.0, 500.0, 501.0, 9000.0]
    warped = traffic.warp(times, 2.0)
    assert warped == sorted(warped)
    assert (warped[0], warped[-1]) == (0.0, 2.0)


def test_injection_changes_no_size_and_labels_exactly() -> None:
    texts = [traffic.text_of(size, seeded(0, str(size))) for size in range(1, 400)] * 4
    changed, labels = traffic.inject(texts, seed=5)
    assert [len(t.encode()) for t in changed] == [len(t.encode()) for t in texts]
    assert Counter(labels)["spam"] == round(len(texts) * traffic.SPAM_SHARE)
    assert Counter(labels)["severe"] == round(len(texts) * traffic.SEVERE_SHARE)
    severe = [text for text, label in zip(changed, labels, strict=True) if label == "severe"]
    assert all(text.startswith("HARM-") for text in severe)


def test_canaries_are_whole_unique_and_unlabelled() -> None:
    trace = synthetic(seed=9, users=8, rate=100, seconds=6)
    canaries = Canaries("9")
    numbers = {canaries.number(text) for text in trace.canaries.values()}
    assert numbers == set(range(traffic.CANARY_COUNT))
    assert all(trace.rows[row].label == "" for row in trace.canaries)


def test_a_canary_with_a_wrong_check_does_not_count() -> None:
    canaries = Canaries("x")
    whole = canaries.make(3)
    assert len(whole) == SIZE
    assert canaries.number(whole) == 3
    assert canaries.number(whole[:-1] + ("0" if whole[-1] != "0" else "1")) is None
    assert Canaries("y").number(whole) is None


def test_a_file_is_read_back_to_the_same_digest(tmp_path: Path) -> None:
    trace = synthetic(seed=2, users=5, rate=50, seconds=3)
    path = tmp_path / "trace.jsonl"
    path.write_bytes(trace.encoded)
    assert load(path).sha256 == trace.sha256


def test_a_row_may_state_only_a_size() -> None:
    assert len(Row(0, 0, 1, "text", 1000).content) == 1000


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (b'[5,0,9,"text","x",""]', "users are numbered"),
        (b'[5,1,1,"text","x",""]', "must differ"),
        (b'[5,0,1,"text","",""]', "1 to 16384 bytes"),
        (b'[5,0,1,"text",99999,""]', "1 to 16384 bytes"),
        (b'[-1,0,1,"text","x",""]', "in order of time"),
        (b'[5,0,1,"smoke","x",""]', "Invalid enum value"),
        (b"{", "line 2"),
    ],
)
def test_a_bad_row_is_refused_and_named(tmp_path: Path, row: bytes, complaint: str) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_bytes(Trace("t", 1, 3, ()).encoded + row + b"\n")
    with pytest.raises(BadArgument, match=complaint) as caught:
        load(path)
    assert "line 2" in str(caught.value)


def test_too_little_traffic_is_refused() -> None:
    with pytest.raises(BadArgument, match="at least 2 users and 96 messages"):
        synthetic(seed=1, users=2, rate=1, seconds=1)


def test_back_filled_bursts_are_spread() -> None:
    second = datetime(2018, 5, 2, tzinfo=UTC)
    pasted = [corpora._Utterance("x", second, "a") for _ in range(9)]
    later = corpora._Utterance("y", second + timedelta(seconds=8), "b")
    said = corpora.spread([*pasted, later], seeded(1, "burst"))
    assert all(one.gap >= 0.5 for one in said)
    assert said[-1] == Said(8.0, 1, "y")


def test_chitchat_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpora, "PACKAGE", "no_such_package_here")
    with pytest.raises(BadArgument, match="chitchat-dataset"):
        corpora.two_sided()
