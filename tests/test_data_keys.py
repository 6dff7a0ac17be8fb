"""The cache of data keys: durable before use, aged, shared in flight, and forgotten."""

from __future__ import annotations

import asyncio

import pytest

from crypto_modes.contract import Need, NeedDataKey, NeedWrappedKey
from crypto_modes.errors import (
    CannotOpen,
    KeyServiceRefuses,
    KeyServiceUnavailable,
    StoreUnavailable,
)
from server.keyrings import data_keys
from server.keyrings.data_keys import DataKeyCache
from tests.keys import Clock, MemoryKeyring, MemoryKeys, key_need

CONVERSATION, ALICE = b"conversation-001", b"alice-account-01"
WANTED = NeedDataKey(CONVERSATION, ALICE)
MINUTE, DAY = 60_000, 86_400_000


class Cache:
    """A cache over a store and a keyring in memory, with clocks that the test turns."""

    def __init__(self, store: MemoryKeys | None = None) -> None:
        self.store = store or MemoryKeys()
        self.keyring = MemoryKeyring()
        self.wall, self.ticks = Clock(), Clock(0)
        self.keys = self.restarted()

    def restarted(self) -> DataKeyCache:
        """What a new process over the same store and keyring has."""
        self.keys = DataKeyCache(self.store, self.keyring, now=self.wall, monotonic=self.ticks)
        return self.keys

    def current(self) -> tuple[bytes, bytes]:
        return self.keys.current(CONVERSATION, ALICE, self.wall())

    async def use(self) -> tuple[bytes, bytes]:
        """The current key, fetched if need be, as the relay does it."""
        try:
            return self.current()
        except Need as need:
            await self.keys.supply(key_need(need))
            return self.current()

    async def find(self, dek_id: bytes) -> bytes:
        try:
            return self.keys.find(dek_id)
        except Need as need:
            await self.keys.supply(key_need(need))
            return self.keys.find(dek_id)

    def passes(self, milliseconds: int) -> None:
        self.wall.now += milliseconds
        self.ticks.now += milliseconds


@pytest.fixture
def cache() -> Cache:
    return Cache()


@pytest.mark.asyncio
async def test_a_new_key_is_durable_before_its_first_use(cache: Cache) -> None:
    with pytest.raises(Need) as caught:
        cache.current()
    assert caught.value.what == WANTED
    await cache.keys.supply(WANTED)
    dek_id, dek = cache.current()
    (stored,) = cache.store.rows
    assert (stored.dek_id, stored.epoch, stored.created) == (dek_id, 1, cache.wall())
    assert (len(dek_id), len(dek)) == (16, 32)
    assert dek not in stored.serving
    assert stored.moderation == b""


@pytest.mark.asyncio
async def test_a_key_that_cannot_be_stored_is_not_used(cache: Cache) -> None:
    cache.store.full = True
    with pytest.raises(StoreUnavailable):
        await cache.keys.supply(WANTED)
    with pytest.raises(Need):
        cache.current()


@pytest.mark.asyncio
async def test_a_restart_goes_on_with_the_newest_key(cache: Cache) -> None:
    before = await cache.use()
    cache.restarted()
    assert await cache.use() == before
    assert await cache.find(before[0]) == before[1]
    assert len(cache.store.rows) == 1


@pytest.mark.asyncio
async def test_each_sender_has_a_key_of_their_own(cache: Cache) -> None:
    own = await cache.use()
    other = NeedDataKey(CONVERSATION, b"bobby-account-02")
    await cache.keys.supply(other)
    assert cache.keys.current(CONVERSATION, other.sender, cache.wall())[1] != own[1]


@pytest.mark.asyncio
async def test_an_epoch_ends_after_seven_days(cache: Cache) -> None:
    first = await cache.use()
    cache.passes(7 * DAY - 1)
    assert await cache.use() == first
    cache.passes(1)
    second = await cache.use()
    assert second[0] != first[0]
    assert second[1] != first[1]
    assert [row.epoch for row in cache.store.rows] == [1, 2]
    assert await cache.find(first[0]) == first[1]


@pytest.mark.asyncio
async def test_an_epoch_ends_after_its_records(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_keys, "EPOCH_RECORDS", 100)
    used = [await cache.use() for _ in range(101)]
    assert len(set(used[:100])) == 1
    assert used[100][0] != used[0][0]


@pytest.mark.asyncio
async def test_a_crash_between_storing_and_using_repeats_no_epoch(cache: Cache) -> None:
    await cache.use()
    cache.passes(7 * DAY)
    await cache.keys.supply(WANTED)
    cache.restarted()
    await cache.use()
    cache.passes(7 * DAY)
    await cache.use()
    assert [row.epoch for row in cache.store.rows] == [1, 2, 3]


@pytest.mark.asyncio
async def test_successors_are_made_ahead(cache: Cache) -> None:
    first = await cache.use()
    cache.passes(7 * DAY * 9 // 10)
    assert await cache.use() == first
    assert await cache.keys.renew() == 1
    second = cache.current()
    assert second[0] != first[0]
    assert await cache.keys.renew() == 0
    assert [row.epoch for row in cache.store.rows] == [1, 2]


@pytest.mark.asyncio
async def test_without_the_provider_renewing_fails_and_the_old_key_stays(cache: Cache) -> None:
    first = await cache.use()
    cache.passes(7 * DAY - MINUTE)
    await cache.use()
    cache.keyring.away = True
    with pytest.raises(KeyServiceUnavailable):
        await cache.keys.renew()
    assert cache.current() == first


@pytest.mark.asyncio
async def test_all_who_need_one_key_wait_for_one_flight(cache: Cache) -> None:
    await asyncio.gather(*(cache.keys.supply(WANTED) for _ in range(100)))
    assert len(cache.store.rows) == 1
    cache.keyring.calls = 0
    cache.restarted()
    wrapped = NeedWrappedKey(cache.store.rows[0].dek_id)
    await asyncio.gather(*(cache.keys.supply(wrapped) for _ in range(100)))
    assert cache.keyring.calls == 1


@pytest.mark.asyncio
async def test_a_caller_that_gives_up_takes_the_key_from_nobody(cache: Cache) -> None:
    answer = cache.keyring.hold()
    impatient = asyncio.create_task(cache.keys.supply(WANTED))
    patient = asyncio.create_task(cache.keys.supply(WANTED))
    await cache.keyring.asked.wait()
    impatient.cancel()
    answer.set()
    await patient
    assert cache.current()[0] == cache.store.rows[0].dek_id


@pytest.mark.asyncio
async def test_after_five_minutes_a_key_is_asked_for_again(cache: Cache) -> None:
    key = await cache.use()
    cache.passes(5 * MINUTE - 1)
    assert cache.current() == key
    cache.passes(1)
    for call in (cache.current, lambda: cache.keys.find(key[0])):
        with pytest.raises(Need):
            call()
    cache.keyring.calls = 0
    assert await cache.use() == key
    assert cache.keyring.calls == 1


@pytest.mark.asyncio
async def test_an_outage_is_survived_for_an_hour_and_no_longer(cache: Cache) -> None:
    key = await cache.use()
    cache.keyring.away = True
    for _ in range(59):
        cache.passes(MINUTE)
        assert await cache.use() == key
        assert await cache.find(key[0]) == key[1]
    cache.passes(MINUTE)
    with pytest.raises(KeyServiceUnavailable):
        await cache.use()
    with pytest.raises(KeyServiceUnavailable):
        await cache.find(key[0])
    cache.keyring.away = False
    assert await cache.use() == key


@pytest.mark.asyncio
async def test_a_key_that_was_taken_away_serves_nobody_after_five_minutes(cache: Cache) -> None:
    key = await cache.use()
    cache.keyring.refusing = True
    cache.passes(5 * MINUTE - 1)
    assert cache.current() == key
    cache.passes(1)
    for call in (cache.use(), cache.find(key[0])):
        with pytest.raises(KeyServiceRefuses):
            await call
    assert not cache.keys._entries, "it must not stay in memory"
    cache.keyring.refusing = False
    cache.keyring.away = True
    with pytest.raises(KeyServiceUnavailable):
        await cache.use()


@pytest.mark.asyncio
async def test_a_key_found_by_a_reader_serves_a_writer_in_an_outage(cache: Cache) -> None:
    key = await cache.use()
    cache.restarted()
    await cache.find(key[0])
    cache.keyring.away = True
    assert await cache.use() == key


@pytest.mark.asyncio
async def test_without_the_provider_there_is_no_new_key(cache: Cache) -> None:
    cache.keyring.away = True
    with pytest.raises(KeyServiceUnavailable):
        await cache.use()
    assert cache.store.rows == []


@pytest.mark.asyncio
async def test_a_shredded_key_is_gone_at_the_next_look(cache: Cache) -> None:
    key = await cache.use()
    cache.store.rows.clear()
    cache.passes(5 * MINUTE)
    with pytest.raises(CannotOpen, match="destroyed"):
        await cache.find(key[0])
    assert not cache.keys._entries, "a shredded key must not stay in memory"


@pytest.mark.asyncio
async def test_flushing_forgets_keys_at_once_and_those_under_way(cache: Cache) -> None:
    key = await cache.use()
    cache.keys.flush()
    with pytest.raises(Need):
        cache.keys.find(key[0])
    answer = cache.keyring.hold()
    under_way = asyncio.create_task(cache.keys.supply(WANTED))
    await cache.keyring.asked.wait()
    cache.keys.flush()
    answer.set()
    await under_way
    with pytest.raises(Need):
        cache.current()


@pytest.mark.asyncio
async def test_a_key_wrapped_for_another_sender_does_not_open(cache: Cache) -> None:
    dek_id, _ = await cache.use()
    cache.restarted()
    (row,) = cache.store.rows
    moved = {name: getattr(row, name) for name in row.__struct_fields__} | {"sender": b"x" * 16}
    cache.store.rows = [type(row)(**moved)]
    # Wait, not skip: what was stored is readable again once the right keys are put back.
    with pytest.raises(KeyServiceUnavailable, match="wait") as refused:
        await cache.find(dek_id)
    assert "key file does not open the stored keys" in refused.value.advice
    cache.store.rows = [row]
    assert await cache.find(dek_id)


@pytest.mark.asyncio
async def test_the_cache_is_bounded_and_forgets_the_longest_unused(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_keys, "CAPACITY", 3)
    first = await cache.use()
    others = [bytes([number]) * 16 for number in range(3)]
    for sender in others:
        cache.current()
        await cache.keys.supply(NeedDataKey(CONVERSATION, sender))
    assert cache.current() == first
    for sender in others[1:]:
        cache.keys.current(CONVERSATION, sender, cache.wall())
    with pytest.raises(Need):
        cache.keys.current(CONVERSATION, others[0], cache.wall())


@pytest.mark.attack(40)
@pytest.mark.asyncio
async def test_nothing_that_holds_a_key_prints_it(cache: Cache) -> None:
    _, dek = await cache.use()
    shown = repr(vars(cache.keys))
    assert dek.hex() not in shown
    assert repr(dek) not in shown


@pytest.mark.asyncio
async def test_closing_stops_what_is_under_way(cache: Cache) -> None:
    cache.keyring.hold()
    under_way = asyncio.create_task(cache.keys.supply(WANTED))
    await cache.keyring.asked.wait()
    await cache.keys.close()
    with pytest.raises(asyncio.CancelledError):
        await under_way
    with pytest.raises(Need):
        cache.current()
