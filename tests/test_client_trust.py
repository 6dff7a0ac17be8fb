"""What the client believes of keys and policies that a relay shows it, seen from its events."""

from __future__ import annotations

import asyncio

import pytest

from client import Event, OwnKeyRefusal
from tests.conftest import StartRelay
from tests.test_client import enter, first, take, texts


@pytest.mark.asyncio
@pytest.mark.attack
async def test_14_another_key_for_the_own_account_is_said_and_not_used(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as phone, enter(relay, "bob") as bob:
        await phone.send("bob", "before")
        assert texts(await take(bob)) == ["before"]
        mine = phone._trust.verifying().pinned_key(phone.account)
        seen = asyncio.create_task(first(phone, is_own))
        await asyncio.sleep(0)
        async with enter(relay, "alice", replace_key=True):
            event = await seen
            assert isinstance(event, OwnKeyRefusal)
            assert "another key for your own account" in event.reason
        assert phone._trust.verifying().pinned_key(phone.account) == mine


def is_own(event: Event) -> bool:
    return isinstance(event, OwnKeyRefusal)
