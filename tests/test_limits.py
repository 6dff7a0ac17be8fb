"""Token buckets and quotas: exact, bounded, and blind to everything but the time given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes.errors import BadArgument
from server.limits import Buckets, Quota, Rates, network_of
from server.settings_tree import Limits


def test_a_burst_passes_and_the_next_waits_one_interval() -> None:
    buckets = Buckets[str](rate=2.0, burst=5)
    assert [buckets.take("a", 10.0) for _ in range(5)] == [0.0] * 5
    assert buckets.take("a", 10.0) == pytest.approx(0.5)
    assert buckets.take("a", 10.4) == pytest.approx(0.1)
    assert buckets.take("a", 10.5) == 0.0
    assert buckets.take("a", 10.5) > 0.0


def test_keys_do_not_share() -> None:
    buckets = Buckets[str](rate=1.0, burst=1)
    assert buckets.take("a", 0.0) == 0.0
    assert buckets.take("a", 0.0) > 0.0
    assert buckets.take("b", 0.0) == 0.0


def test_an_idle_bucket_never_holds_more_than_its_burst() -> None:
    buckets = Buckets[str](rate=100.0, burst=3)
    buckets.take("a", 0.0)
    assert [buckets.take("a", 1e6) for _ in range(4)][:3] == [0.0] * 3
    assert buckets.take("a", 1e6) > 0.0


@given(
    rate=st.floats(0.01, 1e4),
    burst=st.integers(1, 50),
    gaps=st.lists(st.floats(0.0, 10.0), min_size=1, max_size=200),
)
def test_it_grants_what_a_counting_bucket_grants(
    rate: float, burst: int, gaps: list[float]
) -> None:
    buckets = Buckets[str](rate, burst)
    now, tokens = 1000.0, float(burst)
    for gap in gaps:
        now += gap
        tokens = min(float(burst), tokens + gap * rate)
        if abs(tokens - 1.0) < 1e-3:  # too near to call between two roundings
            return
        granted = buckets.take("a", now) == 0.0
        assert granted == (tokens >= 1.0)
        tokens -= granted


@given(
    rate=st.floats(0.1, 100.0),
    burst=st.integers(1, 20),
    attempts=st.lists(st.floats(0.0, 0.5), min_size=1, max_size=300),
)
def test_never_more_than_burst_plus_rate_times_time(
    rate: float, burst: int, attempts: list[float]
) -> None:
    buckets = Buckets[str](rate, burst)
    now = granted = 0.0
    for gap in attempts:
        now += gap
        granted += buckets.take("a", now) == 0.0
    assert granted <= burst + rate * now + 1e-6


def test_waiting_as_told_is_served() -> None:
    buckets = Buckets[str](rate=3.0, burst=2)
    now = 5.0
    for _ in range(100):
        wait = buckets.take("a", now)
        if wait:
            now += wait
            assert buckets.take("a", now) == 0.0


def test_full_buckets_are_forgotten() -> None:
    buckets = Buckets[int](rate=1.0, burst=10)
    for key in range(1000):
        buckets.take(key, 0.0)
    buckets.take(-1, 25.0)
    buckets.take(-1, 50.0)
    assert len(buckets) == 1


def test_forgetting_gives_nobody_a_second_burst() -> None:
    buckets = Buckets[str](rate=1.0, burst=10)
    buckets.take("other", 0.0)
    for _ in range(10):
        assert buckets.take("a", 9.9) == 0.0
    # The generation turns at 10.0; what "a" took must still count after it.
    assert buckets.take("a", 10.5) > 0.0


def test_a_flood_of_keys_shares_one_bucket_and_leaves_the_known_alone() -> None:
    buckets = Buckets[int](rate=1.0, burst=5, capacity=100)
    for key in range(100):
        buckets.take(key, 0.0)
    granted = sum(buckets.take(key, 0.0) == 0.0 for key in range(100, 10_000))
    assert granted == 5
    assert len(buckets) == 100
    assert buckets.take(7, 0.0) == 0.0


def test_new_numbers_start_afresh_and_the_same_numbers_change_nothing() -> None:
    buckets = Buckets[str](rate=0.1, burst=3)
    assert [buckets.take("a", 0.0) > 0 for _ in range(4)] == [False] * 3 + [True]
    buckets.change(rate=0.1, burst=3)
    assert buckets.take("a", 0.0) > 0.0
    buckets.change(rate=0.1, burst=5)
    assert [buckets.take("a", 0.0) > 0 for _ in range(6)] == [False] * 5 + [True]


@pytest.mark.parametrize(("rate", "burst"), [(0.0, 1), (-1.0, 1), (1.0, 0), (float("nan"), 1)])
def test_impossible_numbers_are_refused(rate: float, burst: int) -> None:
    with pytest.raises(BadArgument):
        Buckets[str](rate, burst)


def test_a_quota_counts_in_and_out_and_forgets_who_left() -> None:
    quota = Quota[str](2)
    assert [quota.enter("a") for _ in range(3)] == [True, True, False]
    assert quota.enter("b")
    quota.leave("a")
    assert quota.count("a") == 1
    assert quota.enter("a")
    quota.leave("b")
    assert quota.count("b") == 0
    with pytest.raises(BadArgument):
        quota.leave("b")


def test_each_bucket_of_a_relay_refuses_for_its_own_reason() -> None:
    rates = Rates(Limits(device_burst=3, account_burst=5, address_burst=7, lookup_burst=2))
    assert [rates.frame(b"d1", b"a", "n", 0.0) > 0 for _ in range(4)] == [False] * 3 + [True]
    assert [rates.frame(b"d2", b"a", "n", 0.0) > 0 for _ in range(3)] == [False] * 2 + [True]
    assert [rates.frame(b"d3", b"b", "n", 0.0) > 0 for _ in range(3)] == [False] * 2 + [True]
    assert [rates.lookup(b"a", 0.0) > 0 for _ in range(3)] == [False, False, True]


@pytest.mark.attack
def test_37_crawling_names_is_refused() -> None:
    """Row 37: of 100,000 probes by one account within a minute, 99.9 % are refused."""
    rates = Rates(Limits())
    granted = sum(rates.lookup(b"a", probe * 60 / 100_000) == 0.0 for probe in range(100_000))
    assert 0 < granted <= 100


def test_guessing_passwords_is_slow_and_reload_takes_effect() -> None:
    rates = Rates(Limits())
    assert sum(rates.login("n", 0.0) == 0.0 for _ in range(1000)) == 20
    rates.change(Limits(login_rate=1000.0, login_burst=1000))
    assert sum(rates.login("n", 1.0) == 0.0 for _ in range(500)) == 500


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_what_one_subscriber_commands_shares_a_bucket(address: str, network: str) -> None:
    assert network_of(address) == network
