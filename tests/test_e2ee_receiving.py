"""Opening, seen from what it gives and asks for: evidence, whose list, whose policy, how often.

What sessions do with what opened is in `test_e2ee_sessions.py`, warnings are in
`test_e2ee_client.py`.
"""

from __future__ import annotations

import os

import msgspec
import pytest

from crypto_modes import policy, wire
from crypto_modes.contract import Evidence, Need, NeedDevices, NeedPolicy, Opened
from crypto_modes.e2ee import receiving
from crypto_modes.e2ee.memory import RECENT, SAID
from crypto_modes.errors import CannotOpen, KeyChanged, ReportRefused
from tests.e2ee_relay import ALICE, BOB, MODES, Device, Relay, couple, talking


def laptop_of(alice: Device) -> Device:
    laptop = Device(alice.relay, ALICE, b"alice-laptop-002")
    laptop.link(alice)
    return laptop


def asked(device: Device, delivery: wire.Deliver) -> object:
    """What the device needs before it can open this, without giving it."""
    with pytest.raises(Need) as need:
        device.client.open(delivery)
    return need.value.what


@pytest.mark.attack
def test_41_a_message_comes_with_what_proves_it_to_the_relay_and_nothing_else_proves() -> None:
    relay, alice, bob = talking()
    stored = alice.send(BOB, b"abuse")
    evidence = bob.receive(stored).evidence
    assert evidence is not None
    assert evidence.reporter == BOB
    assert relay.mode.reveal(stored, evidence) == b"abuse"
    for lie in (
        {"reporter": ALICE},
        {"key": os.urandom(32)},
        {"message": evidence.message[:-1] + b"\1"},
    ):
        with pytest.raises(ReportRefused):
            relay.mode.reveal(stored, Evidence(**msgspec.structs.asdict(evidence) | lie))


def test_an_own_message_is_no_evidence_against_oneself() -> None:
    _, alice, _ = talking()
    laptop = laptop_of(alice)
    opened = laptop.receive(alice.send(BOB, b"mine"))
    assert (opened.content, opened.evidence, opened.unopened) == (b"mine", None, ())


def test_where_there_is_no_copy_there_is_nothing_but_that() -> None:
    _, alice, bob = talking()
    absent = bob.relay.mode.emit(alice.send(BOB, kind="image"), b"bobby-laptop-002")
    assert bob.client.open(absent) == Opened(content=b"", kind="image", warnings=("no_copy",))


# -- what it says of the sender's state ---------------------------------------------------------


@pytest.mark.attack
def test_27_a_copy_that_begins_with_a_number_of_the_past_shows_as_a_reset() -> None:
    """Also where no session is left that it could take the place of."""
    _, alice, bob = couple()
    copied = dict(alice.state.rows)
    bob.receive(alice.send(BOB, b"one history"))
    alice.state.rows = copied
    bob.client.linker.reset(ALICE)
    assert bob.receive(alice.send(BOB, b"another")).warnings == (
        "reordered",
        "fork",
        "session_reset",
    )


@pytest.mark.attack
def test_19_two_signs_of_a_fork_are_one_warning() -> None:
    """Both states went back: Bob's number is of the past, and he echoes what Alice never said."""
    _, alice, bob = talking()
    past = {key: row for key, row in bob.state.rows.items() if key[0] in (SAID, RECENT)}
    alice.receive(bob.send(ALICE, b"one history"))
    rows = dict(alice.state.rows)
    bob.state.rows |= past
    bob.receive(alice.send(BOB, b"a clone's"))
    alice.state.rows = rows
    assert alice.receive(bob.send(ALICE, b"another")).warnings == ("reordered", "fork")


# -- what is asked for --------------------------------------------------------------------------


def test_the_policy_asked_for_is_the_other_users_whoever_wrote() -> None:
    relay, alice, bob = couple()
    laptop = laptop_of(alice)
    stored = alice.send(BOB)
    place = policy.conversation_id(ALICE, BOB)
    assert asked(bob, relay.mode.emit(stored, bob.id)) == NeedPolicy(place, ALICE, 1)
    assert asked(laptop, relay.mode.emit(stored, laptop.id)) == NeedPolicy(place, BOB, 1)


def test_so_is_the_policy_that_a_session_began_under() -> None:
    """The first message was lost; the next repeats its block, under a newer policy."""
    relay, alice, bob = couple()
    place = policy.conversation_id(ALICE, BOB)
    calls: wire.Modes = {"call": "at_rest"}
    weaker = policy.default_policy(keys(relay), MODES | calls, relay.clock.now)
    relay.policies[place, 1] = weaker
    alice.send(BOB, b"lost")
    second = stronger(relay, alice, bob)
    alice.pins.record(second, keys(relay))
    delivery = relay.mode.emit(alice.send(BOB, b"arrives", epoch=2), bob.id)
    bob.serve(Need(NeedDevices(ALICE)))
    bob.pins.record(second, keys(relay))
    assert asked(bob, delivery) == NeedPolicy(place, ALICE, 1)
    bob.serve(Need(NeedPolicy(place, ALICE, 1)))
    assert bob.client.open(delivery).content == b"arrives"


def keys(relay: Relay) -> dict[bytes, bytes]:
    return {each: relay.published[each].key for each in (ALICE, BOB)}


def stronger(relay: Relay, *both: Device) -> wire.Policy:
    """Epoch 2 of the conversation, all of it end-to-end encrypted, and signed by both."""
    first = relay.policy(ALICE, BOB, 1)
    proposed = policy.successor(first, MODES, relay.clock.now, keys(relay))
    marks = {each.account: each.client.sign(policy.record(proposed)) for each in both}
    signatures = (marks[proposed.first], marks[proposed.second])
    return msgspec.structs.replace(proposed, state="in_force", signatures=signatures)


def test_a_new_device_of_ones_own_is_looked_up_and_read() -> None:
    relay, alice, bob = talking()
    rows = dict(alice.state.rows)
    laptop = laptop_of(alice)
    alice.state.rows = rows  # as a phone that was not told of the laptop
    bob.client.supply(relay.published[ALICE])
    laptop.client.supply(relay.published[BOB])
    delivery = relay.mode.emit(laptop.send(BOB, b"from the laptop"), alice.id)
    assert asked(alice, delivery) == NeedDevices(ALICE)
    alice.client.supply(relay.published[ALICE])
    assert alice.client.open(delivery).content == b"from the laptop"


def test_a_device_that_is_not_linked_asks_for_nothing() -> None:
    """Whatever list the relay gave it of its own account, it could not hold it to a key."""
    relay, alice, _ = talking()
    laptop = Device(relay, ALICE, b"alice-laptop-002")
    laptop.pins.record(relay.policy(ALICE, BOB, 1), {})
    delivery = msgspec.structs.replace(relay.mode.emit(alice.send(BOB), b""), body=b"x" * 400)
    with pytest.raises(CannotOpen):
        laptop.client.open(delivery)


def ghosts(relay: Relay, alice: Device, to: Device, count: int) -> list[wire.Deliver]:
    """Messages of a device that is on no list of Alice's."""
    honest = relay.mode.emit(alice.send(BOB), to.id)
    names = [bytes((number,)) * 16 for number in range(count)]
    return [msgspec.structs.replace(honest, device=bytes(16), id=name) for name in names]


def test_a_message_is_given_up_only_when_a_list_came_that_does_not_name_its_device() -> None:
    relay, alice, bob = talking()
    (ghost,) = ghosts(relay, alice, bob, 1)
    for _ in range(2):  # given up, and looked at anew when it is given again
        assert asked(bob, ghost) == NeedDevices(ALICE)
        bob.client.supply(relay.published[BOB])  # not Alice's
        assert asked(bob, ghost) == NeedDevices(ALICE)
        for account in (ALICE, BOB):
            bob.client.supply(relay.published[account])
        with pytest.raises(CannotOpen):
            bob.client.open(ghost)


def test_while_a_changed_key_waits_its_messages_wait_and_nothing_is_asked() -> None:
    relay, alice, _ = talking()
    again = Device(relay, BOB, b"bobby-phone-0002")
    again.publish()
    with pytest.raises(KeyChanged):
        alice.client.supply(relay.published[BOB])
    delivery = relay.mode.emit(again.send(ALICE, b"it is me"), alice.id)
    for _ in range(2):
        with pytest.raises(KeyChanged):
            alice.client.open(delivery)


def test_no_more_is_remembered_of_what_was_asked_than_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receiving, "ASKED_LIMIT", 2)
    relay, alice, bob = talking()
    given = ghosts(relay, alice, bob, 3)
    for each in given:
        asked(bob, each)
    bob.client.supply(relay.published[ALICE])
    for forgotten in given[:2]:  # asked for once more, which costs one request
        assert asked(bob, forgotten) == NeedDevices(ALICE)
    with pytest.raises(CannotOpen):
        bob.client.open(given[2])
