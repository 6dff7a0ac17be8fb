"""Known attacks on device lists and on linking: rows 1 and 2, by a relay between real
clients. What single messages of linking must refuse is in ``test_e2ee_linking``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest

from client import KeyRefusal, OwnKeyRefusal, linking
from client.device_commands import which
from crypto_modes import wire
from crypto_modes.e2ee import devices as lists
from crypto_modes.e2ee import identity
from crypto_modes.errors import KeyRefused, LimitExceeded, LouverError
from crypto_modes.keys import AgreementKey, SigningKey
from tests.conftest import StartRelay
from tests.hostile_relay import changed, hostile_relay
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
