"""Reconciliation: what was unwrapped past the access log is counted, found, and entered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from crypto_modes import at_rest, door
from crypto_modes.errors import CannotOpen, LogUnavailable, StoreUnavailable
from crypto_modes.keyring import dek_context
from crypto_modes.transparency.access_log import DAY, Entry, Opened
from server.vault.counting import Count
from server.vault.reconciling import Day, Reconciling
from tests.mode_ends import ALICE, BOB, DEPLOYMENT
from tests.test_grants import NOW
from tests.vault_rig import TALK, Vault, granted, with_record


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    made = Vault(tmp_path / "vault")
    for sender in (ALICE, BOB, ALICE):
        made.relay.store.say(b"HARM-0007", sender=sender)
    yield made
    made.stop()


async def days(vault: Vault) -> list[tuple[int, int]]:
    return [(each.unwrapped, each.announced) for each in (await vault.reconciling.compare()).days]


def past_the_log(vault: Vault, entered: int = 0) -> bytes:
    """The planted fault: the key is used, and nothing is entered."""
    wrapped = next(iter(vault.relay.store.wrapped.values()))
    context = dek_context(DEPLOYMENT, TALK, wrapped.sender, 1, door.PURPOSE)
    return vault.keys.unwrap(wrapped.moderation, context, entered)


@pytest.mark.asyncio
async def test_a_reading_announces_as_many_keys_as_it_unwraps(vault: Vault) -> None:
    shown = await vault.open(granted())
    assert vault.texts(shown) == ["HARM-0007"] * 3
    assert vault.log.of("read")[0].detail["keys"] == "2"
    assert await days(vault) == [(2, 2)]
    await vault.reconciling.tell()
    assert not vault.log.of("keys")
    assert vault.reconciling.newest.status() == {"unwrapped": 2, "unannounced": {}}


@pytest.mark.attack(39)
@pytest.mark.parametrize("entered", [NOW, 0])
@pytest.mark.asyncio
async def test_an_unwrap_that_bypasses_the_log_is_found_and_entered(
    vault: Vault, entered: int
) -> None:
    await vault.open(granted())
    assert len(past_the_log(vault, entered)) == 32
    found = [each for each in (await vault.reconciling.compare()).days if each.surplus]
    day = found[0].day
    assert [each.surplus for each in found] == [1]
    assert vault.reconciling.newest.status()["unannounced"] == {day: 1}
    await vault.reconciling.tell()
    (told,) = vault.log.of("keys")
    assert (told.count, told.detail["day"], told.detail["outcome"]) == (1, day, "unannounced")


@pytest.mark.attack(39)
@pytest.mark.asyncio
async def test_a_difference_is_entered_once_and_again_where_it_grew_a_day_later(
    vault: Vault,
) -> None:
    for _ in range(2):
        past_the_log(vault)
        await vault.reconciling.tell()
    assert [each.count for each in vault.log.of("keys")] == [1]
    vault.now[0] += DAY
    for _ in range(2):
        await vault.reconciling.tell()
    assert [each.count for each in vault.log.of("keys")] == [1, 2]
    vault.now[0] += DAY
    await vault.reconciling.tell()
    assert len(vault.log.of("keys")) == 2


@pytest.mark.asyncio
async def test_a_dead_log_only_delays_the_entry(vault: Vault) -> None:
    past_the_log(vault)
    vault.log.dead = 0
    with pytest.raises(LogUnavailable):
        await vault.reconciling.tell()
    vault.log.dead = None
    await vault.reconciling.tell()
    assert len(vault.log.of("keys")) == 1


@pytest.mark.attack(39)
@pytest.mark.asyncio
async def test_the_count_stays_over_restarts_and_a_cut_off_line(vault: Vault) -> None:
    await vault.open(granted())
    past_the_log(vault, NOW)
    vault.stop()
    with (vault.data / "unwrapped").open("ab") as file:
        file.write(b"half a line")
    for _ in range(2):
        vault.start()
        vault.stop()
    vault.start()
    assert await days(vault) == [(3, 2)]
    past_the_log(vault, NOW)
    assert await days(vault) == [(4, 2)]


@pytest.mark.asyncio
async def test_a_reading_at_midnight_is_one_days(vault: Vault) -> None:
    vault.now[0] = NOW // DAY * DAY + DAY - 1
    append = vault.log.append

    async def slow(entries: list[Entry]) -> object:
        receipt = await append(entries)
        vault.now[0] += 10
        return receipt

    vault.log.append = slow  # type: ignore[method-assign, assignment]  # a log that takes a while
    await vault.open(granted(expires=vault.now[0] + 60_000))
    assert await days(vault) == [(2, 2)]


@pytest.mark.asyncio
async def test_a_key_that_does_not_open_is_counted_once_for_all_its_records(vault: Vault) -> None:
    store = vault.relay.store
    first = at_rest.data_key_id(store.stored[0].record)
    second = at_rest.data_key_id(store.stored[1].record)
    moderation = store.wrapped[second].moderation
    store.wrapped[first] = msgspec.structs.replace(store.wrapped[first], moderation=moderation)
    shown = await vault.open(granted())
    assert vault.texts(shown) == [None, "HARM-0007", None]
    assert await days(vault) == [(2, 2)]


@pytest.mark.asyncio
async def test_a_refused_reading_unwraps_nothing(vault: Vault) -> None:
    vault.relay.lie = lambda handed: with_record(handed, 0, body=b"x" * 200)
    with pytest.raises(CannotOpen):
        await vault.open(granted())
    assert await days(vault) == []


@pytest.mark.attack(39)
@pytest.mark.asyncio
async def test_what_cannot_be_counted_is_not_unwrapped(vault: Vault) -> None:
    vault.count.close()
    with pytest.raises(StoreUnavailable, match="write down"):
        await vault.open(granted())
    assert await days(vault) == [(0, 2)]


@pytest.mark.asyncio
async def test_erased_entries_announce_nothing_and_are_told(tmp_path: Path) -> None:
    class Erased:
        async def opened(self, start: int, limit: int) -> list[Opened]:
            return [Opened(each) for each in range(start, 3)][:limit]

        async def append(self, entries: object) -> None:
            raise AssertionError(entries)

    count = Count(tmp_path / "unwrapped")
    count.open()
    found = await Reconciling(count, Erased(), lambda: NOW).compare()  # type: ignore[arg-type]  # a log that is only read
    assert (found.days, found.erased) == ((), 3)
    count.close()


@pytest.mark.asyncio
async def test_a_number_that_no_vault_wrote_announces_nothing(vault: Vault) -> None:
    for said in ("²", "-7", "7" * 7, "many", ""):
        await vault.log.append([Entry(kind="read", time=NOW, detail={"keys": said})])
    await vault.log.append([Entry(kind="keys", time=NOW, detail={"keys": "7"})])
    await vault.log.append([Entry(kind="read", time=NOW, detail={"keys": "3"})])
    found = await vault.reconciling.compare()
    assert found.days == (Day(found.days[0].day, 0, 3),)
    assert found.days[0].surplus == 0
