"""Order on the hot path while keys are fetched: no send overtakes one that waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from crypto_modes import wire
from crypto_modes.contract import Meta, Need, NeedFrankingKey, Sealed, Stored
from crypto_modes.errors import KeyServiceUnavailable
from server.sending import Outgoing
from tests.conftest import Running, StartRelay

pytestmark = pytest.mark.asyncio

BURST = 200


class SlowKeys:
    """Stands before the relay's own supply: each fetch takes a while, or fails."""

    def __init__(self, relay: Running, answer: Callable[[], Exception | None]) -> None:
        self._own = relay.app.relay.supply
        self._answer = answer
        self.asked = 0
        relay.app.relay.supply = self

    async def __call__(self, need: Need) -> None:
        self.asked += 1
        await asyncio.sleep(0.02)
        error = self._answer()
        if error is not None:
            raise error
        await self._own(need)


@pytest.mark.parametrize("restarts", range(3))
async def test_a_burst_after_a_restart_keeps_its_order(
    start_relay: StartRelay, restarts: int
) -> None:
    relay = await start_relay("at_rest")
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    await alice.say(bob, "first")
    await relay.restart()
    alice, bob = await alice.again(relay.url), await bob.again(relay.url)
    keys = SlowKeys(relay, lambda: None)
    template = await alice.draft(bob, "")
    texts = [str(number) for number in range(BURST)]
    for number, text in enumerate(texts):
        await alice.send(
            wire.Send(
                ref=1000 + number,
                id=number.to_bytes(16),
                to=bob.account,
                mode=template.mode,
                epoch=template.epoch,
                body=text.encode(),
            )
        )
    heard = await bob.hear(BURST + 1)
    assert [message.body.decode() for message in heard] == ["first", *texts]
    assert keys.asked > 0


async def test_what_is_at_the_store_already_cannot_overtake(start_relay: StartRelay) -> None:
    """The writer meets a cold key in the middle of a queue, and the key comes meanwhile."""
    relay = await start_relay("tls")
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    mode: Any = relay.app.relay.modes["tls"]
    own, refused = mode.admit, threading.Event()

    def admit(meta: Meta, sealed: Sealed, previous: bytes) -> Stored:
        if not refused.is_set():
            refused.set()
            raise Need(NeedFrankingKey(202611))
        stored: Stored = own(meta, sealed, previous)
        return stored

    async def supply(need: Need) -> None:
        await asyncio.sleep(0.05)

    relay.app.relay.supply = supply
    mode.admit = admit
    drafts = [await alice.draft(bob, str(number)) for number in range(50)]
    for draft in drafts:
        await alice.send(draft)
    assert [m.body for m in await bob.hear(50)] == [draft.body for draft in drafts]
    assert refused.is_set()


async def test_a_dead_key_service_is_a_temporary_error_and_loses_nothing(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay("at_rest")
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    down: list[Exception | None] = [KeyServiceUnavailable("the key service is away")]
    SlowKeys(relay, lambda: down[0])
    drafts = [await alice.draft(bob, str(number)) for number in range(3)]
    for draft in drafts:
        await alice.send(draft)
    errors = [await alice.answer_to(draft) for draft in drafts]
    assert {(error.name, error.temporary) for error in errors} == {
        ("key_service_unavailable", True)
    }
    down[0] = None
    for draft in drafts:
        assert (await alice.ask(draft, wire.Accepted)).id == draft.id
    assert [message.seq for message in await bob.hear(3)] == [1, 2, 3]


class Counter:
    """A store that only keeps the order in which sends come, and a relay around it."""

    def __init__(self) -> None:
        self.store = self
        self.effects = SimpleNamespace(muted={})
        self.came: list[str] = []
        self.fetched = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    def append(self, sending: Any) -> None:
        self.came.append(sending.name)

    def spawn(self, work: Any) -> None:
        self.tasks.append(asyncio.create_task(work))

    async def supply(self, need: Need) -> None:
        await self.fetched.wait()


class Item:
    """As much of a send as the queue looks at."""

    lane = (b"conversation", b"account")

    def __init__(self, name: str) -> None:
        self.name = name


async def test_who_comes_while_others_are_still_at_the_store_goes_behind_them() -> None:
    relay: Any = Counter()
    outgoing = Outgoing(relay)
    need = Need(NeedFrankingKey(202611))
    first, second, third, late = items = [Item(name) for name in "abcd"]
    for item in (first, second, third):
        outgoing.submit(item)  # type: ignore[arg-type] # a stand-in with what is looked at
    outgoing.blocked[Item.lane] = need.what

    def refused(item: Any) -> None:
        outgoing.left(item.lane)
        outgoing.park(item, need)

    refused(first)
    outgoing.submit(late)  # type: ignore[arg-type] # as above
    refused(second)
    relay.fetched.set()
    await asyncio.sleep(0)
    assert relay.came == ["a", "b", "c"]
    refused(third)
    await asyncio.gather(*relay.tasks)
    assert relay.came[3:] == [item.name for item in items]
