"""What every store must do about data keys, whatever its engine.

Like ``store_contract.py``, of which this is a part.
"""

from __future__ import annotations

import msgspec
import pytest

from crypto_modes.errors import Forbidden
from server.store import PlatformKey, WrappedKey
from tests.store_contract import Place
from tests.store_entries import ALICE, BOB, OTHER_TALK, TALK, TIME


def data_key(dek_id: bytes = b"k" * 16, **fields: object) -> WrappedKey:
    values = {"conversation": TALK, "sender": ALICE, "epoch": 1, "created": TIME}
    return WrappedKey(**{"dek_id": dek_id, "serving": b"w" * 60, **values, **fields})  # type: ignore[arg-type]  # the fields of the test at hand


class DataKeyContract:
    @pytest.mark.asyncio
    async def test_a_data_key_comes_back(self, place: Place) -> None:
        key = data_key(moderation=b"m" * 60)
        await (await place.open()).put_data_key(key)
        store = await place.open()
        assert await store.data_key(key.dek_id) == key
        assert await store.data_key(b"another-dek-id-0") is None

    @pytest.mark.asyncio
    async def test_the_first_data_key_is_known_of(self, place: Place) -> None:
        store = await place.open()
        assert not await store.has_data_keys()
        await store.put_data_key(data_key())
        assert await store.has_data_keys()

    @pytest.mark.asyncio
    async def test_the_newest_data_key_is_that_of_the_highest_epoch(self, place: Place) -> None:
        store = await place.open()
        old, new = data_key(epoch=9), data_key(b"n" * 16, epoch=10)
        for key in (new, old, data_key(b"o" * 16, sender=BOB, epoch=11)):
            await store.put_data_key(key)
        assert await store.newest_data_key(TALK, ALICE) == new
        assert await store.newest_data_key(OTHER_TALK, ALICE) is None

    @pytest.mark.asyncio
    async def test_a_data_key_is_never_replaced(self, place: Place) -> None:
        store = await place.open()
        await store.put_data_key(data_key())
        await store.put_data_key(data_key())
        with pytest.raises(Forbidden):
            await store.put_data_key(data_key(serving=b"x" * 60))
        assert await store.data_key(b"k" * 16) == data_key()

    @pytest.mark.asyncio
    async def test_the_platform_key_in_force_takes_the_place_of_the_one_before(
        self, place: Place
    ) -> None:
        store = await place.open()
        assert await store.platform_key() is None
        await store.put_data_key(data_key())
        for generation in (1, 2):
            key = PlatformKey(generation=generation, proof=b"p", retired=generation == 1)
            await store.put_platform_key(key)
        store = await place.open()
        assert await store.platform_key() == PlatformKey(
            generation=2, proof=b"p", retired=False, oldest=1
        )
        assert await store.some_data_key() == data_key()

    @pytest.mark.asyncio
    async def test_a_key_of_an_older_generation_is_not_stored(self, place: Place) -> None:
        store = await place.open()
        await store.put_platform_key(PlatformKey(generation=2, proof=b"p"))
        assert not await store.put_data_key(data_key())
        assert await store.data_key(b"k" * 16) is None
        assert await store.put_data_key(data_key(generation=2))

    @pytest.mark.asyncio
    async def test_keys_are_wrapped_anew_one_by_one(self, place: Place) -> None:
        store = await place.open()
        old = [data_key(bytes([number]) * 16) for number in (1, 2, 3)]
        for key in old:
            await store.put_data_key(key)
        await store.put_platform_key(PlatformKey(generation=2, proof=b"p"))
        assert await store.data_keys_behind(b"", 2) == old[:2]
        assert await store.data_keys_behind(old[1].dek_id, 2) == old[2:]
        new = msgspec.structs.replace(old[0], serving=b"n" * 60, generation=2)
        await store.rewrap_data_key(old[0], new)
        await store.rewrap_data_key(data_key(old[1].dek_id, serving=b"stale"), new)
        assert await store.data_keys_behind(b"", 9) == old[1:]
        assert await store.data_key(new.dek_id) == new
        counts = await store.count_data_keys()
        assert (counts.all, counts.behind, counts.moderation) == (3, 2, 0)

    @pytest.mark.asyncio
    async def test_a_shredded_key_is_gone_and_its_id_taken(self, place: Place) -> None:
        store = await place.open()
        mine, his = data_key(), data_key(b"h" * 16, sender=BOB)
        other = data_key(b"o" * 16, conversation=OTHER_TALK)
        for key in (mine, his, other):
            await store.put_data_key(key)
        assert await store.shred_data_keys(OTHER_TALK, b"") == 1
        assert await store.shred_data_keys(b"", BOB) == 1
        store = await place.open()
        assert [await store.data_key(key.dek_id) for key in (mine, his, other)] == [
            mine, None, None,
        ]  # fmt: skip
        with pytest.raises(Forbidden):
            await store.put_data_key(his)
        assert (await store.count_data_keys()).shredded == 2
        assert await store.shred_data_keys(TALK, b"") == 1
