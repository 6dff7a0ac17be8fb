"""Deliveries that meet trouble: altered records, missing keys, other people's devices."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from websockets.exceptions import ConnectionClosed

from crypto_modes import wire
from crypto_modes.contract import ClientTools, Need
from crypto_modes.e2ee import MODE as E2EE
from crypto_modes.errors import KeyServiceUnavailable, StoreUnavailable
from crypto_modes.policy import conversation_id
from server import delivery
from server.store import Head
from tests.conftest import Running, StartRelay
from tests.memory_state import MemoryState
from tests.raw_client import RawClient, Refused

pytestmark = pytest.mark.asyncio


def alter(data: Path, sql: str) -> None:
    """Be the administrator of the database, while no relay runs."""
    db = apsw.Connection(str(data / "louver.db"))
    db.execute(sql)
    assert db.changes() > 0
    db.close()


@pytest.mark.attack(39)
@pytest.mark.parametrize(
    "damage", ["record = x'00'", "mode = 'gone'", "time = time + 1", "kind = 'voice'"]
)
async def test_one_altered_record_stops_no_other_message(
    start_relay: StartRelay, damage: str
) -> None:
    relay = await start_relay("at_rest")
    alice, bob, carol = [await relay.enter(name) for name in ("alice", "bob", "carol")]
    await bob.close()
    for text in ("one", "two", "three"):
        accepted = await alice.say(bob, text)
    await carol.say(bob, "from somebody else")
    data = relay.data
    port = relay.port
    await relay.app.stop()
    alter(data, f"UPDATE message SET {damage} WHERE seq = 2")
    await relay.start_again(port)
    bob = await bob.again(relay.url)
    assert {m.body for m in await bob.hear(3)} == {b"one", b"three", b"from somebody else"}
    assert "message 2" in (await bob.expect(wire.Error)).message
    page = await bob.ask(wire.History(ref=bob.ref(), conversation=accepted.conversation), wire.Page)
    assert [m.seq for m in page.messages] == [1, 3]
    alice = await alice.again(relay.url)
    await alice.say(bob, "four")
    assert [m.body for m in await bob.hear()] == [b"four"]


class Broken:
    """A supply of keys that fails for one conversation until it is mended."""

    def __init__(self, relay: Running, wanted: Callable[[Need], bool]) -> None:
        self._own = relay.app.relay.supply
        self._wanted = wanted
        self.broken = True
        relay.app.relay.supply = self

    async def __call__(self, need: Need) -> None:
        if self.broken and self._wanted(need):
            raise KeyServiceUnavailable("the key service is away")
        await self._own(need)


async def test_a_missing_key_holds_up_its_own_conversation_only(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "RETRY_SECONDS", 0.05)
    relay = await start_relay("at_rest")
    alice, bob, carol = [await relay.enter(name) for name in ("alice", "bob", "carol")]
    await bob.close()
    await alice.say(bob, "held up")
    await carol.say(bob, "free")
    held = {(await relay.app.store.scan(b"", 0, 1))[0].record[2:18]}
    first = (await relay.app.store.scan(b"", 0, 1))[0].meta.sender
    relay.app.data_keys.flush()
    keys = Broken(relay, lambda need: getattr(need.what, "dek_id", b"") in held)
    bob = await bob.again(relay.url)
    names = {alice.account: b"held up", carol.account: b"free"}
    other = carol.account if first == alice.account else alice.account
    assert [m.body for m in await bob.hear()] == [names[other]]
    keys.broken = False
    assert [m.body for m in await bob.hear()] == [names[first]]


@pytest.mark.attack(38)
async def test_a_list_cannot_name_a_device_of_another_account(start_relay: StartRelay) -> None:
    relay = await start_relay("e2ee")
    bob = await relay.enter("bob")
    mallory = await relay.enter("mallory")
    # Mallory's account key signs a list in which Bob's device id stands for one of her own.
    tools = ClientTools(
        account=mallory.account,
        device=bob.device,
        state=MemoryState(),
        random=os.urandom,
        now=lambda: mallory.welcome.time if mallory.welcome else 0,
    )
    frames = E2EE.client(tools).publication(None)
    listing = next(frame for frame in frames if frame.list is not None)
    with pytest.raises(Refused) as caught:
        await mallory.ask(with_ref(listing, mallory), wire.Published)
    assert caught.value.error.name == "bad_request"
    assert "another account" in caught.value.error.message


def with_ref(frame: wire.Publish, client: RawClient) -> wire.Publish:
    """The frame as this client's next request."""
    return wire.Publish(ref=client.ref(), key=frame.key, list=frame.list, prekeys=frame.prekeys)


async def test_coming_back_while_the_peer_writes_brings_nothing_twice(relay: Running) -> None:
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    for number in range(150):
        await alice.send(await alice.draft(bob, str(number)))
    await bob.hear(150)
    await bob.policy(alice)
    await bob.close()
    writing = asyncio.create_task(_write_until(alice, bob, stop := asyncio.Event()))
    heard: list[int] = []
    for _ in range(10):
        bob = await bob.again(relay.url)
        heard += [message.seq for message in await bob.hear(5)]
        await bob.policy(alice)  # answered, so the acks before it were taken
        heard += [message.seq for message in bob.pushed if isinstance(message, wire.Deliver)]
        last = max(heard)
        await bob.send(wire.Ack(conversation=_conversation(alice, bob), seq=last))
        await bob.policy(alice)
        await bob.close()
    stop.set()
    await writing
    assert min(heard) == 151
    assert heard == sorted(heard)


async def test_a_revocation_while_saying_hello_is_heard(relay: Running) -> None:
    alice = await relay.enter("alice")
    await alice.close()
    store: Any = relay.app.store
    cursors = store.cursors

    async def slow(device: bytes) -> dict[bytes, int]:
        assert await relay.app.revoke("alice", device) == 1
        found: dict[bytes, int] = await cursors(device)
        return found

    store.cursors = slow
    with pytest.raises((Refused, ConnectionClosed)):
        await alice.again(relay.url)
    # The relay has closed it; that it is gone shows once the closing handshake is over.
    async with asyncio.timeout(30):
        while relay.app.relay.open_sessions:
            await asyncio.sleep(0.01)


async def test_a_session_without_its_cursors_is_not_opened(relay: Running) -> None:
    alice = await relay.enter("alice")
    await alice.close()
    store: Any = relay.app.store
    heads = store.heads

    async def failing(account: bytes) -> list[Head]:
        store.heads = heads
        raise StoreUnavailable("the store does not answer")

    store.heads = failing
    with pytest.raises(Refused) as caught:
        await alice.again(relay.url)
    assert caught.value.error.name == "store_unavailable"
    assert (await alice.again(relay.url)).welcome is not None


async def _write_until(sender: RawClient, peer: RawClient, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await sender.say(peer, "on and on")


def _conversation(one: RawClient, other: RawClient) -> bytes:
    return conversation_id(one.account, other.account)
