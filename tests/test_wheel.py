"""The wheel: never early, at most a tick late, one timer, and a connection's last word counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.wheel import TICK, Wheel


class Clock:
    """A loop of which only the clock is used; ``advance`` fires what is due, as a loop does."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, Callable[[], None], list[bool]]] = []
        self.made = 0

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[[], None]) -> Any:
        cancelled: list[bool] = []
        self.made += 1
        self.timers.append((when, call, cancelled))

        class Handle:
            def cancel(self) -> None:
                cancelled.append(True)

        return Handle()

    @property
    def live(self) -> int:
        return sum(not cancelled for _, _, cancelled in self.timers)

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            self.timers = [timer for timer in self.timers if not timer[2]]
            due = min((timer for timer in self.timers if timer[0] <= end), default=None)
            if due is None:
                break
            self.timers.remove(due)
            self.now = max(self.now, due[0])
            due[1]()
        self.now = end


class Deadline:
    def __init__(self, clock: Clock, then: Callable[[], None] | None = None) -> None:
        self.due = 0
        self.clock = clock
        self.fired: list[float] = []
        self.then = then

    def expired(self) -> None:
        self.fired.append(self.clock.now)
        if self.then is not None:
            self.then()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wheel(clock: Clock) -> Wheel:
    return Wheel(clock)  # type: ignore[arg-type] - a loop of two methods


def test_what_an_expiry_arms_does_not_delay_the_others(clock: Clock, wheel: Wheel) -> None:
    """A ping arms the wait for its pong; the next connection's ping must not wait for that."""
    first = Deadline(clock, lambda: wheel.arm(first, 2.0) if len(first.fired) == 1 else None)
    second = Deadline(clock)
    wheel.arm(first, 1.0)
    wheel.arm(second, 1.1)
    clock.advance(5.0)
    assert len(first.fired) == 2
    assert [round(at - 1000.0, 6) for at in second.fired] == [1.1]
    assert clock.live == 0


@given(st.lists(st.floats(0, 60), min_size=1, max_size=30))
def test_nothing_fires_early_or_more_than_a_tick_late(delays: list[float]) -> None:
    clock = Clock()
    wheel = Wheel(clock)  # type: ignore[arg-type] - a loop of two methods
    deadlines = [Deadline(clock) for _ in delays]
    for deadline, delay in zip(deadlines, delays, strict=True):
        wheel.arm(deadline, delay)
    assert clock.live == 1
    clock.advance(61)
    for deadline, delay in zip(deadlines, delays, strict=True):
        (fired,) = deadline.fired
        assert 1000 + delay - 1e-9 <= fired <= 1000 + delay + TICK + 1e-9
    assert clock.live == 0


def test_the_last_arming_counts(clock: Clock, wheel: Wheel) -> None:
    deadline = Deadline(clock)
    wheel.arm(deadline, 5)
    wheel.arm(deadline, 1)
    wheel.arm(deadline, 9)
    clock.advance(8)
    assert deadline.fired == []
    clock.advance(2)
    assert len(deadline.fired) == 1


def test_disarming_leaves_nothing_behind(clock: Clock, wheel: Wheel) -> None:
    deadline = Deadline(clock)
    wheel.arm(deadline, 5)
    wheel.disarm(deadline)
    wheel.disarm(deadline)
    assert deadline.due == 0
    assert wheel._slots == {}
    clock.advance(10)
    assert deadline.fired == []
    assert clock.live == 0


def test_an_expiry_may_arm_itself_and_disarm_its_neighbour(clock: Clock, wheel: Wheel) -> None:
    pair: list[Deadline] = []

    def only_one() -> None:
        for deadline in pair:
            wheel.disarm(deadline)
        wheel.arm(pair[0], 1)

    pair += [Deadline(clock, only_one), Deadline(clock, only_one)]
    for deadline in pair:
        wheel.arm(deadline, 1)
    clock.advance(1.15)
    assert sum(len(deadline.fired) for deadline in pair) == 1
    clock.advance(1.2)
    assert sum(len(deadline.fired) for deadline in pair) == 2


def test_a_repeating_deadline_keeps_one_timer(clock: Clock, wheel: Wheel) -> None:
    deadline = Deadline(clock)
    deadline.then = lambda: wheel.arm(deadline, 25)
    wheel.arm(deadline, 25)
    clock.advance(1000)
    assert len(deadline.fired) == 40
    assert clock.live == 1


def test_a_stopped_wheel_is_still(clock: Clock, wheel: Wheel) -> None:
    deadline = Deadline(clock)
    wheel.arm(deadline, 1)
    wheel.stop()
    assert (deadline.due, clock.live) == (0, 0)
    clock.advance(5)
    assert deadline.fired == []


def test_many_deadlines_of_one_moment_cost_one_timer(clock: Clock, wheel: Wheel) -> None:
    for _ in range(1000):
        wheel.arm(Deadline(clock), 5)
    assert clock.made == 1
