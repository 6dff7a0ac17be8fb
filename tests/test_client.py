"""The client library against the real relay: what its users rely on, in every mode."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from client import Chat, ChatState, Event, KeyChange, Keystore, Message, Password, connect
from client.lane import Lane
from client.outgoing import WINDOW
from crypto_modes import wire
from crypto_modes.errors import (
    BadArgument,
    Forbidden,
    KeyChanged,
    KeyRefused,
    LimitExceeded,
    LouverError,
    NotInThisMode,
    StaleDevices,
    Unauthorized,
    UnknownDevice,
)
from tests.conftest import Running, StartRelay

MODES = ("tls", "at_rest", "e2ee")
every_mode = pytest.mark.parametrize("mode", MODES)


def enter(
    relay: Running, name: str, place: Path | None = None, **options: object
) -> AbstractAsyncContextManager[Chat]:
    keystore = Keystore.in_memory()
    if place is not None:
        keystore = Keystore.open(place / f"{name}.db", key_file=place / f"{name}.key")
    given: dict[str, object] = {
        "credentials": Password("a long password", register=True),
        "ca": str(relay.ca) if relay.ca else None,
    }
    return connect(relay.url, name=name, keystore=keystore, **(given | options))  # type: ignore[arg-type]  # options of any kind


async def take(chat: Chat, count: int = 1) -> list[Message]:
    async with asyncio.timeout(30):
        return [await anext(chat) for _ in range(count)]


async def first(chat: Chat, wanted: Callable[[Event], bool]) -> Event:
    async with asyncio.timeout(30):
        async for event in chat.events():
            if wanted(event):
                return event
    raise AssertionError("the events ended")


def texts(messages: list[Message]) -> list[str]:
    return [message.text for message in messages]


@every_mode
@pytest.mark.asyncio
async def test_two_people_talk(start_relay: StartRelay, mode: str) -> None:
    relay = await start_relay(mode=mode, tls=True)
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        sent = await alice.send("bob", "größe 👍")
        (message,) = await take(bob)
        assert (message.text, message.sender_name) == ("größe 👍", "alice")
        assert (message.seq, message.id, message.time) == (sent.seq, sent.id, sent.time)
        assert (message.mode, message.warnings, message.own) == (mode, (), False)
        assert (message.evidence is not None) == (mode == "e2ee")
        assert len(sent.stamp) == (32 if mode == "e2ee" else 0)
        answer = await bob.send(message.sender, b"\xff\x00", kind="file", reply_to=message.id)
        (received,) = await take(alice)
        assert (received.content, received.kind, received.seq) == (b"\xff\x00", "file", answer.seq)
        assert received.reply_to == message.id


@every_mode
@pytest.mark.asyncio
async def test_many_messages_without_waiting_keep_their_order(
    start_relay: StartRelay, mode: str
) -> None:
    relay = await start_relay(mode=mode, tls=True)
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await bob.look_up("alice")
        peer = await alice.look_up("bob")
        sent = [alice.send_soon(peer, f"a{n}") for n in range(600)]
        back = [bob.send_soon("alice", f"b{n}") for n in range(600)]
        await asyncio.gather(*sent, *back)
        assert texts(await take(bob, 600)) == [f"a{n}" for n in range(600)]
        assert texts(await take(alice, 600)) == [f"b{n}" for n in range(600)]


@every_mode
@pytest.mark.asyncio
async def test_a_restart_of_the_relay_loses_and_doubles_nothing(
    start_relay: StartRelay, mode: str
) -> None:
    relay = await start_relay(mode=mode)
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.send("bob", "before")
        sent = [alice.send_soon("bob", f"{n}") for n in range(200)]
        await relay.restart()
        await asyncio.gather(*sent)
        await alice.send("bob", "after")
        got = await take(bob, 202)
        assert texts(got) == ["before", *(f"{n}" for n in range(200)), "after"]
        assert all(message.warnings == () for message in got)


@every_mode
@pytest.mark.asyncio
async def test_what_came_while_away_is_there_and_shown_once(
    start_relay: StartRelay, mode: str, tmp_path: Path
) -> None:
    relay = await start_relay(mode=mode)
    async with enter(relay, "alice", tmp_path) as alice:
        async with enter(relay, "bob", tmp_path) as bob:
            await alice.send("bob", "one")
            assert texts(await take(bob)) == ["one"]
        for text in ("two", "three"):
            await alice.send("bob", text)
        async with enter(relay, "bob", tmp_path, credentials=None) as bob:
            got = await take(bob, 2)
            assert texts(got) == ["two", "three"]
            assert all(message.warnings == () for message in got)
            assert texts(await bob.history("alice")) == ["one", "two", "three"]
    async with enter(relay, "alice", tmp_path, credentials=None) as alice:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(alice), 0.2)
        page = await alice.history("bob", limit=2, before=3)
        assert [(each.text, each.own) for each in page] == [("one", True), ("two", True)]


@pytest.mark.parametrize("protocol", ["msgpack", "json"])
@pytest.mark.asyncio
async def test_both_subprotocols(relay: Running, protocol: str) -> None:
    async with enter(relay, "alice", protocol=protocol) as alice, enter(relay, "bob") as bob:
        await alice.send("bob", b"\x00\xff bytes")
        assert (await take(bob))[0].content == b"\x00\xff bytes"


@pytest.mark.asyncio
async def test_receipts_typing_and_blocking(start_relay: StartRelay) -> None:
    relay = await start_relay(features={"typing": True})
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        sent = await alice.send("bob", "read me")
        (message,) = await take(bob)
        await bob.send("alice", "I know you")
        seen = asyncio.create_task(first(alice, lambda event: isinstance(event, wire.Receipt)))
        await bob.mark_read(message)
        receipt = await seen
        assert isinstance(receipt, wire.Receipt)
        assert (receipt.account, receipt.seq) == (bob.account, sent.seq)
        seen = asyncio.create_task(first(alice, lambda event: isinstance(event, wire.Typing)))
        await bob.typing("alice")
        assert isinstance(await seen, wire.Typing)
        await bob.block("alice")
        with pytest.raises(Forbidden):
            await alice.send("bob", "refused")
        await bob.block("alice", on=False)
        await alice.send("bob", "fine again")
        assert texts(await take(bob)) == ["fine again"]


@pytest.mark.asyncio
async def test_who_may_come_in(relay: Running, tmp_path: Path) -> None:
    async with enter(relay, "alice", tmp_path):
        pass
    with pytest.raises(BadArgument, match="no token"):
        async with enter(relay, "bob", credentials=None):
            pass
    wrong = Password("another password", register=True)
    with pytest.raises(Forbidden):
        async with enter(relay, "alice", credentials=wrong):
            pass
    with pytest.raises(Unauthorized):
        async with enter(relay, "alice", credentials=Password("another password")):
            pass
    # The answer to a registration may be lost; the same again is a login.
    async with enter(relay, "alice") as second:
        assert second.state is ChatState.CONNECTED


@pytest.mark.asyncio
async def test_a_device_that_is_removed_stops(relay: Running) -> None:
    async with enter(relay, "alice") as alice:
        await relay.app.revoke("alice", b"")
        with pytest.raises((Forbidden, Unauthorized)):
            await asyncio.wait_for(anext(alice), 30)
        assert alice.state is ChatState.CLOSED


# --- end-to-end ---


@pytest.mark.asyncio
async def test_both_see_the_same_safety_number(start_relay: StartRelay) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        with pytest.raises(NotInThisMode):
            alice.safety_number("bob")
        await alice.devices("bob")
        await bob.devices("alice")
        number = alice.safety_number("bob")
        assert number == bob.safety_number("alice")
        assert len(number.replace(" ", "")) == 60


@pytest.mark.asyncio
async def test_a_peer_without_keys_cannot_be_written_to_yet(start_relay: StartRelay) -> None:
    relay = await start_relay(mode="e2ee")
    await relay.enter("bob")  # registered by a client that publishes nothing
    async with enter(relay, "alice") as alice:
        with pytest.raises(UnknownDevice, match="has not published"):
            await alice.send("bob", "x")


@pytest.mark.asyncio
@pytest.mark.attack
async def test_14_a_changed_key_stops_until_it_is_accepted(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    """Bob loses his key store and starts anew: to Alice that looks like an attack."""
    relay = await start_relay(mode="e2ee")
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    async with enter(relay, "alice") as alice:
        async with enter(relay, "bob", tmp_path / "old") as bob:
            await alice.send("bob", "to the first key")
            await bob.send("alice", "from the first key")
            assert texts(await take(bob)) == ["to the first key"]
        await take(alice)
        async with enter(relay, "bob", tmp_path / "new") as bob:
            assert "another device" in str(bob.unlinked)
        told = asyncio.create_task(first(alice, lambda event: isinstance(event, KeyChange)))
        await asyncio.sleep(0)
        async with enter(relay, "bob", tmp_path / "new", replace_key=True) as bob:
            assert bob.unlinked is None
            with pytest.raises(KeyChanged):
                await alice.send("bob", "to nobody")
            await bob.devices("alice")
            number = bob.safety_number("alice")
            change = await told
            assert isinstance(change, KeyChange)
            assert (change.peer, change.safety_number) == (bob.account, number)
            await bob.send("alice", "from the second key")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(alice), 0.5)
            with pytest.raises(KeyRefused, match="another safety number"):
                await alice.accept_key("bob", "0" * 60)
            await alice.accept_key("bob", number)
            assert texts(await take(alice)) == ["from the second key"]
            await alice.send("bob", "to the second key")
            assert texts(await take(bob)) == ["to the second key"]


@pytest.mark.asyncio
async def test_a_raised_mode_reaches_both(start_relay: StartRelay) -> None:
    relay = await start_relay(mode="tls")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.send("bob", "readable")
        await take(bob)
        changed = asyncio.create_task(first(bob, lambda event: isinstance(event, wire.Policy)))
        proposed = await alice.propose("bob", {"text": "at_rest"})
        assert (proposed.epoch, proposed.modes["text"]) == (2, "at_rest")
        assert isinstance(await changed, wire.Policy)
        await bob.send("alice", "stored encrypted")
        await alice.send("bob", "both ways")
        assert [(each.text, each.mode) for each in await take(alice)] == [
            ("stored encrypted", "at_rest")
        ]
        assert [(each.text, each.mode) for each in await take(bob)] == [("both ways", "at_rest")]
        lowered = await alice.propose("bob", {"text": "tls"})
        assert lowered.state == "prepared"
        assert (await alice.policy("bob")).modes["text"] == "at_rest"
        agreed = await bob.propose("alice", {"text": "tls"})
        assert agreed.state == "in_force"
        await bob.send("alice", "by consent of both")
        assert (await take(alice))[0].mode == "tls"


async def deaf(frame: wire.Devices) -> None:
    """Misses that somebody's devices changed."""


async def link(phone: Chat, laptop: Chat) -> None:
    """Make ``laptop`` a second device of its account."""
    assert laptop.unlinked is not None
    joining = await laptop.linking.begin("laptop")
    joined = asyncio.create_task(laptop.linking.finish(joining))
    await phone.linking.approve(await phone.linking.consider(joining.code.text()))
    await joined
    assert laptop.unlinked is None


@pytest.mark.asyncio
async def test_a_linked_device_gets_copies_and_a_stale_sender_seals_anew(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as phone:
        await alice.send("bob", "to the phone")
        assert texts(await take(phone)) == ["to the phone"]
        monkeypatch.setattr(alice._trust, "pushed", deaf)
        async with enter(relay, "bob") as laptop:
            await link(phone, laptop)
            sent = await alice.send("bob", "to both")
            for device in (phone, laptop):
                (message,) = await take(device)
                assert (message.text, message.id) == ("to both", sent.id)
            await phone.send("alice", "from the phone")
            (own,) = await take(laptop)
            assert (own.text, own.own) == ("from the phone", True)
            assert texts(await take(alice)) == ["from the phone"]


@pytest.mark.asyncio
async def test_a_whole_window_that_is_refused_as_stale_arrives(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as phone:
        await alice.send("bob", "to the phone")
        await take(phone)
        monkeypatch.setattr(alice._trust, "pushed", deaf)
        async with enter(relay, "bob") as laptop:
            await link(phone, laptop)
            refused = Counter[type[LouverError]]()
            own = Lane.refused

            def counting(lane: Lane, ref: int, error: LouverError) -> None:
                refused[type(error)] += 1
                own(lane, ref, error)

            monkeypatch.setattr(Lane, "refused", counting)
            sent = [alice.send_soon("bob", f"{n}") for n in range(WINDOW)]
            with pytest.raises(LimitExceeded, match="1000 messages wait"):
                alice.send_soon("bob", "one too many")
            await asyncio.gather(*sent)
            assert refused == {StaleDevices: WINDOW}
            for device in (phone, laptop):
                got = await take(device, WINDOW)
                assert texts(got) == [f"{n}" for n in range(WINDOW)]
                # What came before there was a laptop is a gap to it, told with its first message.
                assert {message.warnings for message in got[1:]} == {()}
