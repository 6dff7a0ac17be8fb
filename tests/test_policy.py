"""Policies: one encoding, who must sign, what a relay makes of proposals, when epochs count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes import policy, wire
from crypto_modes.errors import (
    BadArgument,
    FrameRefused,
    KeyRefused,
    LouverError,
    ModeMismatch,
)
from crypto_modes.primitives import ed25519_public, ed25519_sign
from tests import modes_oracle as oracle
from tests.vector_files import raw, vectors

ALICE, BOB = b"alice-account-01", b"bobby-account-02"
SEEDS = {ALICE: b"\x01" * 32, BOB: b"\x02" * 32}
KEYS = {account: ed25519_public(seed) for account, seed in SEEDS.items()}
STRENGTHS = {"tls": 10, "at_rest": 20, "e2ee": 30}
NOW = 1_790_000_000_000

modes_by_kind = st.fixed_dictionaries(
    {kind: st.sampled_from(list(STRENGTHS)) for kind in wire.KINDS}
)


def every(mode: str, **kinds: str) -> Any:
    return dict.fromkeys(wire.KINDS, mode) | kinds


def first_epoch(mode: str = "tls") -> wire.Policy:
    return policy.default_policy(KEYS, every(mode), NOW)


def proposal(
    current: wire.Policy, account: bytes, modes: Any, created: int = NOW
) -> wire.SetPolicy:
    """What the client of ``account`` sends to propose ``modes``."""
    wanted = policy.successor(current, modes, created, KEYS)
    return wire.SetPolicy(
        ref=1,
        peer=current.second if account == current.first else current.first,
        epoch=wanted.epoch,
        modes=modes,
        created=created,
        signature=ed25519_sign(SEEDS[account], policy.record(wanted)),
    )


def propose(
    current: wire.Policy,
    account: bytes,
    frame: wire.SetPolicy,
    pending: wire.Policy | None = None,
    now: int = NOW,
    keys: dict[bytes, bytes] = KEYS,
) -> wire.Policy:
    return policy.propose(current, pending, frame, account, keys=keys, strengths=STRENGTHS, now=now)


def test_a_conversation_has_one_id_from_either_side() -> None:
    expected = oracle.conversation(ALICE, BOB)
    assert policy.conversation_id(ALICE, BOB) == policy.conversation_id(BOB, ALICE) == expected


@pytest.mark.parametrize(("a", "b"), [(ALICE, ALICE), (ALICE, BOB[:15]), (b"", BOB)])
def test_a_conversation_needs_two_accounts(a: bytes, b: bytes) -> None:
    with pytest.raises(BadArgument):
        policy.conversation_id(a, b)


@pytest.mark.parametrize("vector", vectors("policy"))
def test_vectors_record_and_digest(vector: dict[str, Any]) -> None:
    vector = raw(vector, "record", "digest")
    newer = policy_of(vector["newer"])
    assert policy.record(newer) == vector["record"]
    assert policy.digest(newer) == vector["digest"]


def policy_of(fields: dict[str, Any]) -> wire.Policy:
    """The policy of a vector."""
    named = raw(fields, "conversation", "first", "second", "keys", "previous", "signatures")
    pairs = {name: tuple(named[name]) for name in ("keys", "signatures")}
    return wire.Policy(ref=0, **(named | pairs))


@given(modes_by_kind, st.permutations(wire.KINDS))
def test_the_order_of_a_map_changes_nothing(modes: Any, order: Sequence[str]) -> None:
    one = policy.default_policy(KEYS, modes, NOW)
    other = policy.default_policy(KEYS, {kind: modes[kind] for kind in order}, NOW)
    assert policy.record(one) == policy.record(other)


@given(modes_by_kind, modes_by_kind)
def test_different_modes_have_different_records(one: Any, other: Any) -> None:
    records = [policy.record(policy.default_policy(KEYS, modes, NOW)) for modes in (one, other)]
    assert (records[0] == records[1]) is (one == other)


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": 2},
        {"modes": every("tls", call="e2ee")},
        {"keys": (b"", KEYS[BOB])},
        {"created": NOW + 1},
        {"previous": b"\x01" * 32},
        {"first": b"x" * 16},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_field_is_in_the_record(changes: dict[str, Any]) -> None:
    first = first_epoch()
    assert policy.digest(msgspec.structs.replace(first, **changes)) != policy.digest(first)


@pytest.mark.parametrize(
    "changes",
    [
        {"modes": {"text": "tls"}},
        {"previous": b""},
        {"keys": (b"short", b"")},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_an_incomplete_policy_has_no_record(changes: dict[str, Any]) -> None:
    with pytest.raises(FrameRefused):
        policy.record(msgspec.structs.replace(first_epoch(), **changes))


@given(modes_by_kind, modes_by_kind)
def test_a_change_is_a_lowering_if_any_kind_is(older: Any, newer: Any) -> None:
    steps = [STRENGTHS[newer[kind]] - STRENGTHS[older[kind]] for kind in wire.KINDS]
    wanted = "lowered" if any(step < 0 for step in steps) else "raised" if any(steps) else "same"
    assert policy.change(older, newer, STRENGTHS) == wanted


@pytest.mark.parametrize("account", [ALICE, BOB])
def test_one_user_raises_at_once(account: bytes) -> None:
    first = first_epoch()
    raised = propose(first, account, proposal(first, account, {"text": "e2ee"}))
    assert (raised.state, raised.epoch, raised.deadline) == ("in_force", 2, NOW + 10_000)
    assert raised.modes == every("tls", text="e2ee")
    assert raised.previous == policy.digest(first)


@pytest.mark.parametrize("account", [ALICE, BOB])
def test_lowering_waits_for_the_other_user(account: bytes) -> None:
    first = first_epoch("e2ee")
    other = BOB if account == ALICE else ALICE
    prepared = propose(first, account, proposal(first, account, every("tls")))
    assert (prepared.state, prepared.deadline) == ("prepared", NOW + policy.SIGNING_TIME)
    agreed = propose(first, other, proposal(first, other, every("tls")), prepared, NOW + 60_000)
    assert (agreed.state, agreed.deadline) == ("in_force", NOW + 70_000)
    assert all(agreed.signatures)


def test_one_user_cannot_sign_for_both() -> None:
    first = first_epoch("e2ee")
    prepared = propose(first, ALICE, proposal(first, ALICE, every("tls")))
    again = propose(first, ALICE, proposal(first, ALICE, every("tls")), prepared)
    assert again.state == "prepared"
    copied = proposal(first, ALICE, every("tls"))
    with pytest.raises(KeyRefused):
        propose(first, BOB, copied, prepared)


def test_a_different_answer_is_a_new_proposal() -> None:
    first = first_epoch("e2ee")
    prepared = propose(first, ALICE, proposal(first, ALICE, every("tls")))
    counter = propose(first, BOB, proposal(first, BOB, every("at_rest")), prepared)
    assert counter.state == "prepared"
    assert counter.signatures[0] == b""


@pytest.mark.parametrize("first", [ALICE, BOB])
def test_of_two_equal_proposals_at_once_the_second_is_to_sign_the_first(first: bytes) -> None:
    second = BOB if first == ALICE else ALICE
    current = first_epoch("e2ee")
    prepared = propose(current, first, proposal(current, first, every("tls")))
    crossing = proposal(current, second, every("tls"), created=NOW + 1)
    with pytest.raises(ModeMismatch, match="sign that"):
        propose(current, second, crossing, prepared)
    late = NOW + policy.SIGNING_TIME  # what ran out stands in nobody's way
    assert propose(current, second, crossing, prepared, late).state == "prepared"
    # One's own may be renewed.
    renewed = proposal(current, first, every("tls"), created=NOW + 1)
    assert propose(current, first, renewed, prepared).created == NOW + 1


def test_a_rolled_back_proposal_counts_for_nothing() -> None:
    first = first_epoch("e2ee")
    prepared = propose(first, ALICE, proposal(first, ALICE, every("tls")))
    late = NOW + policy.SIGNING_TIME
    answer = proposal(first, BOB, every("tls"))
    assert propose(first, BOB, answer, prepared, late - 1).state == "in_force"
    assert propose(first, BOB, answer, prepared, late).state == "prepared"


def test_consent_to_one_lowering_is_not_consent_to_the_next() -> None:
    first = first_epoch("e2ee")
    prepared = propose(first, ALICE, proposal(first, ALICE, every("tls")))
    lowered = propose(first, BOB, proposal(first, BOB, every("tls")), prepared)
    raised = propose(lowered, BOB, proposal(lowered, BOB, every("e2ee")))
    signed = proposal(first, ALICE, every("tls"))
    replayed = msgspec.structs.replace(signed, epoch=raised.epoch + 1)
    with pytest.raises(KeyRefused):
        propose(raised, ALICE, replayed)


REFUSED = {
    "an old epoch": ({"epoch": 1}, ModeMismatch),
    "a far epoch": ({"epoch": 3}, ModeMismatch),
    "no modes": ({"modes": None}, ModeMismatch),
    "an unknown mode": ({"modes": {"text": "rot13"}}, ModeMismatch),
    "no change": ({"modes": {"text": "tls"}}, FrameRefused),
    "no signature": ({"signature": b""}, KeyRefused),
    "half a signature": ({"signature": b"\x01" * 32}, KeyRefused),
    "a wrong signature": ({"signature": b"\x01" * 64}, KeyRefused),
    "signed for another kind": ({"modes": {"call": "e2ee"}}, KeyRefused),
    "signed at another time": ({"created": NOW - 1}, KeyRefused),
    "from yesterday": ({"created": NOW - policy.SIGNING_TIME - 1}, FrameRefused),
    "from the future": ({"created": NOW + policy.CLOCK_SKEW + 1}, FrameRefused),
}


@pytest.mark.parametrize(("changes", "error"), REFUSED.values(), ids=REFUSED)
def test_proposals_that_are_refused(changes: dict[str, Any], error: type[LouverError]) -> None:
    first = first_epoch()
    signed = proposal(first, ALICE, {"text": "e2ee"})
    with pytest.raises(error):
        propose(first, ALICE, msgspec.structs.replace(signed, **changes))


def test_without_an_account_key_nobody_proposes() -> None:
    first = first_epoch()
    with pytest.raises(KeyRefused, match="publish an account key"):
        propose(first, ALICE, proposal(first, ALICE, {"text": "e2ee"}), keys=KEYS | {ALICE: b""})


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": 3},
        {"previous": b"\x01" * 32},
        {"conversation": b"another-convers1"},
        {"second": b"carol-account-03"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_an_epoch_follows_only_the_one_before_it(changes: dict[str, Any]) -> None:
    first = first_epoch()
    newer = policy.successor(first, every("e2ee"), NOW, KEYS)
    assert policy.check_link(first, newer, STRENGTHS) == 1
    with pytest.raises(ModeMismatch):
        policy.check_link(first, msgspec.structs.replace(newer, **changes), STRENGTHS)


def test_phases_follow_the_table() -> None:
    first = first_epoch("e2ee")
    prepared = propose(first, ALICE, proposal(first, ALICE, every("tls")))
    ready = propose(first, BOB, proposal(first, BOB, every("tls")), prepared)
    assert policy.phase(first, NOW) == "in_force"
    assert policy.phase(prepared, prepared.deadline - 1) == "prepared"
    assert policy.phase(prepared, prepared.deadline) == "rolled_back"
    assert policy.phase(ready, ready.deadline - 1) == "ready"
    assert policy.phase(ready, ready.deadline) == "in_force"


def test_what_ran_out_is_shown_as_rolled_back() -> None:
    current = first_epoch("e2ee")
    waiting = propose(current, ALICE, proposal(current, ALICE, every("tls")))
    assert policy.shown(waiting, waiting.deadline - 1) == waiting
    gone = policy.shown(waiting, waiting.deadline)
    assert gone == msgspec.structs.replace(waiting, state="rolled_back")
    # and stays so, wherever it is stored like that
    assert policy.phase(gone, gone.deadline + 1) == "rolled_back"


def test_what_is_built_to_be_signed_is_not_in_force() -> None:
    current = first_epoch()
    built = policy.successor(current, every("e2ee"), NOW, KEYS)
    assert (current.ref, current.state) == (0, "in_force")
    assert (built.ref, built.state) == (0, "prepared")


def test_the_smallest_step_up_is_a_raising() -> None:
    strengths = {"weak": 10, "strong": 11}
    older, newer = every("weak"), every("weak", text="strong")
    assert policy.change(older, newer, strengths) == "raised"
    assert policy.change(newer, older, strengths) == "lowered"


@pytest.mark.parametrize(
    ("created", "taken"),
    [
        (NOW - policy.SIGNING_TIME - 1, False),
        (NOW - policy.SIGNING_TIME, True),
        (NOW + policy.CLOCK_SKEW, True),
        (NOW + policy.CLOCK_SKEW + 1, False),
    ],
)
def test_a_proposal_is_created_about_now(created: int, taken: bool) -> None:
    current = first_epoch()
    frame = proposal(current, ALICE, every("e2ee"), created)
    if taken:
        assert propose(current, ALICE, frame).created == created
    else:
        with pytest.raises(FrameRefused, match="created now"):
            propose(current, ALICE, frame)


def test_every_phase_is_reached_and_left_as_the_table_says() -> None:
    phases = set(policy.ACCEPTED)
    assert {start for start, _ in policy.TRANSITIONS} | set(policy.TRANSITIONS.values()) == phases
    final = phases - {start for start, _ in policy.TRANSITIONS}
    assert final == {"in_force", "rolled_back"}


def accepted(epochs: list[wire.Policy], mode: str, epoch: int, now: int) -> bool:
    try:
        policy.check_send(epochs, "text", mode, epoch, now)
    except ModeMismatch:
        return False
    return True


def test_the_old_epoch_is_accepted_for_ten_seconds_after_a_change() -> None:
    first = first_epoch()
    raised = propose(first, ALICE, proposal(first, ALICE, {"text": "e2ee"}))
    epochs = [first, raised]
    assert accepted(epochs, "tls", 1, NOW + 9_999)
    assert accepted(epochs, "e2ee", 2, NOW)
    assert not accepted(epochs, "tls", 1, NOW + 10_000)
    assert accepted(epochs, "e2ee", 2, NOW + 10_000)


def test_a_prepared_epoch_is_not_accepted_yet() -> None:
    first = first_epoch("e2ee")
    prepared = propose(first, ALICE, proposal(first, ALICE, every("tls")))
    for now in (NOW, prepared.deadline):
        assert not accepted([first, prepared], "tls", 2, now)
        assert accepted([first, prepared], "e2ee", 1, now)


def test_mode_and_epoch_must_belong_together() -> None:
    first = first_epoch()
    raised = propose(first, ALICE, proposal(first, ALICE, {"text": "e2ee"}))
    assert not accepted([first, raised], "tls", 2, NOW)
    assert not accepted([first, raised], "e2ee", 1, NOW)
    with pytest.raises(ModeMismatch, match="mode 'e2ee', epoch 2"):
        policy.check_send([first, raised], "text", "tls", 2, NOW)


def test_a_conversation_without_a_policy_takes_nothing() -> None:
    with pytest.raises(ModeMismatch):
        policy.check_send([], "text", "tls", 1, NOW)
