"""The open loop: messages leave when planned, never later because an answer is late."""

from __future__ import annotations

from client.compare.pacer import Lag, Pace, TracePacer

PACER = TracePacer([0.0, 0.5, 0.5, 2.0])


def test_waits_until_the_next_planned_time() -> None:
    assert PACER.pace(0.25, 1) == Pace(0.25, 0, stop=False)


def test_everything_due_leaves_at_once() -> None:
    assert PACER.pace(0.5, 1) == Pace(0.0, 2, stop=False)


def test_a_stalled_sender_catches_up_and_skips_nothing() -> None:
    assert PACER.pace(9.0, 0) == Pace(0.0, 4, stop=False)


def test_stops_after_the_last() -> None:
    assert PACER.pace(0.0, 4).stop


def test_simulated_run_sends_each_message_at_its_time() -> None:
    now, sent, left = 0.0, 0, []
    while not (pace := PACER.pace(now, sent)).stop:
        left += [now] * pace.due
        sent += pace.due
        now += pace.wait
    assert left == [0.0, 0.5, 0.5, 2.0]


def test_lag_beyond_the_bound_is_invalid() -> None:
    assert Lag(0.1, 4.0, 30.0, bound=5.0).valid
    assert not Lag(0.1, 5.1, 30.0, bound=5.0).valid
    assert not Lag(0.1, 1.0, 51.0, bound=5.0).valid
