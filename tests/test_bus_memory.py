"""The bus in memory: who hears what, and that no listener can hurt the publisher."""

from __future__ import annotations

import pytest

from server.bus import Bus, Event, Listener, Revoked
from server.bus.memory import MemoryBus

ALICE, BOB = b"a" * 16, b"b" * 16
EVENT = Revoked(ALICE)


@pytest.fixture
def failures() -> list[str]:
    return []


@pytest.fixture
def bus(failures: list[str]) -> MemoryBus:
    return MemoryBus(failures.append)


def test_it_is_a_bus(bus: MemoryBus) -> None:
    as_protocol: Bus = bus
    assert as_protocol is bus


def test_every_listener_of_the_named_accounts_hears_at_once(bus: MemoryBus) -> None:
    heard: list[tuple[str, Event]] = []
    for name, account in (("phone", ALICE), ("tablet", ALICE), ("bob", BOB)):
        bus.subscribe(account, lambda event, name=name: heard.append((name, event)))  # type: ignore[misc]  # mypy knows no defaults in lambdas
    bus.publish((ALICE,), EVENT)
    assert heard == [("phone", EVENT), ("tablet", EVENT)]
    bus.publish((BOB, ALICE), EVENT)
    assert [name for name, _ in heard[2:]] == ["bob", "phone", "tablet"]
    bus.publish((b"nobody listens 0",), EVENT)
    assert len(heard) == 5


def test_one_subscription_goes_at_a_time_and_a_missing_one_is_no_error(bus: MemoryBus) -> None:
    heard: list[Event] = []
    listener: Listener = heard.append
    bus.subscribe(ALICE, listener)
    bus.subscribe(ALICE, listener)
    bus.unsubscribe(ALICE, listener)
    bus.unsubscribe(BOB, listener)
    bus.publish((ALICE,), EVENT)
    assert heard == [EVENT]
    bus.unsubscribe(ALICE, listener)
    bus.unsubscribe(ALICE, listener)
    bus.publish((ALICE,), EVENT)
    assert heard == [EVENT]
    assert bus._listeners == {}


def test_a_listener_that_fails_is_named_by_class_and_the_rest_still_hear(
    bus: MemoryBus, failures: list[str]
) -> None:
    heard: list[Event] = []

    def fail(_: Event) -> None:
        raise LookupError("the text of the message")

    bus.subscribe(ALICE, fail)
    bus.subscribe(ALICE, heard.append)
    bus.publish((ALICE, ALICE), EVENT)
    assert heard == [EVENT, EVENT]
    assert failures == ["LookupError", "LookupError"]


def test_coming_and_going_during_an_event(bus: MemoryBus, failures: list[str]) -> None:
    heard: list[str] = []

    def late(_: Event) -> None:
        heard.append("late")

    def guest(_: Event) -> None:
        heard.append("guest")
        bus.unsubscribe(ALICE, guest)
        bus.subscribe(ALICE, late)

    def host(_: Event) -> None:
        heard.append("host")

    bus.subscribe(ALICE, guest)
    bus.subscribe(ALICE, host)
    bus.publish((ALICE,), EVENT)
    assert heard == ["guest", "host"]
    bus.publish((ALICE,), EVENT)
    assert heard[2:] == ["host", "late"]
    assert failures == []


def test_an_event_within_an_event(bus: MemoryBus) -> None:
    heard: list[Event] = []
    answer = Revoked(BOB)
    bus.subscribe(ALICE, lambda _: bus.publish((BOB,), answer))
    bus.subscribe(ALICE, heard.append)
    bus.subscribe(BOB, heard.append)
    bus.publish((ALICE,), EVENT)
    assert heard == [answer, EVENT]


@pytest.mark.asyncio
async def test_a_closed_bus_is_silent(bus: MemoryBus) -> None:
    heard: list[Event] = []
    await bus.open()
    bus.subscribe(ALICE, heard.append)
    await bus.close()
    bus.publish((ALICE,), EVENT)
    assert heard == []
