"""What a message says of the other side's: echo, position and the key log's head; modes.md 28."""

from __future__ import annotations

import pytest

from crypto_modes import policy
from crypto_modes.contract import KEY_LOG, LOG_HEAD, POSITIONS
from tests.e2ee_relay import ALICE, BOB, Device, talking


def handled(device: Device, peer: bytes, seq: int) -> None:
    """Say for the client program that all up to ``seq`` was handled on ``device``."""
    place = policy.conversation_id(device.account, peer)
    device.state.put(POSITIONS, place, seq.to_bytes(8, "big"))


@pytest.mark.attack
def test_18_a_withheld_tail_shows_in_the_next_answer() -> None:
    relay, alice, bob = talking()
    bob.receive(alice.send(BOB, b"arrives"))
    tail = [alice.send(BOB, b"withheld"), alice.send(BOB, b"withheld, too")]
    handled(bob, ALICE, relay.seq)
    opened = alice.receive(bob.send(ALICE, b"are you there?"))
    assert opened.unopened == tuple(each.meta.id for each in tail)
    assert opened.position >= tail[1].meta.seq
    assert opened.warnings == ()
    # What comes after all ends it.
    bob.receive(tail[1])
    assert alice.receive(bob.send(ALICE)).unopened == ()


def test_messages_that_crossed_are_told_from_withheld_ones_by_the_position() -> None:
    relay, alice, bob = talking()
    handled(bob, ALICE, relay.seq)
    crossing = bob.send(ALICE, b"crossing")
    sent = alice.send(BOB, b"crossing, too")
    opened = alice.receive(crossing)
    assert opened.unopened == (sent.meta.id,)
    assert opened.position < sent.meta.seq


@pytest.mark.attack
def test_19_an_echo_of_a_text_that_was_never_sent_is_a_fork() -> None:
    """Someone else holds Alice's device state and writes to Bob with it."""
    _, alice, bob = talking()
    rows = dict(alice.state.rows)
    bob.receive(alice.send(BOB, b"the clone's"))
    alice.state.rows = rows
    assert alice.receive(bob.send(ALICE)).warnings == ("fork",)
    _, alice, bob = talking()
    rows = dict(alice.state.rows)
    bob.receive(alice.send(BOB, b"the clone's"))
    alice.state.rows = rows
    alice.send(BOB, b"Alice's own, with the same number")
    assert alice.receive(bob.send(ALICE)).warnings == ("fork",)


def test_a_device_that_was_linked_later_echoes_nothing_of_before() -> None:
    relay, alice, bob = talking()
    alice.send(BOB, b"before")
    tablet = Device(relay, BOB, b"bobby-tablet-002")
    tablet.link(bob)
    handled(tablet, ALICE, relay.seq)
    alice.client.supply(relay.published[BOB])
    assert alice.receive(tablet.send(ALICE)).unopened == ()


def test_the_head_of_the_key_log_travels_along() -> None:
    _, alice, bob = talking()
    assert bob.receive(alice.send(BOB)).log_head == b""
    head = (12).to_bytes(8, "big") + b"r" * 32
    alice.state.put(KEY_LOG, LOG_HEAD, head)
    assert bob.receive(alice.send(BOB)).log_head == head


def test_a_message_sealed_again_is_the_same_whatever_came_meanwhile() -> None:
    relay, alice, bob = talking()
    draft = alice.draft(BOB, b"to be sealed twice")
    first = alice.client.seal(draft)
    alice.receive(bob.send(ALICE))
    handled(alice, BOB, 99)
    alice.state.put(KEY_LOG, LOG_HEAD, bytes(39) + b"\1")
    again = alice.client.seal(draft)
    assert again.commitment == first.commitment
    assert bob.receive(relay.admit(draft, again)).content == b"to be sealed twice"
