"""Known attacks by what was copied or removed: rows 27 and 42, between real clients."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from client import Chat, Unreadable, linking, wording
from crypto_modes import wire
from crypto_modes.e2ee import devices as lists
from crypto_modes.e2ee import identity
from crypto_modes.errors import Forbidden, FrameRefused
from tests.conftest import Running, StartRelay
from tests.hostile_relay import HostileRelay, changed, hostile_relay
from tests.raw_client import RawClient
from tests.test_client import enter, take, texts
from tests.test_client_linking import link, listed
from tests.test_client_trust import events_of


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linking, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(identity, "ONCE_COUNT", 6)
    monkeypatch.setattr(identity, "REFILL_BELOW", 1)


# --- 27: a copied device ---


def copied(place: Path) -> Path:
    """A thief's copy of a key store, with the file that opens it."""
    other = place.parent / "thief"
    shutil.copytree(place, other)
    return other


@pytest.mark.asyncio
@pytest.mark.attack(27)
async def test_a_copy_of_a_device_falls_out_after_a_turn_and_shows(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee")
    place = tmp_path / "bob"
    place.mkdir()
    async with enter(relay, "alice") as alice:
        async with enter(relay, "bob", place) as bob:
            await alice.send("bob", "one")
            await bob.send("alice", "two")
            assert texts([*await take(bob), *await take(alice)]) == ["one", "two"]
        thief = copied(place)
        async with enter(relay, "bob", place, credentials=None) as bob:
            await bob.send("alice", "three")
            assert texts(await take(alice)) == ["three"]
            await alice.send("bob", "four")
            assert texts(await take(bob)) == ["four"]
            await bob.send("alice", "five")
            assert texts(await take(alice)) == ["five"]
            await alice.send("bob", "healed")
            assert texts(await take(bob)) == ["healed"]
        async with enter(relay, "bob", thief, credentials=None) as clone, events_of(alice) as seen:
            page = await clone.history("alice")
            assert "healed" not in texts(page)
            await clone.send("alice", "it is me, bob")
            async with asyncio.timeout(30):
                while not any(isinstance(each, Unreadable) for each in seen):
                    waiting = asyncio.create_task(anext(alice))
                    done, _ = await asyncio.wait([waiting], timeout=0.2)
                    assert not done, "what the copy sent was shown"
                    waiting.cancel()
            # It holds the device's own keys, so it can begin anew; but not without being seen.
            await clone.linking.reset(alice.account)
            await clone.send("alice", "it is really me")
            (message,) = await take(alice)
        assert "session_reset" in message.warnings
        assert "fork" in message.warnings
        assert "encryption was set up anew" in wording.line(message)


# --- 42: what was removed ---


@pytest.mark.asyncio
@pytest.mark.attack(42)
async def test_a_removed_device_is_closed_within_a_second(start_relay: StartRelay) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "bob") as phone, enter(relay, "bob") as other:
        await link(phone, other)
        second = await beside(relay, other)
        await phone.linking.remove(other.welcome.device)
        async with asyncio.timeout(30):
            await second.socket.wait_closed()
        assert second.socket.close_code == 4503
        with pytest.raises(Forbidden, match="removed"):
            async with asyncio.timeout(30):
                await anext(other)
        again = await RawClient.open(relay.url)
        hello = wire.Hello(ref=1, token=second.token, device=other.welcome.device)
        assert "for good" in (await again.refusal(hello)).message
        await again.socket.wait_closed()
        assert again.socket.close_code == 4503


async def beside(relay: Running, chat: Chat) -> RawClient:
    """A second connection of a chat's device."""
    client = await RawClient.open(relay.url)
    kept = chat._memory.identity()
    client.account, client.device, client.token = kept.account, kept.device, kept.token
    await client.hello()
    return client


@pytest.mark.asyncio
@pytest.mark.attack(42)
async def test_a_removed_device_cannot_come_back_even_with_the_account_key(
    start_relay: StartRelay,
) -> None:
    """Neither by itself nor through somebody who lists it again."""
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "bob") as phone, enter(relay, "bob") as tablet:
        await link(phone, tablet, with_account_key=True)
        own = await phone.devices(phone.account)
        assert own.list is not None
        held = identity.Identity(tablet._trust.verifying()._memory.tools).account_signer()  # type: ignore[attr-defined]  # its insides
        await phone.linking.remove(tablet.welcome.device)
        again = lists.sign_list(own.account, held, 99, own.list.certificates)
        frame = wire.Publish(ref=0, key=own.key, list=again)
        with pytest.raises(Forbidden):
            await tablet._session.ask(frame, wire.Published)
        with pytest.raises(FrameRefused, match="removed before, for good"):
            await phone._session.ask(frame, wire.Published)
        assert await listed(phone) == {phone.welcome.device}


@pytest.mark.asyncio
@pytest.mark.attack(42)
async def test_a_relay_that_keeps_a_removed_device_gets_it_nothing(
    start_relay: StartRelay,
) -> None:
    """The relay hides the closing and passes on what the removed device sends."""
    async with (
        hostile_relay(await start_relay(mode="e2ee")) as hostile,
        enter(hostile, "alice") as alice,
        enter(hostile, "bob") as phone,
        enter(hostile, "bob") as tablet,
    ):
        await link(phone, tablet)
        await alice.send("bob", "to both")
        assert texts([*await take(phone), *await take(tablet)]) == ["to both"] * 2
        await tablet.send("alice", "from the tablet")
        assert texts(await take(alice)) == ["from the tablet"]
        (stolen,) = hostile.deliveries("alice")[-1:]
        sealed = await sealed_by(tablet, hostile)
        await phone.linking.remove(tablet.welcome.device)
        assert await listed(alice, "bob") == {phone.welcome.device}
        async with events_of(alice) as seen:
            late = changed(
                stolen,
                seq=stolen.seq + 1,
                id=sealed.id,
                body=next(c.body for c in sealed.copies if c.device == alice.welcome.device),
                commitment=sealed.commitment,
            )
            await hostile.line("alice").to_client(late)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(alice), 1.0)
        assert [type(each) for each in seen if not isinstance(each, wire.Error)] == [Unreadable]
        await alice.send("bob", "to the phone")
        assert [copy.device for copy in hostile.sends("alice")[-1].copies] == [phone.welcome.device]


async def sealed_by(chat: Chat, hostile: HostileRelay) -> wire.Send:
    """A message that a device sealed and the relay kept to itself."""
    device = chat.welcome.device
    hostile.up(wire.Send, lambda line, frame: None if line.device == device else frame)
    before = len(hostile.said)
    waiting = chat.send_soon("alice", "after it was stolen")
    async with asyncio.timeout(30):
        while not any(isinstance(each, wire.Send) for _, each in hostile.said[before:]):
            await asyncio.sleep(0.01)
    waiting.cancel()
    hostile.honest()
    return next(each for _, each in hostile.said[before:] if isinstance(each, wire.Send))
