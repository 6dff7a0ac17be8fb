"""What one device of a user hears of another, and a new one of peers: no notice that is false."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_modes.contract import Stored
from crypto_modes.e2ee import sessions
from tests.e2ee_relay import ALICE, BOB, Device, Relay, couple, talking

CAROL = b"carol-account-03"


def own_pair() -> tuple[Relay, Device, Device]:
    """Alice's phone and laptop, who have not written to each other yet; Bob and Carol are there."""
    relay, phone, _ = couple()
    Device(relay, CAROL, b"carol-phone-0001").publish()
    laptop = Device(relay, ALICE, b"alice-laptop-002")
    laptop.link(phone)
    return relay, phone, laptop


# --- sessions between own devices ---


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=40))
@settings(max_examples=25, deadline=None)
def test_conversations_in_any_order_look_like_no_reset(
    steps: list[tuple[bool, bool, bool]],
) -> None:
    """The relay keeps the order of each conversation, and gives them after one another."""
    _, phone, laptop = own_pair()
    ways: dict[tuple[bool, bytes], deque[Stored]] = {
        (forth, peer): deque() for forth in (True, False) for peer in (BOB, CAROL)
    }

    def read(forth: bool, peer: bytes) -> None:
        opened = (laptop if forth else phone).receive(ways[forth, peer].popleft())
        assert opened.warnings == ()

    for forth, first, sends in steps:
        peer = BOB if first else CAROL
        if sends:
            ways[forth, peer].append((phone if forth else laptop).send(peer))
        elif ways[forth, peer]:
            read(forth, peer)
    for (forth, peer), way in ways.items():
        while way:
            read(forth, peer)


def test_a_message_of_another_conversation_that_was_written_before_is_no_reset() -> None:
    _, phone, laptop = own_pair()
    before = phone.send(BOB), phone.send(CAROL)
    phone.receive(laptop.send(BOB))  # both had begun
    after = phone.send(BOB)
    # On resuming, one conversation comes after the other.
    for stored in (before[0], after, before[1]):
        assert laptop.receive(stored).warnings == ()


@pytest.mark.attack(27)
@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("elsewhere", [True, False])
def test_an_own_device_that_begins_anew_shows(answered: bool, elsewhere: bool) -> None:
    _, phone, laptop = own_pair()
    assert laptop.receive(phone.send(BOB)).warnings == ()
    if answered:
        assert phone.receive(laptop.send(BOB)).warnings == ()
        assert laptop.receive(phone.send(BOB)).warnings == ()
    phone.client.linker.reset(ALICE)
    if elsewhere:  # where nothing was heard before, nothing tells which of the two came first
        assert laptop.receive(phone.send(CAROL)).warnings == ()
    assert laptop.receive(phone.send(BOB)).warnings == ("session_reset",)
    assert laptop.receive(phone.send(BOB)).warnings == ()


@pytest.mark.attack(27)
def test_a_clone_of_an_own_device_in_an_old_session_shows() -> None:
    _, phone, laptop = own_pair()
    laptop.receive(phone.send(BOB))
    thief = dict(phone.state.rows)
    phone.client.linker.reset(ALICE)
    assert laptop.receive(phone.send(BOB)).warnings == ("session_reset",)
    said = {key: row for key, row in phone.state.rows.items() if key[0] == "e2ee_said"}
    phone.state.rows = thief | said
    assert laptop.receive(phone.send(BOB)).warnings == ("session_reset",)


# --- a device that was linked later ---


def linked_later() -> tuple[Device, Device, Device]:
    """Alice, Bob's phone, and a tablet of his that came when Alice had written to him already."""
    relay, alice, bob = talking()
    for _ in range(3):
        bob.receive(alice.send(BOB))
    tablet = Device(relay, BOB, b"bobby-tablet-002")
    tablet.link(bob)
    alice.client.supply(relay.published[BOB])
    return alice, bob, tablet


@pytest.mark.parametrize("writes", [True, False])
def test_a_linked_device_misses_nothing_that_was_written_before_it_came(writes: bool) -> None:
    alice, bob, tablet = linked_later()
    if writes:
        mine = tablet.send(ALICE)
        alice.receive(mine)
        assert bob.receive(mine).warnings == ()
    for _ in range(2):
        assert tablet.receive(alice.send(BOB)).warnings == ()
    bob.send(ALICE)
    assert tablet.receive(bob.send(ALICE)).warnings == ()


@pytest.mark.attack(18)
def test_what_was_withheld_from_a_linked_device_shows_at_the_first_that_comes() -> None:
    alice, _, tablet = linked_later()
    withheld = [alice.send(BOB) for _ in range(2)]
    assert tablet.receive(alice.send(BOB)).warnings == ("gap:2",)
    assert [tablet.receive(each).warnings for each in withheld] == [("reordered",)] * 2


@pytest.mark.attack(18)
def test_to_the_first_device_of_an_account_every_message_was_written() -> None:
    _, alice, bob = couple()
    alice.send(BOB)
    for key in [key for key in alice.state.rows if key[0] == sessions.ACTIVE]:
        del alice.state.rows[key]  # so the session says nothing of the one before
    assert bob.receive(alice.send(BOB)).warnings == ("gap:1",)
