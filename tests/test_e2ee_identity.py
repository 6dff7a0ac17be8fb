"""A client's own prekeys, row by row: how long they serve, what counts once, what is deleted.

What is published and when is in `test_e2ee_keys.py`.
"""

from __future__ import annotations

import pytest

from crypto_modes import wire
from crypto_modes.e2ee import identity, sessions
from crypto_modes.e2ee.header import First
from crypto_modes.e2ee.identity import Identity
from crypto_modes.errors import CannotOpen, KeyRefused
from tests.e2ee_relay import ALICE, BOB, Device, Relay, couple, talking

DAY = 24 * 60 * 60 * 1000
FULL = wire.Published(ref=0, version=1, once=100, kem=100)


def first(signed: int, last: int, ephemeral: bytes = b"e" * 32) -> First:
    """A first message's block, under the keys that serve any number of times."""
    return First(ephemeral, signed, 0, last, 1, bytes(1088))


def standing(published: list[wire.Prekey]) -> tuple[wire.Prekey, wire.Prekey]:
    """The signed prekey and the last resort among what was published."""
    by_use = {each.use: each for each in published}
    return by_use["signed"], by_use["last"]


def test_one_time_keys_serve_for_ninety_days_and_the_others_for_thirty() -> None:
    relay = Relay()
    frames = Device(relay, ALICE, b"alice-phone-0001").client.publication(None)
    prekeys = [prekey for frame in frames for prekey in frame.prekeys]
    lives = {(each.use, each.expires - relay.clock.now) for each in prekeys}
    assert lives == {("signed", 30 * DAY), ("last", 30 * DAY), ("once", 90 * DAY)}


def test_a_prekey_serves_to_its_last_millisecond_and_no_longer_at_either_end() -> None:
    relay, alice, bob = couple()
    signed, last = standing(relay.prekeys[BOB, bob.id])
    bundle, kept = relay.bundle(BOB, bob.id), Identity(bob.tools)
    alice.client.supply(relay.published[BOB])
    relay.clock.now = signed.expires
    alice.client.supply(wire.Keys(ref=0, account=BOB, bundles=(bundle,)))
    kept.purge()
    kept.secrets(first(signed.id, last.id))
    relay.clock.now += 1
    with pytest.raises(KeyRefused, match="has expired"):
        alice.client.supply(wire.Keys(ref=0, account=BOB, bundles=(bundle,)))
    kept.purge()
    with pytest.raises(CannotOpen):
        kept.secrets(first(signed.id, last.id))


@pytest.mark.attack
def test_12_a_first_message_under_the_last_resort_counts_once_and_spares_the_key() -> None:
    _, _, bob = couple()
    signed, last = standing(bob.relay.prekeys[BOB, bob.id])
    read, unread = (first(signed.id, last.id, by * 32) for by in (b"a", b"b"))
    Identity(bob.tools).use_up(read)
    for kept in (Identity(bob.tools), Identity(bob.tools)):  # also after a restart
        with pytest.raises(CannotOpen):
            kept.secrets(read)
        kept.secrets(unread)


@pytest.mark.attack
def test_12_the_replays_of_a_key_that_still_serves_outlive_an_older_key() -> None:
    relay, _, bob = couple()
    kept = Identity(bob.tools)
    old = standing(relay.prekeys[BOB, bob.id])
    kept.use_up(first(old[0].id, old[1].id))
    relay.clock.now += 7 * DAY
    new = standing(list(kept.publishable(FULL)))
    read = first(new[0].id, new[1].id)
    kept.use_up(read)
    relay.clock.now = old[1].expires + 1
    kept.purge()
    remembered = [key for table, key in bob.state.rows if table == identity.REPLAYS]
    assert [key[:8] for key in remembered] == [new[1].id.to_bytes(8, "big")]
    with pytest.raises(CannotOpen):
        kept.secrets(read)


def test_more_keys_are_due_when_one_was_used_up_and_until_they_are_made() -> None:
    _, alice, bob = couple()
    assert bob.client.refill_due() is False
    bob.receive(alice.send(BOB))
    assert bob.client.refill_due() is True
    bob.client.publication(FULL)
    assert bob.client.refill_due() is False


def test_a_client_that_is_purged_keeps_nothing_past_its_time() -> None:
    """A thief of the device finds what is not deleted, and nobody may write for a month."""
    relay, _, bob = talking()
    relay.clock.now += 30 * DAY
    bob.client.purge()
    assert {identity.PREKEYS, sessions.ACTIVE} <= {table for table, _ in bob.state.rows}
    relay.clock.now += 1
    bob.client.purge()
    kept = [raw for (table, _), raw in bob.state.rows.items() if table == identity.PREKEYS]
    assert sessions.ACTIVE not in {table for table, _ in bob.state.rows}
    assert len(kept) == 198  # the one-time keys, of which one of each kind was used
    relay.clock.now += 60 * DAY
    bob.client.purge()
    assert identity.PREKEYS not in {table for table, _ in bob.state.rows}
