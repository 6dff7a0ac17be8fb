"""Deliveries that meet trouble: altered records, missing keys, other people's devices."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from crypto_modes import wire
from crypto_modes.contract import ClientTools, Need
from crypto_modes.e2ee import MODE as E2EE
from crypto_modes.errors import KeyServiceUnavailable
from server import delivery
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
