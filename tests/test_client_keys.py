"""The own keys while connected: renewed, refilled and purged when it is time, not more often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from client.keys import DAY, OwnKeys
from crypto_modes.errors import ConnectionLost, LouverError, StoreUnavailable


class Ends:
    """A session, a trust and a mode in one, that note what was asked of them."""

    def __init__(self) -> None:
        self.now = 1_000
        self.done: list[str] = []
        self.slept: list[float] = []
        self.published: list[int] = []
        self.used = False
        self.fails: LouverError | None = None
        self.closed: LouverError | None = None
        self.rounds = 0

    # the session
    def check(self) -> None:
        if self.closed is not None:
            raise self.closed

    # the trust
    def all_verifying(self) -> dict[str, Any]:
        return {"e2ee": self}

    async def resolve(self, work: Callable[[], Any]) -> Any:
        return work()

    # the mode
    account_id = b"a" * 16

    def pinned_key(self, account: bytes) -> bytes:
        return b"k" * 32

    def refill_due(self) -> bool:
        return self.used

    def purge(self) -> None:
        self.done.append("purge")

    def publication(self, left: object, above: int) -> list[Any]:
        if self.fails is not None:
            raise self.fails
        self.done.append("publish")
        self.published.append(self.now)
        self.used = False
        return []

    # time
    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.rounds -= 1
        if self.rounds < 0:
            raise asyncio.CancelledError
        self.now += int(seconds * 1000)


async def run(ends: Ends, rounds: int, uniform: float = 0.5) -> list[LouverError]:
    """So many rounds; what was reported."""
    told: list[LouverError] = []
    ends.rounds = rounds
    keys = OwnKeys(ends, ends, sleep=ends.sleep, now=lambda: ends.now, uniform=lambda: uniform)  # type: ignore[arg-type]  # stands for both
    with pytest.raises(asyncio.CancelledError):
        await keys.run(told.append)
    return told


@pytest.mark.asyncio
async def test_a_day_has_one_purge_and_one_publication() -> None:
    ends = Ends()
    await run(ends, 24 * 60 - 1)
    assert ends.done == ["purge"]
    assert set(ends.slept) == {60.0}
    ends = Ends()
    await run(ends, 3 * 24 * 60)
    assert ends.done == ["purge"] + ["purge", "publish"] * 3


@pytest.mark.asyncio
@pytest.mark.parametrize(("uniform", "hours"), [(0.0, 18), (0.999, 30)])
async def test_the_day_is_jittered(uniform: float, hours: int) -> None:
    ends = Ends()
    began = ends.now
    await run(ends, 4 * 24 * 60, uniform)
    assert (ends.published[0] - began) / DAY * 24 == pytest.approx(hours, abs=0.1)


@pytest.mark.asyncio
async def test_a_burst_of_first_messages_makes_one_refill() -> None:
    ends = Ends()
    ends.used = True
    await run(ends, 10)
    assert ends.done == ["purge", "publish"]


@pytest.mark.asyncio
async def test_what_goes_wrong_is_reported_and_tried_again() -> None:
    ends = Ends()
    ends.used = True
    ends.fails = StoreUnavailable("later")
    assert await run(ends, 2) == [ends.fails] * 3
    ends.fails = None
    await run(ends, 1)
    assert ends.done[-1] == "publish"


@pytest.mark.asyncio
async def test_it_ends_with_the_session() -> None:
    ends = Ends()
    ends.closed = ConnectionLost("the chat was closed")
    keys = OwnKeys(ends, ends, sleep=ends.sleep)  # type: ignore[arg-type]  # stands for both
    with pytest.raises(ConnectionLost):
        await keys.run(lambda error: None)
    assert ends.done == []
