"""Pins: what a client believes of policies, and that no relay can talk it down."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes import errors, policy, wire
from crypto_modes.contract import Need, NeedDevices, NeedPolicy
from crypto_modes.errors import BelowFloor, FrameRefused, KeyRefused, ModeMismatch
from crypto_modes.pins import Pins
from crypto_modes.primitives import ed25519_public, ed25519_sign
from tests.memory_state import MemoryState
from tests.test_policy import (
    ALICE,
    BOB,
    KEYS,
    NOW,
    SEEDS,
    STRENGTHS,
    every,
    first_epoch,
    policy_of,
)
from tests.vector_files import vectors

CONVERSATION = policy.conversation_id(ALICE, BOB)
MALLORY_SEED = b"\x03" * 32


def pins() -> Pins:
    return Pins(MemoryState(), ALICE, STRENGTHS)


def following(older: wire.Policy, modes: Any, *signers: bytes) -> wire.Policy:
    """The next epoch, said to be in force, signed by these."""
    newer = policy.successor(older, modes, NOW, KEYS)
    record = policy.record(newer)
    marks = [
        ed25519_sign(SEEDS[account], record) if account in signers else b""
        for account in (newer.first, newer.second)
    ]
    return msgspec.structs.replace(newer, signatures=(marks[0], marks[1]), state="in_force")


def delivered(mode: str, epoch: int, kind: wire.Kind = "text") -> wire.Deliver:
    return wire.Deliver(
        conversation=CONVERSATION,
        seq=1,
        id=bytes(16),
        sender=BOB,
        device=bytes(16),
        recipient=ALICE,
        kind=kind,
        mode=mode,
        epoch=epoch,
        time=NOW,
    )


def needed(call: Any, *arguments: Any) -> object:
    """What ``call`` asks for."""
    with pytest.raises(Need) as caught:
        call(*arguments)
    return caught.value.what


@pytest.mark.parametrize("vector", vectors("policy"))
def test_vectors(vector: dict[str, Any]) -> None:
    older, newer = policy_of(vector["older"]), policy_of(vector["newer"])
    keys = {older.first: older.keys[0], older.second: older.keys[1]}
    own = Pins(MemoryState(), older.first, STRENGTHS)
    own.record(older, keys)
    if vector["expect"] == "ok":
        assert own.record(newer, keys)
        assert own.current(older.conversation) == newer
        return
    with pytest.raises(getattr(errors, vector["expect"])):
        own.record(newer, keys)
    assert own.current(older.conversation) == older


def test_before_the_first_policy_everything_is_asked_for() -> None:
    own = pins()
    assert own.current(CONVERSATION) is None
    assert own.floor(CONVERSATION, "text") is None
    assert needed(own.digest, CONVERSATION, 1, BOB) == NeedPolicy(CONVERSATION, BOB, 1)
    assert needed(own.to_send, CONVERSATION, "text", BOB) == NeedPolicy(CONVERSATION, BOB, 0)
    assert needed(own.note_received, delivered("tls", 3)) == NeedPolicy(CONVERSATION, BOB, 3)


def test_the_first_policy_is_taken_on_trust() -> None:
    own, first = pins(), first_epoch("e2ee")
    assert own.record(first, {})
    assert own.digest(CONVERSATION, 1, BOB) == policy.digest(first)
    assert own.to_send(CONVERSATION, "text", BOB) == ("e2ee", 1)


def test_a_policy_of_others_is_not_ours() -> None:
    stranger = Pins(MemoryState(), b"x" * 16, STRENGTHS)
    with pytest.raises(ModeMismatch):
        stranger.record(first_epoch(), KEYS)
    with pytest.raises(ModeMismatch):
        pins().record(msgspec.structs.replace(first_epoch(), conversation=bytes(16)), KEYS)


@pytest.mark.parametrize("state", ["prepared", "rolled_back"])
def test_only_what_is_in_force_is_pinned(state: Any) -> None:
    own = pins()
    assert not own.record(msgspec.structs.replace(first_epoch(), state=state), KEYS)
    assert own.current(CONVERSATION) is None


def test_the_same_policy_twice_is_one() -> None:
    own, first = pins(), first_epoch()
    raised = following(first, every("e2ee"), BOB)
    assert [own.record(each, KEYS) for each in (first, raised, raised, first)] == [
        True,
        True,
        True,
        False,
    ]


@pytest.mark.attack(19)
def test_two_policies_of_one_epoch_are_a_fork() -> None:
    own = pins()
    own.record(first_epoch("e2ee"), KEYS)
    with pytest.raises(ModeMismatch, match="two different policies of epoch 1"):
        own.record(first_epoch("tls"), KEYS)


@pytest.mark.attack(15)
@pytest.mark.parametrize("signers", [(), (ALICE,), (BOB,)], ids=["nobody", "Alice", "Bob"])
@pytest.mark.parametrize(
    "modes", [every("tls"), every("e2ee", voice="at_rest")], ids=["all", "one"]
)
def test_a_relay_cannot_lower_the_floor(signers: tuple[bytes, ...], modes: Any) -> None:
    own, first = pins(), first_epoch("e2ee")
    own.record(first, KEYS)
    with pytest.raises(BelowFloor):
        own.record(following(first, modes, *signers), KEYS)
    assert own.to_send(CONVERSATION, "voice", BOB) == ("e2ee", 1)


def test_both_users_can_lower() -> None:
    own, first = pins(), first_epoch("e2ee")
    own.record(first, KEYS)
    assert own.record(following(first, every("tls"), ALICE, BOB), KEYS)
    assert own.floor(CONVERSATION, "text") == "tls"


@pytest.mark.attack(15)
def test_keys_that_the_relay_made_up_cannot_consent() -> None:
    own, first = pins(), first_epoch("e2ee")
    own.record(first, KEYS)
    forged = msgspec.structs.replace(
        following(first, every("tls"), ALICE), keys=(KEYS[ALICE], ed25519_public(MALLORY_SEED))
    )
    record = policy.record(forged)
    forged = msgspec.structs.replace(
        forged,
        signatures=(ed25519_sign(SEEDS[ALICE], record), ed25519_sign(MALLORY_SEED, record)),
    )
    with pytest.raises(KeyRefused):
        own.record(forged, KEYS)
    # Unknown is not the same as fine: the client looks the account up first.
    assert needed(own.record, forged, {ALICE: KEYS[ALICE]}) == NeedDevices(BOB)
    assert own.floor(CONVERSATION, "text") == "e2ee"


def test_a_device_without_its_own_key_follows_what_was_raised_and_nothing_else() -> None:
    own, first = pins(), first_epoch("at_rest")
    own.record(first, {})
    raised = following(first, every("e2ee"), ALICE)
    assert own.record(raised, {})
    with pytest.raises(BelowFloor, match="no keys of its account"):
        own.record(following(raised, every("tls"), ALICE, BOB), {BOB: KEYS[BOB]})
    assert own.floor(CONVERSATION, "text") == "e2ee"


def test_epochs_are_pinned_one_by_one() -> None:
    own, first = pins(), first_epoch()
    second = following(first, every("at_rest"), ALICE)
    third = following(second, every("e2ee"), BOB)
    own.record(first, KEYS)
    assert needed(own.record, third, KEYS) == NeedPolicy(CONVERSATION, BOB, 2)
    assert own.record(second, KEYS)
    assert own.record(third, KEYS)


def test_a_new_device_learns_old_epochs_backwards() -> None:
    own, first = pins(), first_epoch()
    second = following(first, every("at_rest"), ALICE)
    third = following(second, every("e2ee"), BOB)
    own.record(third, KEYS)
    assert needed(own.digest, CONVERSATION, 1, BOB) == NeedPolicy(CONVERSATION, BOB, 1)
    assert needed(own.record, first, KEYS) == NeedPolicy(CONVERSATION, BOB, 2)
    assert not own.record(second, KEYS)
    assert not own.record(first, KEYS)
    assert own.digest(CONVERSATION, 1, BOB) == policy.digest(first)
    assert own.to_send(CONVERSATION, "text", BOB) == ("e2ee", 3)


def test_an_old_epoch_that_does_not_lead_here_is_refused() -> None:
    own = pins()
    second = following(first_epoch(), every("e2ee"), ALICE)
    own.record(second, KEYS)
    with pytest.raises(ModeMismatch):
        own.record(first_epoch("at_rest"), KEYS)


def test_all_pinned_epochs_are_listed_oldest_first() -> None:
    own, first = pins(), first_epoch()
    second = following(first, every("at_rest"), ALICE)
    third = following(second, every("e2ee"), BOB)
    assert own.epochs(CONVERSATION) == []
    for newer in (second, third):
        own.record(newer, KEYS)
    assert own.epochs(CONVERSATION) == [second, third]
    own.record(first, KEYS)
    assert own.epochs(CONVERSATION) == [first, second, third]


def test_what_another_device_pinned_is_adopted_in_the_place_of_what_was_met() -> None:
    own, first = pins(), first_epoch()
    second = following(first, every("at_rest"), ALICE)
    third = following(second, every("e2ee"), BOB)
    assert own.adopt(second)  # met nothing: nothing disagrees
    assert own.epochs(CONVERSATION) == [second]
    own.record(third, KEYS)
    assert own.adopt(second)  # what links on from it stays
    assert own.epochs(CONVERSATION) == [second, third]
    # A relay that showed this device another history is found out, and that history is gone.
    other = following(first_epoch("at_rest"), every("e2ee"), ALICE)
    assert not own.adopt(other)
    assert own.epochs(CONVERSATION) == [other]
    assert needed(own.digest, CONVERSATION, 3, BOB) == NeedPolicy(CONVERSATION, BOB, 3)
    assert own.adopt(first)  # an epoch that was never met contradicts nothing
    assert own.epochs(CONVERSATION) == [first]
    with pytest.raises(ModeMismatch):
        own.adopt(policy.default_policy({BOB: b"", b"somebody-else-03": b""}, every("tls"), NOW))


@pytest.mark.parametrize("again", [2, 3, 4])
def test_nothing_of_a_history_is_left_that_another_took_the_place_of(again: int) -> None:
    own, history = pins(), [first_epoch()]
    for modes, signer in ((every("at_rest"), ALICE), (every("e2ee"), BOB)):
        history.append(following(history[-1], modes, signer))
    history.append(following(history[-1], every("tls"), ALICE, BOB))
    for newer in history[1:]:
        own.record(newer, KEYS)
    assert own.epochs(CONVERSATION) == history[1:]
    elsewhere = msgspec.structs.replace(history[3], epoch=9)
    own.adopt(elsewhere)
    own.adopt(history[again - 1])
    assert own.epochs(CONVERSATION) == [history[again - 1]]


@pytest.mark.parametrize("account", [ALICE, BOB])
def test_who_proposed_is_who_signed(account: bytes) -> None:
    own, first = pins(), first_epoch("e2ee")
    offered = following(first, every("tls"), account)
    assert needed(own.proposer, offered, KEYS) == NeedPolicy(CONVERSATION, BOB, 0)
    own.record(first, KEYS)
    assert own.proposer(offered, KEYS) == account
    assert own.epochs(CONVERSATION) == [first]
    later = following(offered, every("e2ee"), account)
    assert needed(own.proposer, later, KEYS) == NeedPolicy(CONVERSATION, BOB, 2)
    with pytest.raises(ModeMismatch):
        own.proposer(first, KEYS)


def test_a_proposal_is_of_one_user_whose_key_is_known() -> None:
    own, first = pins(), first_epoch("e2ee")
    own.record(first, KEYS)
    for signers in ((), (ALICE, BOB)):
        with pytest.raises(KeyRefused, match="one signature"):
            own.proposer(following(first, every("tls"), *signers), KEYS)
    with pytest.raises(KeyRefused, match="known here"):
        own.proposer(following(first, every("tls"), ALICE), {BOB: KEYS[BOB]})
    theirs = following(first, every("tls"), BOB)
    assert needed(own.proposer, theirs, {ALICE: KEYS[ALICE]}) == NeedDevices(BOB)
    with pytest.raises(KeyRefused, match="another account key"):
        own.proposer(theirs, KEYS | {BOB: KEYS[ALICE]})
    others = policy.default_policy({BOB: b"", b"somebody-else-03": b""}, every("tls"), NOW)
    with pytest.raises(ModeMismatch, match="other people"):
        own.proposer(others, KEYS)


def test_the_other_user_asks_for_whom_it_talks_to() -> None:
    bob, first = Pins(MemoryState(), BOB, STRENGTHS), first_epoch()
    second = following(first, every("at_rest"), ALICE)
    bob.record(first, KEYS)
    third = following(second, every("e2ee"), BOB)
    assert needed(bob.record, third, KEYS) == NeedPolicy(CONVERSATION, ALICE, 2)
    own = msgspec.structs.replace(delivered("tls", 2), sender=ALICE, recipient=BOB)
    assert needed(bob.note_received, own) == NeedPolicy(CONVERSATION, ALICE, 2)
    # also of a message that another of one's own devices sent
    sent = msgspec.structs.replace(delivered("tls", 2), sender=BOB, recipient=ALICE)
    assert needed(bob.note_received, sent) == NeedPolicy(CONVERSATION, ALICE, 2)


@pytest.mark.parametrize(
    ("mode", "epoch", "warnings"),
    [
        ("e2ee", 2, ()),
        ("at_rest", 1, ("below_floor",)),
        ("tls", 2, ("below_floor", "wrong_mode")),
        ("rot13", 2, ("below_floor", "wrong_mode")),
        ("e2ee", 1, ("wrong_mode",)),
    ],
)
def test_what_arrives_below_the_floor_is_marked(
    mode: str, epoch: int, warnings: tuple[str, ...]
) -> None:
    own, first = pins(), first_epoch("at_rest")
    own.record(first, KEYS)
    own.record(following(first, every("e2ee"), BOB), KEYS)
    assert own.note_received(delivered(mode, epoch)) == warnings


def test_a_message_of_a_newer_epoch_needs_its_policy_first() -> None:
    own = pins()
    own.record(first_epoch(), KEYS)
    assert own.note_received(delivered("tls", 1)) == ()
    assert needed(own.note_received, delivered("tls", 2)) == NeedPolicy(CONVERSATION, BOB, 2)


def test_a_client_refuses_a_first_policy_in_a_mode_it_does_not_know() -> None:
    own = pins()
    with pytest.raises(ModeMismatch, match="rot13"):
        own.record(first_epoch("rot13"), KEYS)
    assert own.current(CONVERSATION) is None


modes_by_kind = st.fixed_dictionaries(
    {kind: st.sampled_from(list(STRENGTHS)) for kind in wire.KINDS}
)
signers = st.sets(st.sampled_from([ALICE, BOB]))


@given(st.lists(st.tuples(modes_by_kind, signers), max_size=6))
def test_whatever_a_relay_says_no_kind_gets_weaker_without_both(
    said: list[tuple[dict[str, str], set[bytes]]],
) -> None:
    own, current = pins(), first_epoch("at_rest")
    own.record(current, KEYS)
    for modes, signed in said:
        offered = following(current, modes, *signed)
        try:
            own.record(offered, KEYS)
        except (BelowFloor, KeyRefused, FrameRefused):
            offered = current
        if signed != {ALICE, BOB}:
            for kind in wire.KINDS:
                floor = own.floor(CONVERSATION, kind)
                assert floor is not None
                assert STRENGTHS[floor] >= STRENGTHS[current.modes[kind]]
        current = offered
        assert own.current(CONVERSATION) == current
