"""The way in and the table of legal frames, over real connections."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace

import pytest
from websockets.exceptions import ConnectionClosed

from crypto_modes import wire
from tests.conftest import Running, StartRelay
from tests.raw_client import PASSWORD, RawClient, Refused

pytestmark = pytest.mark.asyncio


async def closed(client: RawClient) -> tuple[int, str]:
    """How the relay closed this connection."""
    closing: ConnectionClosed | None = None
    while closing is None:
        try:
            await client.next()
        except ConnectionClosed as error:
            closing = error
    assert closing.rcvd is not None
    return closing.rcvd.code, closing.rcvd.reason


async def test_welcome_says_who_can_read_and_what_is_allowed(relay: Running) -> None:
    alice = await relay.enter("alice")
    welcome = alice.welcome
    assert welcome is not None
    assert welcome.modes == dict.fromkeys(wire.KINDS, "tls")
    assert welcome.words["tls"] == "The operator can read and keeps readable text"
    assert "e2ee" in welcome.words
    assert welcome.limits.frame == wire.FRAME_LIMIT
    assert welcome.durability == "full"


async def test_names_are_taken_once(relay: Running) -> None:
    await relay.enter("alice")
    other = await RawClient.open(relay.url)
    with pytest.raises(Refused) as caught:
        await other.register("alice")
    assert caught.value.error.name == "forbidden"


async def test_wrong_name_and_wrong_password_get_the_same_answer(relay: Running) -> None:
    await relay.enter("alice")
    stranger = await RawClient.open(relay.url)
    answers = []
    for name, password in (("alice", "not her password"), ("nobody", PASSWORD)):
        frame = wire.Login(ref=stranger.ref(), name=name, device=os.urandom(16), password=password)
        error = await stranger.refusal(frame)
        answers.append((error.code, error.message))
    assert answers[0] == answers[1]
    assert answers[0][0] == 101


@pytest.mark.parametrize(
    "frame",
    [
        wire.Ack(conversation=bytes(16), seq=1),
        wire.History(ref=3, conversation=bytes(16)),
        wire.SetPolicy(ref=3, peer=bytes(16)),
    ],
)
async def test_nothing_but_the_way_in_is_legal_before_hello(
    relay: Running, frame: wire.ClientFrame
) -> None:
    stranger = await RawClient.open(relay.url)
    await stranger.send(frame)
    error = await stranger.expect(wire.Error)
    assert error.name == "bad_request"
    assert "hello" in error.message


async def test_hello_twice_is_refused_and_the_session_goes_on(relay: Running) -> None:
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    again = wire.Hello(ref=alice.ref(), token=alice.token, device=alice.device)
    assert (await alice.refusal(again)).name == "bad_request"
    assert (await alice.say(bob, "still here")).seq == 1


async def test_a_wrong_token_ends_the_connection(relay: Running) -> None:
    alice = await relay.enter("alice")
    thief = await RawClient.open(relay.url)
    hello = wire.Hello(ref=1, token="lvr_" + "A" * 43, device=alice.device)
    assert (await thief.refusal(hello)).name == "unauthorized"
    assert await closed(thief) == (4500, "invalid_token")


async def test_a_token_opens_only_its_own_device(relay: Running) -> None:
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    thief = await RawClient.open(relay.url)
    hello = wire.Hello(ref=1, token=alice.token, device=bob.device)
    assert (await thief.refusal(hello)).name == "unauthorized"


async def test_a_device_id_cannot_be_bound_to_a_second_account(relay: Running) -> None:
    alice = await relay.enter("alice")
    other = await RawClient.open(relay.url)
    other.device = alice.device
    with pytest.raises(Refused) as caught:
        await other.register("mallory")
    assert caught.value.error.name == "forbidden"


async def test_no_hello_in_time_ends_the_connection(start_relay: StartRelay) -> None:
    relay = await start_relay(limits={"hello_seconds": 0.3})
    assert await closed(await RawClient.open(relay.url)) == (4502, "no_hello")


async def test_state_of_another_relay_cannot_resume(relay: Running) -> None:
    alice = await relay.enter("alice")
    other = await RawClient.open(relay.url)
    hello = wire.Hello(ref=1, token=alice.token, device=alice.device, resume=os.urandom(16))
    assert (await other.refusal(hello)).name == "cannot_resume"


async def test_too_many_devices_and_connections(start_relay: StartRelay) -> None:
    relay = await start_relay(limits={"connections_per_account": 2})
    first = await relay.enter("alice")
    second = await first.again(relay.url)
    third = await RawClient.open(relay.url)
    hello = wire.Hello(ref=1, token=first.token, device=first.device)
    assert (await third.refusal(hello)).name == "limit"
    assert await closed(third) == (4504, "too_many_connections")
    await second.close()
    for _ in range(9):
        extra = await RawClient.open(relay.url)
        await extra.register("alice", login=True)
    eleventh = await RawClient.open(relay.url)
    with pytest.raises(Refused) as caught:
        await eleventh.register("alice", login=True)
    assert caught.value.error.name == "limit"


async def test_closed_registration_is_closed(start_relay: StartRelay) -> None:
    relay = await start_relay(accounts={"registration": "closed"})
    stranger = await RawClient.open(relay.url)
    with pytest.raises(Refused) as caught:
        await stranger.register("alice")
    assert caught.value.error.name == "forbidden"


async def test_too_many_frames_are_refused_with_a_time_to_wait(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("server.session.time", SimpleNamespace(monotonic=lambda: now[0]))
    relay = await start_relay(limits={"device_rate": 4.0, "device_burst": 5})
    alice = await relay.enter("alice")
    frames = [wire.GetDevices(ref=100 + n, account=alice.account) for n in range(6)]
    for frame in frames:
        await alice.send(frame)
    error = await alice.expect(wire.Error)
    assert error.name == "rate_limited"
    assert error.temporary
    assert error.retry_after == 0.25
    now[0] += error.retry_after
    assert (await alice.ask(frames[-1], wire.Devices)).name == "alice"


@pytest.mark.attack(42)
async def test_revocation_closes_the_socket_and_the_token(relay: Running) -> None:
    alice = await relay.enter("alice")
    async with asyncio.timeout(30):
        assert await relay.app.revoke("alice", alice.device) == 1
        assert await closed(alice) == (4503, "removed")
    again = await RawClient.open(relay.url)
    hello = wire.Hello(ref=1, token=alice.token, device=alice.device)
    assert (await again.refusal(hello)).name == "unauthorized"


async def test_drain_says_bye_and_when_to_come_back(relay: Running) -> None:
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    draft = await alice.draft(bob, "just in time")
    await alice.send(draft)
    assert (await alice.expect(wire.Accepted)).id == draft.id
    draining = asyncio.create_task(relay.app.drain())
    bye = await alice.expect(wire.Bye)
    assert bye.reason == "draining"
    assert 1.0 <= bye.reconnect_after <= 5.0
    assert await closed(alice) == (4001, "draining")
    assert (await bob.hear(ack=False))[0].body == b"just in time"
    await bob.close()
    await draining


async def test_a_reload_changes_new_conversations_only_and_tells_everyone(relay: Running) -> None:
    alice, bob, carol = [await relay.enter(name) for name in ("alice", "bob", "carol")]
    before = await alice.policy(bob)
    changed = relay.app.settings.model_copy(update={"mode": "at_rest"})
    assert await relay.app.reload(changed) == ["mode"]
    notice = await alice.expect(wire.Notice)
    assert notice.topic == "modes"
    assert notice.modes == dict.fromkeys(wire.KINDS, "at_rest")
    assert await alice.policy(bob) == before.__class__(
        **{f: getattr(before, f) for f in before.__struct_fields__} | {"ref": alice._ref}
    )
    assert (await alice.policy(carol)).modes["text"] == "at_rest"
    assert (await alice.say(bob, "old promise")).seq == 1
    assert (await alice.say(carol, "new promise")).seq == 1
