"""Sealing at its limits: what a frame holds to the byte, and how many bundles wait for a session.

What is sealed is in `test_e2ee_client.py`.
"""

from __future__ import annotations

import msgspec
import pytest

from crypto_modes import e2ee, wire
from crypto_modes.contract import Need, NeedBundles
from crypto_modes.e2ee import handshakes, header
from crypto_modes.e2ee.header import HAS_KEY
from crypto_modes.e2ee.memory import Memory
from crypto_modes.e2ee.sending import FRAME_REST
from crypto_modes.errors import LimitExceeded
from tests.e2ee_relay import ALICE, BOB, Device, couple, talking

DAY = 24 * 60 * 60 * 1000
FRAMING = 24  # of one copy
KEM_KEY = 1184


def test_a_message_and_a_new_epochs_key_fit_a_frame_to_the_byte() -> None:
    relay, _, bob = talking()
    relay.clock.now += DAY
    rows = dict(bob.state.rows)

    def sealed(frame: int) -> bytes:
        bob.state.rows = dict(rows)
        client = e2ee.MODE.client(msgspec.structs.replace(bob.tools, frame=frame))
        (copy,) = client.seal(bob.draft(ALICE)).copies
        return copy.body

    whole = sealed(wire.FRAME_LIMIT)
    assert whole[1] == HAS_KEY
    least = FRAME_REST + FRAMING + len(whole) - KEM_KEY
    flags = [sealed(least + more)[1] for more in (KEM_KEY, KEM_KEY - 1, 0)]
    assert flags == [HAS_KEY, 0, 0]  # the key waits for the next message, the text does not
    with pytest.raises(LimitExceeded, match="too long for 1 devices"):
        sealed(least - 1)
    assert bob.state.rows == rows


def test_a_text_of_the_largest_size_is_sealed() -> None:
    _, alice, bob = talking()
    text = b"x" * wire.CONTENT_LIMIT
    assert bob.receive(alice.send(BOB, text)).content == text


def test_what_begins_between_own_devices_names_no_policy() -> None:
    """Their session serves every conversation, so it is bound to the policy of none."""
    relay, alice, bob = couple()
    laptop = Device(relay, ALICE, b"alice-laptop-002")
    laptop.link(alice)
    draft = alice.draft(BOB)
    copies = alice.needing(lambda: alice.client.seal(draft)).copies
    begun = {copy.device: header.parse(copy.body)[0].first for copy in copies}
    named = {device: first.epoch for device, first in begun.items() if first is not None}
    assert named == {bob.id: 1, laptop.id: 0}


@pytest.mark.attack
def test_12_a_bundle_begins_one_session_and_is_asked_for_anew() -> None:
    """Its one-time keys serve once; who used them again would be refused as a replay."""
    _, alice, bob = couple()
    alice.send(BOB)
    alice.client.linker.reset(BOB)
    with pytest.raises(Need) as need:
        alice.client.seal(alice.draft(BOB))
    assert need.value.what == NeedBundles(BOB, (bob.id,))


def test_bundles_that_nobody_used_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "BUNDLE_LIMIT", 2)
    relay, alice, bob = couple()
    tablet = Device(relay, BOB, b"bobby-tablet-002")
    laptop = Device(relay, ALICE, b"alice-laptop-002")
    tablet.link(bob)
    laptop.link(alice)
    memory = Memory(alice.tools)
    memory.learn(relay.published[BOB])
    given = {}
    for end in (bob, tablet, laptop):
        bundles = (relay.bundle(end.account, end.id),)
        given[end.id] = wire.Keys(ref=0, account=end.account, bundles=bundles)
    for end in (bob, tablet):
        memory.handshakes.take(given[end.id])
    memory.handshakes.require(BOB, [bob.id, tablet.id])
    memory.handshakes.take(given[laptop.id])
    memory.handshakes.require(ALICE, [laptop.id])
    with pytest.raises(Need) as need:
        memory.handshakes.require(BOB, [bob.id, tablet.id])
    assert need.value.what == NeedBundles(BOB, (bob.id, tablet.id))
