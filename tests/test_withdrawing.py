"""Proposals that are taken back or declined: the rules. What people see: ``test_policy_flow``."""

from __future__ import annotations

import msgspec
import pytest

from crypto_modes import policy, wire
from crypto_modes.errors import FrameRefused, LimitExceeded, ModeMismatch
from crypto_modes.primitives import ed25519_sign
from tests.test_policy import (
    ALICE,
    BOB,
    KEYS,
    NOW,
    SEEDS,
    STRENGTHS,
    every,
    first_epoch,
    proposal,
    propose,
)


@pytest.mark.parametrize("account", [ALICE, BOB])
def test_either_user_withdraws_what_waits(account: bytes) -> None:
    first = first_epoch("e2ee")
    prepared = propose(first, ALICE, proposal(first, ALICE, every("tls")))
    kept = propose(first, account, proposal(first, account, every("e2ee")), prepared)
    assert (kept.state, kept.epoch, kept.modes) == ("in_force", 2, first.modes)
    # Signed by both after all, it follows nothing that is in force.
    both = (prepared.signatures[0], ed25519_sign(SEEDS[BOB], policy.record(prepared)))
    late = msgspec.structs.replace(prepared, signatures=both, state="in_force")
    assert policy.check_link(first, late, STRENGTHS) == 0
    with pytest.raises(ModeMismatch):
        policy.check_link(kept, late, STRENGTHS)


def test_where_nothing_waits_nothing_is_withdrawn() -> None:
    first = first_epoch("e2ee")
    same = proposal(first, ALICE, every("e2ee"))
    with pytest.raises(FrameRefused, match="changes nothing"):
        propose(first, ALICE, same)
    prepared = propose(first, ALICE, proposal(first, ALICE, every("tls")))
    over = NOW + policy.SIGNING_TIME
    with pytest.raises(FrameRefused, match="changes nothing"):
        propose(first, ALICE, same, prepared, over)
    assert propose(first, ALICE, same, prepared, over - 1).epoch == 2


def test_one_user_cannot_make_epochs_without_end() -> None:
    """Every one of them is kept by the relay, and fetched and checked by all devices of both."""
    first = first_epoch("e2ee")
    prepared = propose(first, ALICE, proposal(first, ALICE, every("tls")))
    kept = propose(first, ALICE, proposal(first, ALICE, every("e2ee")), prepared)

    def again(now: int, before: wire.Policy) -> wire.Policy:
        waits = propose(kept, ALICE, proposal(kept, ALICE, every("tls"), now), now=now)
        same = proposal(kept, ALICE, every("e2ee"), now)
        given = {"keys": KEYS, "strengths": STRENGTHS, "now": now}
        return policy.propose(kept, waits, same, ALICE, before=before, **given)  # type: ignore[arg-type]  # by name

    with pytest.raises(LimitExceeded, match="runs out by itself"):
        again(NOW + policy.WITHDRAWAL_REST - 1, first)
    assert again(NOW + policy.WITHDRAWAL_REST, first).epoch == 3
    # After a change of mode the next one may be withdrawn at once.
    assert again(NOW + 1, first_epoch("tls")).epoch == 3


def test_who_dates_a_withdrawal_back_rests_as_long() -> None:
    first = first_epoch("e2ee")
    prepared = propose(first, ALICE, proposal(first, ALICE, every("tls")))
    old = NOW - policy.SIGNING_TIME
    kept = propose(first, ALICE, proposal(first, ALICE, every("e2ee"), old), prepared)
    assert kept.created == old
    waits = propose(kept, ALICE, proposal(kept, ALICE, every("tls")))
    same = proposal(kept, ALICE, every("e2ee"), old)
    given = {"keys": KEYS, "strengths": STRENGTHS, "now": NOW}
    with pytest.raises(LimitExceeded, match="runs out by itself"):
        policy.propose(kept, waits, same, ALICE, before=first, **given)  # type: ignore[arg-type]  # by name
