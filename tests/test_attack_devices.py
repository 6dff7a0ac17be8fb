"""Known attacks on device lists and on linking: rows 1, 2, 27 and 42, by a relay between real
clients. What single messages of linking must refuse is in ``test_e2ee_linking``.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from client import Chat, KeyRefusal, OwnKeyRefusal, Unreadable, linking, wording
from client.device_commands import which
from crypto_modes import wire
from crypto_modes.e2ee import devices as lists
from crypto_modes.e2ee import identity
from crypto_modes.errors import Forbidden, FrameRefused, KeyRefused, LimitExceeded, LouverError
from crypto_modes.keys import AgreementKey, SigningKey
from tests.conftest import Running, StartRelay
from tests.hostile_relay import HostileRelay, changed, hostile_relay
from tests.raw_client import RawClient
from tests.test_client import enter, take, texts
from tests.test_client_linking import link, listed
from tests.test_client_trust import events_of

SPY = b"a spy's device, "


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linking, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(identity, "ONCE_COUNT", 6)
    monkeypatch.setattr(identity, "REFILL_BELOW", 1)


def spying(account: bytes, key: SigningKey) -> wire.Certificate:
    """A device of the relay's own, certified by whatever key it has."""
    signing, agreement = SigningKey(os.urandom(32)), AgreementKey(os.urandom(32))
    plain = lists.Request(SPY, signing.public, agreement.public, 1, b"")
    request = plain._replace(signature=signing.sign(plain.signed(account)))
    return lists.certify(account, key, request)


def with_spy(frame: wire.Devices, how: str) -> wire.Devices:
    """The list with one more device on it, as a relay can make it."""
    assert frame.list is not None
    key = SigningKey(os.urandom(32))
    certificates = (*frame.list.certificates, spying(frame.account, key))
    version = frame.list.version + 1
    if how == "appended":
        return changed(frame, list=changed(frame.list, certificates=certificates))  # type: ignore[no-any-return]  # the same type
    forged = lists.sign_list(frame.account, key, version, certificates)
    return changed(frame, list=forged)  # type: ignore[no-any-return]  # the same type


# --- 1: devices that the relay adds ---


@pytest.mark.asyncio
@pytest.mark.attack(1)
@pytest.mark.parametrize("how", ["appended", "signed by the relay"])
@pytest.mark.parametrize("whose", ["the peer's", "one's own"])
async def test_a_device_that_the_relay_adds_gets_nothing(
    start_relay: StartRelay, whose: str, how: str
) -> None:
    async with (
        hostile_relay(await start_relay(mode="e2ee")) as hostile,
        enter(hostile, "alice") as alice,
        enter(hostile, "bob") as bob,
    ):
        await alice.send("bob", "before")
        assert texts(await take(bob)) == ["before"]
        account = bob.account if whose == "the peer's" else alice.account
        shown = with_spy(await alice.devices(account), how)

        def lie(line: Any, frame: wire.Devices) -> wire.Devices:
            if (line.name, frame.account) != ("alice", account):
                return frame
            return changed(shown, ref=frame.ref)  # type: ignore[no-any-return]  # the same type

        hostile.down(wire.Devices, lie)
        async with events_of(alice) as seen:
            await hostile.line("alice").to_client(shown)
            with pytest.raises(KeyRefused):
                await alice.devices(account)
            await alice.send("bob", "after")
        assert texts(await take(bob)) == ["after"]
        kind = KeyRefusal if whose == "the peer's" else OwnKeyRefusal
        assert [type(each) for each in seen if isinstance(each, KeyRefusal | OwnKeyRefusal)] == [
            kind,
            kind,
        ]
        to = {copy.device for each in hostile.sends("alice") for copy in each.copies}
        assert to == {bob.welcome.device}


@pytest.mark.asyncio
@pytest.mark.attack(1)
async def test_the_relay_cannot_put_a_removed_device_back(start_relay: StartRelay) -> None:
    """Its certificate is real; the list that names it again is nobody's."""
    async with (
        hostile_relay(await start_relay(mode="e2ee")) as hostile,
        enter(hostile, "alice") as alice,
        enter(hostile, "bob") as phone,
        enter(hostile, "bob") as tablet,
    ):
        await link(phone, tablet)
        both = (await alice.devices("bob")).list
        await phone.linking.remove(tablet.welcome.device)
        now = await alice.devices("bob")
        assert both is not None
        assert now.list is not None
        back = changed(now.list, version=now.list.version + 1, certificates=both.certificates)

        def lie(line: Any, frame: wire.Devices) -> wire.Devices:
            his = frame.account == phone.account and line.name == "alice"
            return changed(frame, list=back) if his else frame  # type: ignore[no-any-return]  # the same type

        hostile.down(wire.Devices, lie)
        with pytest.raises(KeyRefused):
            await alice.devices("bob")
        await alice.send("bob", "to the phone")
        assert [each.device for each in hostile.sends("alice")[-1].copies] == [phone.welcome.device]


@pytest.mark.asyncio
@pytest.mark.attack(1)
async def test_the_relay_cannot_offer_another_device_under_a_code(start_relay: StartRelay) -> None:
    """It has seen an offer, and puts its own device's keys into it."""
    async with (
        hostile_relay(await start_relay(mode="e2ee")) as hostile,
        enter(hostile, "bob") as phone,
        enter(hostile, "bob") as laptop,
    ):
        joining = await laptop.linking.begin("laptop")

        def swap(line: Any, frame: wire.Link) -> wire.Link:
            if frame.slot or not frame.body:
                return frame
            mine, code = SigningKey(os.urandom(32)).public, joining.offer
            certificate = code.index(laptop.welcome.device) + 20
            return changed(  # type: ignore[no-any-return]  # the same type
                frame, body=code[:certificate] + mine + code[certificate + 32 :]
            )

        hostile.down(wire.Link, swap)
        with pytest.raises(KeyRefused, match="does not know this code"):
            await phone.linking.consider(joining.code.text())
        assert await listed(phone) == {phone.welcome.device}


@pytest.mark.asyncio
@pytest.mark.attack(1)
@pytest.mark.parametrize("what", ["answer", "confirmation", "silence"])
async def test_the_relay_cannot_answer_or_confirm_in_a_devices_place(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(linking, "CONFIRMATION_SECONDS", 1.0 if what == "silence" else 20.0)
    async with (
        hostile_relay(await start_relay(mode="e2ee")) as hostile,
        enter(hostile, "bob") as phone,
        enter(hostile, "bob") as laptop,
    ):
        joining = await laptop.linking.begin("laptop")

        def meddle(line: Any, frame: wire.Link) -> wire.Link:
            body = frame.body
            if what == "answer" and frame.slot == 2 and body:
                body = body[:60] + bytes((body[60] ^ 1,)) + body[61:]
            if what == "confirmation" and frame.slot == 1 and line.device == phone.welcome.device:
                body = os.urandom(32)
            if what == "silence" and frame.slot == 1:
                body = b""
            return changed(frame, body=body)  # type: ignore[no-any-return]  # the same type

        hostile.down(wire.Link, meddle)
        finishing = asyncio.create_task(laptop.linking.finish(joining))
        found = await phone.linking.consider(joining.code.text())
        approving = asyncio.create_task(phone.linking.approve(found))
        if what == "answer":
            with pytest.raises(KeyRefused):
                await finishing
            assert laptop.unlinked is not None
            approving.cancel()
            await asyncio.gather(approving, return_exceptions=True)
            assert await listed(phone) == {phone.welcome.device}
            return
        wanted = KeyRefused if what == "confirmation" else LimitExceeded
        with pytest.raises(wanted):
            await approving
        await asyncio.gather(finishing, return_exceptions=True)


@pytest.mark.asyncio
@pytest.mark.attack(1)
async def test_a_linked_device_is_not_met_by_the_relays_lies(start_relay: StartRelay) -> None:
    """What the relay shows a new device of people that its user knows, is held to the hand-over."""
    async with (
        hostile_relay(await start_relay(mode="e2ee")) as hostile,
        enter(hostile, "alice") as alice,
        enter(hostile, "bob") as phone,
    ):
        await phone.send("alice", "hello")
        await take(alice)
        spy = SigningKey(os.urandom(32))
        forged = lists.sign_list(alice.account, spy, 9, (spying(alice.account, spy),))
        async with enter(hostile, "bob") as laptop:
            device = laptop.welcome.device

            def lie(line: Any, frame: wire.Devices) -> wire.Devices:
                if line.device != device or frame.account != alice.account:
                    return frame
                return changed(frame, key=spy.public, list=forged)  # type: ignore[no-any-return]  # the same type

            hostile.down(wire.Devices, lie)
            weaker: wire.Modes = dict.fromkeys(wire.KINDS, "tls")

            def weaken(line: Any, frame: wire.Policy) -> wire.Policy:
                return changed(frame, modes=weaker) if line.device == device else frame  # type: ignore[no-any-return]  # the same type

            hostile.down(wire.Policy, weaken)
            met = await laptop.policy(alice.account)  # blindly
            assert met.modes["text"] == "tls"
            done = await link(phone, laptop)
            assert done.contradicted == ("alice",)
            assert laptop.safety_number("alice") == phone.safety_number("alice")
            before = len(hostile.sends("bob"))
            with pytest.raises(LouverError):
                await laptop.send("alice", "for alice only")
            assert len(hostile.sends("bob")) == before
            assert b"for alice only" not in hostile.sent


# --- 2: identifiers for keys ---


@pytest.mark.asyncio
@pytest.mark.attack(2)
async def test_a_device_named_like_a_fingerprint_is_only_a_device(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its id is what a person reads as the beginning of the other device's, or account's, key."""
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "bob") as phone:
        own = await phone.devices(phone.account)
        assert own.list is not None
        fingerprint = own.list.certificates[0].signing.hex()[:16].encode()
        monkeypatch.setattr(os, "urandom", first_then(os.urandom, fingerprint))
        async with enter(relay, "bob") as laptop:
            monkeypatch.undo()
            monkeypatch.setattr(linking, "LOOK_SECONDS", 0.02)
            assert laptop.welcome.device == fingerprint
            await link(phone, laptop)
            mine = await phone.devices(phone.account)
            assert which(fingerprint.hex(), mine) == fingerprint
            for typed in (fingerprint.decode(), own.list.certificates[0].signing.hex()):
                with pytest.raises(LouverError, match="by its id"):
                    which(typed, mine)
            assert phone._trust.verifying().pinned_key(phone.account) == own.key


def first_then(draw: Callable[[int], bytes], first: bytes) -> Callable[[int], bytes]:
    """``draw``, but the first id is ``first``."""
    left = [first]
    return lambda size: left.pop() if left and size == len(first) else draw(size)


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
            async with asyncio.timeout(10):
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
        async with asyncio.timeout(1.0):
            await second.socket.wait_closed()
        assert second.socket.close_code == 4503
        with pytest.raises(Forbidden, match="removed"):
            async with asyncio.timeout(1.0):
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
    async with asyncio.timeout(10):
        while not any(isinstance(each, wire.Send) for _, each in hostile.said[before:]):
            await asyncio.sleep(0.01)
    waiting.cancel()
    hostile.honest()
    return next(each for _, each in hostile.said[before:] if isinstance(each, wire.Send))
