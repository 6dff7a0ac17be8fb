"""The key service is away: what still works, until when to the millisecond, and what never happens.

The clocks are the test's. The everyday life of the cache is in ``test_data_keys.py``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from crypto_modes import wire
from crypto_modes.contract import Need, NeedDataKey, NeedWrappedKey
from crypto_modes.errors import KeyServiceUnavailable
from server.keyrings import data_keys
from tests.conftest import Running, StartRelay
from tests.fake_key_services import FakeTransit
from tests.keyring_places import Transit
from tests.keys import Clock
from tests.raw_client import Refused
from tests.test_data_keys import CONVERSATION, DAY, MINUTE, Cache

pytestmark = pytest.mark.asyncio

SECOND = 1000
HOUR = 60 * MINUTE


@pytest.fixture
def cache() -> Cache:
    return Cache()


# --- to the millisecond ---


async def test_the_numbers_are_those_of_the_specification() -> None:
    assert (data_keys.CAPACITY, data_keys.AHEAD) == (10_000, 64)
    assert (data_keys.SOFT, data_keys.HARD, data_keys.LOAN) == (5 * MINUTE, HOUR, 30 * SECOND)


async def test_in_an_outage_a_key_is_lent_until_the_last_millisecond_of_the_hour(
    cache: Cache,
) -> None:
    key = await cache.use()
    cache.keyring.away = True
    cache.passes(HOUR - 1)
    assert await cache.use() == key
    cache.passes(1)
    with pytest.raises(KeyServiceUnavailable):
        await cache.use()


async def test_a_loan_ends_with_the_hour_and_not_after_it(cache: Cache) -> None:
    await cache.use()
    cache.keyring.away = True
    cache.passes(HOUR - 10 * SECOND)
    await cache.use()
    cache.passes(10 * SECOND - 1)
    cache.current()
    cache.passes(1)
    with pytest.raises(Need):
        cache.current()


async def test_a_lent_key_is_asked_for_again_after_30_seconds(cache: Cache) -> None:
    await cache.use()
    cache.keyring.away = True
    cache.passes(5 * MINUTE)
    await cache.use()
    asked = cache.keyring.calls
    cache.passes(30 * SECOND - 1)
    await cache.use()
    assert cache.keyring.calls == asked
    cache.passes(1)
    await cache.use()
    assert cache.keyring.calls == asked + 1


async def test_the_hour_counts_from_the_last_answer_of_the_provider(cache: Cache) -> None:
    key = await cache.use()
    for _ in range(3):
        cache.passes(HOUR)
        assert await cache.use() == key  # it answers: the hour begins anew
    cache.keyring.away = True
    cache.passes(HOUR - 1)
    assert await cache.use() == key


async def test_while_the_provider_answers_nothing_is_lent(cache: Cache) -> None:
    """A key that it does not give any more is gone after five minutes, not after an hour."""
    await cache.use()
    cache.keyring._known.clear()
    cache.passes(5 * MINUTE)
    with pytest.raises(KeyServiceUnavailable):
        await cache.use()


async def test_as_many_keys_as_fit_are_kept_and_the_next_takes_the_place_of_one(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_keys, "CAPACITY", 500)
    senders = [number.to_bytes(16, "big") for number in range(501)]
    for sender in senders[:-1]:
        await cache.keys.supply(NeedDataKey(CONVERSATION, sender))
    asked = cache.keyring.calls
    for sender in senders[:-1]:
        cache.keys.current(CONVERSATION, sender, cache.wall())
    assert cache.keyring.calls == asked
    await cache.keys.supply(NeedDataKey(CONVERSATION, senders[-1]))
    with pytest.raises(Need):
        cache.keys.current(CONVERSATION, senders[0], cache.wall())
    assert len(cache.keys._entries) == 500


async def test_64_successors_are_made_ahead_and_no_more_at_a_time(cache: Cache) -> None:
    senders = [number.to_bytes(16, "big") for number in range(65)]
    for sender in senders:
        await cache.keys.supply(NeedDataKey(CONVERSATION, sender))
    cache.passes(7 * DAY * 9 // 10)
    for sender in senders:
        await cache.keys.supply(NeedDataKey(CONVERSATION, sender))
        cache.keys.current(CONVERSATION, sender, cache.wall())
    assert await cache.keys.renew() == 64
    cache.keys.current(CONVERSATION, senders[-1], cache.wall())
    assert await cache.keys.renew() == 1
    assert sum(row.epoch == 2 for row in cache.store.rows) == 65


async def test_what_was_made_ahead_survives_the_end_of_an_epoch_in_an_outage(
    cache: Cache,
) -> None:
    await cache.use()
    cache.passes(7 * DAY - 30 * MINUTE)
    first = await cache.use()
    assert await cache.keys.renew() == 1
    cache.keyring.away = True
    cache.passes(50 * MINUTE)  # past the seventh day
    second = await cache.use()
    assert second[0] != first[0]
    assert [row.epoch for row in cache.store.rows] == [1, 2]


async def test_the_provider_gets_64_requests_at_once_and_no_more(cache: Cache) -> None:
    answer = cache.keyring.hold()
    needs = [NeedDataKey(CONVERSATION, number.to_bytes(16, "big")) for number in range(100)]
    supplied = [asyncio.create_task(cache.keys.supply(need)) for need in needs]
    for _ in range(1000):
        await asyncio.sleep(0)
    assert cache.keyring.calls == 64
    answer.set()
    await asyncio.gather(*supplied)
    assert cache.keyring.calls == 100


async def test_a_key_that_is_wrapped_anew_while_it_is_fetched_is_fetched(cache: Cache) -> None:
    """A rotation wraps it, and destroys the old key, between the reading and the unwrapping."""
    dek_id, dek = await cache.use()
    cache.restarted()
    (row,) = cache.store.rows
    answer = cache.keyring.hold()
    fetching = asyncio.create_task(cache.keys.supply(NeedWrappedKey(dek_id)))
    await cache.keyring.asked.wait()
    anew = os.urandom(16)
    cache.keyring._known[anew] = cache.keyring._known.pop(row.serving)
    cache.store.rows = [msgspec.structs.replace(row, serving=anew, generation=2)]
    answer.set()
    await fetching
    assert cache.keys.find(dek_id) == dek
    assert await cache.use() == (dek_id, dek)


# --- at a relay ---


@pytest.fixture
def transit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTransit]:
    place = Transit(tmp_path, monkeypatch)
    yield place.service
    place.stop()


async def on(start_relay: StartRelay, service: FakeTransit, tmp_path: Path) -> Running:
    keys = {"provider": "transit", "name": "louver", "token": str(tmp_path / "token")}
    return await start_relay("at_rest", keys=keys | {"address": service.address})


def everywhere(relay: Running) -> bytes:
    """All that the relay has on its disk."""
    return b"".join(path.read_bytes() for path in relay.data.rglob("*") if path.is_file())


async def test_what_is_sent_in_an_outage_is_neither_stored_nor_acknowledged(
    start_relay: StartRelay, transit: FakeTransit, tmp_path: Path
) -> None:
    relay = await on(start_relay, transit, tmp_path)
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    frame = await alice.draft(bob, "HARM-0007")
    for mood in ("gone", "down", "lying", "refusing"):
        transit.mood = mood  # type: ignore[assignment]  # one of its moods
        with pytest.raises(Refused) as refused:
            await alice.ask(msgspec.structs.replace(frame, ref=alice.ref()), wire.Accepted)
        assert refused.value.error.code == 140
        assert b"HARM-0007" not in everywhere(relay)
        assert await relay.app.store.scan(b"", 0, 10) == []
        assert not await relay.app.store.has_data_keys()
    transit.mood = "well"
    accepted = await alice.ask(msgspec.structs.replace(frame, ref=alice.ref()), wire.Accepted)
    assert accepted.seq == 1
    assert [m.body for m in await bob.hear()] == [b"HARM-0007"]
    assert b"HARM-0007" not in everywhere(relay)


async def test_a_running_conversation_goes_on_for_an_hour(
    start_relay: StartRelay, transit: FakeTransit, tmp_path: Path
) -> None:
    relay = await on(start_relay, transit, tmp_path)
    ticks = Clock(0)
    relay.app.data_keys._monotonic = ticks
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    await alice.say(bob, "before")
    transit.mood = "gone"
    ticks.now = HOUR - 1
    await alice.say(bob, "in the last millisecond")
    ticks.now = HOUR
    with pytest.raises(Refused) as refused:
        await alice.say(bob, "HARM-0007")
    assert refused.value.error.code == 140
    transit.mood = "well"
    assert (await alice.say(bob, "after")).seq == 3
    heard = [m.body for m in await bob.hear(3)]
    assert heard == [b"before", b"in the last millisecond", b"after"]


async def test_a_relay_starts_in_an_outage_and_serves_when_it_is_over(
    start_relay: StartRelay, transit: FakeTransit, tmp_path: Path
) -> None:
    relay = await on(start_relay, transit, tmp_path)
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    await bob.close()
    await alice.say(bob, "kept")
    transit.mood = "gone"
    await relay.restart()
    alice = await alice.again(relay.url)
    with pytest.raises(Refused) as refused:
        await alice.say(bob, "not yet")
    assert refused.value.error.code == 140
    transit.mood = "well"
    await alice.say(bob, "now")
    heard = await (await bob.again(relay.url)).hear(2)
    assert [m.body for m in heard] == [b"kept", b"now"]


async def test_another_key_that_comes_up_in_an_outage_wraps_nothing(
    start_relay: StartRelay, transit: FakeTransit, tmp_path: Path
) -> None:
    """Started while the service was away, the relay meets the wrong key only later."""
    relay = await on(start_relay, transit, tmp_path)
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    await alice.say(bob, "kept")
    transit.mood = "gone"
    await relay.restart()
    right, transit.versions, transit.mood = transit.versions, {1: os.urandom(32)}, "well"
    bob = await bob.again(relay.url)
    transit.asked.clear()
    with pytest.raises(Refused) as refused:
        await bob.say(alice, "a new key would be needed")
    assert refused.value.error.code == 140
    assert not [path for path, _ in transit.asked if "encrypt" in path]
    transit.versions = right
    await bob.say(alice, "now")
