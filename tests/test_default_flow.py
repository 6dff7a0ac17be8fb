"""The operator's default, changed while messages flow: by reload and by administration.

What a default is lives in ``server/defaults``; here it changes under load, and survives what the
relay survives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from client import Chat
from crypto_modes import wire
from crypto_modes.errors import BadArgument
from server.app import _reload
from tests.conftest import Running, StartRelay
from tests.flows import flow
from tests.test_admin import asked
from tests.test_client import enter, take

pytestmark = pytest.mark.asyncio


async def by_reload(relay: Running, mode: str) -> None:
    """What SIGHUP does; that it does this is in test_louverd_cli."""
    settings = relay.app.settings.model_copy(update={"mode": mode})
    relay.app._sources = lambda: settings
    await _reload(relay.app)


async def by_call(relay: Running, mode: str) -> None:
    assert (await asked(relay, "POST", "modes", {"mode": mode}))["changed"] is True


async def notice_of(chat: Chat) -> wire.Notice:
    async for event in chat.events():
        if isinstance(event, wire.Notice):
            return event
    raise AssertionError("the events ended")


@pytest.mark.attack(15)
@pytest.mark.parametrize("switch", [by_reload, by_call])
@pytest.mark.parametrize(("old", "new"), [("e2ee", "tls"), ("tls", "e2ee")])
async def test_the_operator_switches_while_messages_flow(
    start_relay: StartRelay,
    monkeypatch: pytest.MonkeyPatch,
    switch: Callable[[Running, str], Awaitable[None]],
    old: str,
    new: str,
) -> None:
    relay = await start_relay(mode=old)
    async with AsyncExitStack() as stack:
        alice, bob, carol, *others = [
            await stack.enter_async_context(enter(relay, name))
            for name in ("alice", "bob", "carol", "dan", "erin", "frank", "grete")
        ]
        told = [asyncio.create_task(notice_of(chat)) for chat in (alice, bob, carol)]
        async with flow(relay, alice, bob, monkeypatch) as running:
            first = [asyncio.create_task(carol.send(each.account, "hi")) for each in others[:2]]
            await switch(relay, new)
            await asyncio.gather(*first)
            for each in others[2:]:
                await carol.send(each.account, "hi")
            await running.goes_on()
        (epoch,) = await running.check()
        assert set(epoch.modes.values()) == {old}
        for each in others:
            (message,) = await take(each)
            assert message.text == "hi"
            policy = await each.policy(carol.account)
            assert (message.mode, message.epoch) == (policy.modes["text"], 1)
        assert (await others[-1].policy(carol.account)).modes["text"] == new
        async with asyncio.timeout(30):
            notices = await asyncio.gather(*told)
        assert {(each.topic, each.epoch) for each in notices} == {("modes", 2)}
        assert all(each.modes == dict.fromkeys(wire.KINDS, new) for each in notices)


async def test_a_default_set_by_call_ends_with_the_next_reload_or_restart(relay: Running) -> None:
    alice, bob, carol, dan = [await relay.enter(name) for name in ("alice", "bob", "carol", "dan")]
    answer = await asked(relay, "POST", "modes", {"modes": {"image": "at_rest"}})
    assert answer == {
        "changed": True,
        "epoch": 2,
        "modes": dict.fromkeys(wire.KINDS, "tls") | {"image": "at_rest"},
    }
    assert (await asked(relay, "GET", "status"))["modes"] == answer["modes"]
    assert (await alice.policy(bob)).modes["image"] == "at_rest"
    again = await asked(relay, "POST", "modes", {"modes": {"image": "at_rest"}})
    assert (again["changed"], again["epoch"]) == (False, 2)
    relay.app._sources = lambda: relay.app.settings
    assert await asked(relay, "POST", "reload") == {"changed": []}
    notices = [await carol.expect(wire.Notice) for _ in range(2)]
    assert [each.modes["image"] for each in notices if each.modes] == ["at_rest", "tls"]
    assert [each.epoch for each in notices] == [2, 3]
    assert (await alice.policy(carol)).modes["image"] == "tls"
    await asked(relay, "POST", "modes", {"mode": "e2ee"})
    await relay.restart()
    dan = await dan.again(relay.url)
    assert dan.welcome is not None
    assert (dan.welcome.modes["text"], dan.welcome.epoch) == ("tls", 5)


async def test_a_notice_says_who_can_read_once_for_kinds_that_share_a_mode(relay: Running) -> None:
    alice = await relay.enter("alice")
    words = {name: mode.words for name, mode in relay.app.known.items()}
    await asked(relay, "POST", "modes", {"mode": "e2ee"})
    assert (await alice.expect(wire.Notice)).text.endswith(f"conversations. {words['e2ee']}")
    await asked(relay, "POST", "modes", {"mode": "tls", "modes": {"image": "e2ee"}})
    text = (await alice.expect(wire.Notice)).text
    assert text.count(words["tls"]) == text.count(words["e2ee"]) == 1
    assert f"image: {words['e2ee']}" in text
    assert f"text, video, voice, file, call: {words['tls']}" in text


@pytest.mark.parametrize(
    "body", [{}, {"mode": ""}, {"mode": "rot13"}, {"modes": {"smell": "tls"}}, {"mod": "tls"}]
)
async def test_a_default_that_makes_no_sense_is_refused(
    relay: Running, body: dict[str, Any]
) -> None:
    with pytest.raises(BadArgument, match="the relay refused"):
        await asked(relay, "POST", "modes", body)
    assert relay.app.status()["epoch"] == 1
