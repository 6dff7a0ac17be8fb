"""What a client believes of account keys: what the user compared, and its own."""

from __future__ import annotations

import msgspec
import pytest

from crypto_modes import policy, wire
from crypto_modes.contract import Need, NeedDevices
from crypto_modes.e2ee import devices
from crypto_modes.e2ee.memory import Memory
from crypto_modes.errors import (
    BadArgument,
    BelowFloor,
    CannotOpen,
    KeyChanged,
    KeyRefused,
    UnknownDevice,
)
from crypto_modes.keys import SigningKey
from tests.e2ee_relay import ALICE, BOB, MODES, Device, Relay, couple, talking

# --- a changed key of a peer ---


def evil_twin(device: bytes = b"evil-phone-00001", account: bytes = BOB) -> Device:
    """A device for an account under a key that a hostile relay made up."""
    twin = Device(Relay(), account, device)
    twin.publish()
    return twin


def offer(to: Device, device: Device) -> None:
    with pytest.raises(KeyChanged):
        to.client.supply(device.relay.published[device.account])


@pytest.mark.attack
def test_14_a_key_that_was_swapped_after_comparing_is_not_accepted() -> None:
    """The users compare the real new key; the relay then shows its own, to be accepted."""
    relay, alice, _ = couple()
    alice.send(BOB)
    genuine = Device(relay, BOB, b"bobby-phone-0002")
    genuine.publish()
    offer(alice, genuine)
    genuine.client.supply(relay.published[ALICE])
    number = genuine.client.safety_number(ALICE)
    assert alice.client.safety_number(BOB) == number
    pinned = alice.client.pinned_key(BOB)
    evil = evil_twin()
    offer(alice, evil)
    with pytest.raises(KeyRefused, match="another safety number"):
        alice.client.accept_key(BOB, number)
    assert alice.client.pinned_key(BOB) == pinned
    with pytest.raises(KeyChanged):
        alice.client.seal(alice.draft(BOB))
    offer(alice, genuine)
    alice.client.accept_key(BOB, number.replace(" ", "") + "\n")
    assert alice.client.pinned_key(BOB) == relay.published[BOB].key
    assert genuine.receive(alice.send(BOB, b"compared")).content == b"compared"


@pytest.mark.parametrize("number", ["", "0" * 60, "\u0661" * 60])
def test_nothing_else_than_the_number_of_the_key_accepts_it(number: str) -> None:
    _, alice, _ = couple()
    alice.send(BOB)
    before = alice.client.safety_number(BOB)
    with pytest.raises(BadArgument, match="no changed key"):
        alice.client.accept_key(BOB, before)
    offer(alice, evil_twin())
    for wrong in (number, before):
        with pytest.raises(KeyRefused, match="another safety number"):
            alice.client.accept_key(BOB, wrong)


def test_lists_under_a_key_that_waits_only_get_newer_too() -> None:
    _, alice, _ = couple()
    alice.send(BOB)
    evil = evil_twin()
    old = evil.relay.published[BOB]
    offer(alice, evil)
    Device(evil.relay, BOB, b"evil-tablet-0002").link(evil)
    offer(alice, evil)
    with pytest.raises(KeyRefused, match="older device list"):
        alice.client.supply(old)


# --- the own account's key ---


@pytest.mark.attack
def test_14_the_relay_cannot_replace_the_own_account_key() -> None:
    """Also not by a list that names this very device beside the relay's own."""
    relay, alice, bob = couple()
    bob.receive(alice.send(BOB))
    mine = relay.published[ALICE]
    assert mine.list is not None
    key = SigningKey(b"a seed that the relay made up 32")
    (phone,) = mine.list.certificates
    signed = key.sign(devices.signed_certificate(ALICE, phone))
    evil = evil_twin(account=ALICE).relay.published[ALICE].list
    assert evil is not None
    spy = key.sign(devices.signed_certificate(ALICE, evil.certificates[0]))
    certificates = (
        msgspec.structs.replace(phone, signature=signed),
        msgspec.structs.replace(evil.certificates[0], signature=spy),
    )
    listed = devices.sign_list(ALICE, key, 9, certificates)
    forged = wire.Devices(ref=0, account=ALICE, name="alice", key=key.public, list=listed)
    for _ in range(2):
        with pytest.raises(KeyRefused, match="another key for your own account"):
            alice.client.supply(forged)
        with pytest.raises(BadArgument, match="no changed key"):
            alice.client.accept_key(ALICE, alice.client.safety_number(ALICE))
        assert alice.client.pinned_key(ALICE) == mine.key
        sealed = alice.client.seal(alice.draft(BOB, b"still to Bob alone"))
        assert [copy.device for copy in sealed.copies] == [bob.id]
        alice.restart()


def test_a_device_without_keys_takes_nobodys_word_for_its_account() -> None:
    relay, alice, bob = couple()
    tablet = Device(relay, ALICE, b"alice-tablet-002")
    with pytest.raises(KeyRefused, match="link it first"):
        tablet.client.supply(relay.published[ALICE])
    assert tablet.client.pinned_key(ALICE) is None
    with pytest.raises(UnknownDevice, match="link it first"):
        tablet.send(BOB)
    stored = alice.send(BOB)
    with pytest.raises(CannotOpen):
        tablet.open(relay.mode.emit(stored, bob.id))
    tablet.link(alice)
    assert bob.receive(tablet.send(BOB, b"linked")).content == b"linked"


def test_a_device_without_keys_may_look_others_up_but_can_write_to_nobody() -> None:
    relay, _, bob = couple()
    tablet = Device(relay, ALICE, b"alice-tablet-002")
    peers = Memory(tablet.tools).peers
    with pytest.raises(Need) as need:
        peers.to_send(BOB)
    assert need.value.what == NeedDevices(BOB)
    tablet.client.supply(relay.published[BOB])
    assert peers.to_send(BOB).devices.keys() == {bob.id}
    with pytest.raises(UnknownDevice, match="link it first"):
        peers.to_send(ALICE)


@pytest.mark.attack
def test_15_an_unlinked_device_keeps_its_floor_though_both_keys_are_made_up() -> None:
    """The relay signs a lowering in both users' names, under keys that it shows for both."""
    relay, _, _ = couple()
    tablet = Device(relay, ALICE, b"alice-tablet-002")
    first = relay.policy(ALICE, BOB, 1)
    tablet.pins.record(first, {})
    fakes = {each: evil_twin(account=each) for each in (ALICE, BOB)}
    shown = {each: fake.relay.published[each] for each, fake in fakes.items()}
    keys = {each: frame.key for each, frame in shown.items()}
    lowered = policy.successor(first, dict.fromkeys(MODES, "tls"), relay.clock.now, keys)
    marks = {each: fakes[each].client.sign(policy.record(lowered)) for each in fakes}
    lowered = msgspec.structs.replace(
        lowered, state="in_force", signatures=(marks[lowered.first], marks[lowered.second])
    )
    tablet.client.supply(shown[BOB])
    with pytest.raises(KeyRefused):
        tablet.client.supply(shown[ALICE])
    pinned = {each: tablet.client.pinned_key(each) for each in (ALICE, BOB)}
    with pytest.raises(BelowFloor, match="no keys of its account"):
        tablet.pins.record(lowered, {each: key for each, key in pinned.items() if key})
    assert tablet.pins.floor(first.conversation, "text") == "e2ee"


# --- what another device of this user has pinned ---


@pytest.mark.attack
def test_14_a_key_that_was_handed_over_is_held_to_like_one_that_was_met() -> None:
    relay, alice, bob = couple()
    genuine = relay.published[BOB]
    assert alice.client.linker.trust(BOB, genuine.key) is True
    alice.restart()
    assert alice.client.pinned_key(BOB) == genuine.key
    with pytest.raises(Need):  # a key is no list: nothing can be sealed to it yet
        alice.client.seal(alice.draft(BOB))
    offer(alice, evil_twin())
    with pytest.raises(KeyChanged):
        alice.send(BOB)
    alice.client.supply(genuine)
    assert bob.receive(alice.send(BOB, b"to the right one")).content == b"to the right one"


def test_a_key_that_was_known_already_changes_nothing() -> None:
    relay, alice, bob = talking()
    assert alice.client.linker.trust(BOB, relay.published[BOB].key) is True
    sealed = alice.client.seal(alice.draft(BOB))
    assert [copy.device for copy in sealed.copies] == [bob.id]
    assert bob.receive(alice.send(BOB)).warnings == ("gap:1",)  # and no reset: the same session


@pytest.mark.attack
def test_14_a_key_that_was_handed_over_ends_what_was_met_blindly() -> None:
    """This device had met the relay's own key first; the other one knows better."""
    relay, alice, bob = couple()
    evil = evil_twin(device=bob.id)
    genuine = relay.published[BOB], relay.prekeys[BOB, bob.id]
    relay.published[BOB], relay.prekeys[BOB, bob.id] = (
        evil.relay.published[BOB],
        evil.relay.prekeys[BOB, bob.id],
    )
    alice.send(BOB, b"read by the relay")
    relay.published[BOB], relay.prekeys[BOB, bob.id] = genuine
    with pytest.raises(KeyChanged):
        alice.client.supply(genuine[0])
    number = alice.client.safety_number(BOB)
    assert alice.client.linker.trust(BOB, genuine[0].key) is False
    assert alice.client.pinned_key(BOB) == genuine[0].key
    with pytest.raises(BadArgument, match="no changed key"):
        alice.client.accept_key(BOB, number)
    with pytest.raises(Need) as need:
        alice.client.seal(alice.draft(BOB))
    assert need.value.what == NeedDevices(BOB)
    assert bob.receive(alice.send(BOB, b"to Bob")).content == b"to Bob"


def test_every_pinned_key_is_handed_on_but_the_own() -> None:
    relay, alice, bob = talking()
    carol = b"carol-account-03"
    alice.client.linker.trust(BOB, relay.published[BOB].key)
    alice.client.linker.trust(carol, b"c" * 32)
    assert alice.client.linker.pinned() == {BOB: bob.client.pinned_key(BOB), carol: b"c" * 32}
