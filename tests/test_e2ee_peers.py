"""What a client believes of account keys: what the user compared, and its own."""

from __future__ import annotations

import pytest

from crypto_modes.errors import BadArgument, KeyChanged, KeyRefused
from tests.e2ee_relay import ALICE, BOB, Device, Relay, couple

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
    alice.client.accept_key(BOB, number.replace(" ", "\n"))
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
