"""One contract for every key provider: the same tests over files, passphrase, Transit and KMS."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from crypto_modes.errors import CannotOpen, KeyServiceRefuses, KeyServiceUnavailable
from crypto_modes.keyring import Keyring, dek_context
from tests.fake_key_services import Mood
from tests.keyring_places import PLACES, Place

pytestmark = pytest.mark.asyncio

FIELDS = {
    "deployment": b"deployment-0001!",
    "conversation": b"conversation-001",
    "sender": b"alice-account-01",
    "epoch": 1,
    "purpose": "serving",
}


def context(**changes: object) -> bytes:
    return dek_context(**(FIELDS | changes))  # type: ignore[arg-type]  # the values fit their names


# On one machine there is nothing between the relay and its keys.
on_services = pytest.mark.parametrize("place", ["transit", "kms"], indirect=True)
Open = Callable[..., Awaitable[Keyring]]


@pytest.fixture(params=PLACES)
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    place = PLACES[request.param](tmp_path, monkeypatch)
    yield place
    place.stop()


@pytest_asyncio.fixture
async def opened(place: Place) -> AsyncIterator[Open]:
    """Open the keyring of the place; all are closed in the end."""
    keyrings = []

    async def once_more(newest: int = 1, oldest: int = 1) -> Keyring:
        keyrings.append(await place.open(newest, oldest))
        return keyrings[-1]

    yield once_more
    for keyring in keyrings:
        await keyring.close()


async def test_a_wrapped_key_comes_back(opened: Open) -> None:
    keyring = await opened()
    key, wrapped = await keyring.generate(context())
    assert len(key) == 32
    assert key not in wrapped
    assert await keyring.unwrap(wrapped, context()) == key
    again = await keyring.wrap(key, context())
    assert again != wrapped
    assert await keyring.unwrap(again, context()) == key
    assert (await keyring.generate(context()))[0] != key


async def test_it_comes_back_after_a_restart(opened: Open) -> None:
    first = await opened()
    key, wrapped = await first.generate(context())
    await first.close()
    assert await (await opened()).unwrap(wrapped, context()) == key


@pytest.mark.attack(3)
@pytest.mark.parametrize(
    "changes",
    [
        {"deployment": b"deployment-0002!"},
        {"conversation": b"conversation-002"},
        {"sender": b"bobby-account-02"},
        {"epoch": 2},
        {"purpose": "moderation"},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_a_key_wrapped_for_one_place_opens_no_other(
    opened: Open, changes: dict[str, object]
) -> None:
    keyring = await opened()
    _, wrapped = await keyring.generate(context())
    with pytest.raises(CannotOpen):
        await keyring.unwrap(wrapped, context(**changes))


async def test_what_is_no_wrapped_key_does_not_open(opened: Open) -> None:
    keyring = await opened()
    _, wrapped = await keyring.generate(context())
    altered = bytearray(wrapped)
    altered[-4] ^= 1
    for wrong in (b"", wrapped[:-8], bytes(altered), os.urandom(97), bytes(8192)):
        with pytest.raises(CannotOpen):
            await keyring.unwrap(wrong, context())


async def test_another_key_opens_nothing(place: Place, opened: Open) -> None:
    _, wrapped = await (await opened()).generate(context())
    place.replace()
    with pytest.raises(CannotOpen):
        await (await opened()).unwrap(wrapped, context())


async def test_after_a_rotation_old_and_new_open_and_then_only_the_new(
    place: Place, opened: Open
) -> None:
    keyring = await opened()
    key, before = await keyring.generate(context())
    await keyring.rotate(2)
    await keyring.rotate(2)  # again, as after a crash
    assert await keyring.unwrap(before, context()) == key
    after = await keyring.wrap(key, context())
    restarted = await opened(newest=2, oldest=1)
    assert await restarted.unwrap(before, context()) == key
    assert await restarted.unwrap(after, context()) == key
    await restarted.retire(2)
    await restarted.retire(2)
    for each in (restarted, await opened(newest=2, oldest=2)):
        assert await each.unwrap(after, context()) == key
        if place.forgets:
            with pytest.raises(CannotOpen):
                await each.unwrap(before, context())


async def test_many_at_once(opened: Open) -> None:
    keyring = await opened()
    contexts = [context(epoch=number) for number in range(64)]
    made = await asyncio.gather(*map(keyring.generate, contexts))
    opens = [keyring.unwrap(made[at][1], contexts[at]) for at in range(64)]
    assert await asyncio.gather(*opens) == [key for key, _ in made]


async def test_a_closed_keyring_opens_nothing(opened: Open) -> None:
    keyring = await opened()
    _, wrapped = await keyring.generate(context())
    await keyring.close()
    with pytest.raises(KeyServiceUnavailable):
        await keyring.unwrap(wrapped, context())
    with pytest.raises(KeyServiceUnavailable):
        await keyring.generate(context())


@on_services
async def test_an_outage_is_told_from_a_refusal_and_passes(place: Place, opened: Open) -> None:
    assert place.service is not None
    keyring = await opened()
    key, wrapped = await keyring.generate(context())
    moods: dict[Mood, type[KeyServiceUnavailable]] = {
        "down": KeyServiceUnavailable,
        "lying": KeyServiceUnavailable,
        "refusing": KeyServiceRefuses,
    }
    for mood, error in moods.items():
        place.service.mood = mood
        for call in (keyring.generate(context()), keyring.unwrap(wrapped, context())):
            with pytest.raises(KeyServiceUnavailable) as told:
                await call
            assert type(told.value) is error, mood
            assert place.service.address not in str(told.value)
            assert told.value.code == 140
    place.service.mood = "well"
    assert await keyring.unwrap(wrapped, context()) == key


@on_services
async def test_a_service_that_is_not_there_is_an_outage(place: Place, opened: Open) -> None:
    assert place.service is not None
    keyring = await opened()
    _, wrapped = await keyring.generate(context())
    place.service.mood = "gone"
    with pytest.raises(KeyServiceUnavailable) as told:
        await keyring.unwrap(wrapped, context())
    assert type(told.value) is KeyServiceUnavailable
