"""Proposals that are taken back or declined: the rules of it, in words, and against a relay."""

from __future__ import annotations

import msgspec
import pytest

from client import Proposal
from client.proposals import Signing
from crypto_modes import policy, wire
from crypto_modes.errors import BadArgument, FrameRefused, LimitExceeded, ModeMismatch
from crypto_modes.primitives import ed25519_sign
from tests.conftest import StartRelay
from tests.test_client import enter
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
from tests.test_proposals import screens


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


@pytest.mark.asyncio
@pytest.mark.attack(15)
@pytest.mark.parametrize("what", ["another mode", "the same end"])
async def test_what_comes_into_force_meanwhile_is_not_undone_by_a_withdrawal(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Else who raised a mode in that moment would hold the other's signature for lowering it."""
    relay = await start_relay("tls")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.propose("bob", {"text": "e2ee"})
        await alice.propose("bob", {"text": "tls"})
        looked = alice.proposals.pending

        async def pending(peer: bytes) -> Proposal | None:
            monkeypatch.undo()
            found = await looked(peer)
            if what == "another mode":
                await bob.propose("alice", {"image": "e2ee"})
            else:
                await bob.proposals.withdraw(alice.account)
            return found

        monkeypatch.setattr(alice.proposals, "pending", pending)
        if what == "another mode":
            with pytest.raises(BadArgument, match="another mode is in force"):
                await alice.proposals.withdraw(bob.account)
        else:
            assert (await alice.proposals.withdraw(bob.account)).epoch == 3
        assert await bob.proposals.pending(alice.account) is None
        current = await alice.policy("bob")
        assert current.epoch == 3
        image = "e2ee" if what == "another mode" else "tls"
        assert (current.modes["text"], current.modes["image"]) == ("e2ee", image)


@pytest.mark.asyncio
async def test_a_proposal_is_withdrawn_or_declined_in_words(start_relay: StartRelay) -> None:
    async with screens(await start_relay("e2ee")) as (alice, bob):
        alice.typed.put_nowait("/mode withdraw")
        await alice.see("no proposal waits")
        alice.typed.put_nowait("/mode tls")
        await alice.see("To take it back: /mode withdraw")
        await bob.see("/mode decline")
        alice.typed.put_nowait("/mode withdraw")
        for end, whose in ((alice, "your proposal"), (bob, "alice's proposal")):
            await end.see(f"{whose} is over without both of you agreeing (mode tls")
        bob.typed.put_nowait("/mode agree")
        await bob.see("proposed nothing that waits")
        bob.typed.put_nowait("still in the mode of before")
        await alice.see("still in the mode of before")
        alice.typed.put_nowait("/mode at_rest image")
        await bob.see("alice proposes mode at_rest")
        bob.typed.put_nowait("/mode decline")
        await bob.see("a proposal was withdrawn here less than a day ago")


@pytest.mark.asyncio
@pytest.mark.attack(15)
async def test_what_was_withdrawn_is_not_put_in_force_by_a_relay_that_kept_it(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay("e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.look_up("bob")
        proposed = await alice.propose("bob", {"text": "tls"})
        kept = await alice.proposals.withdraw(bob.account)
        assert (kept.state, kept.epoch, kept.modes["text"]) == ("in_force", 2, "e2ee")
        signing = bob._trust.verifying()
        assert isinstance(signing, Signing)
        mark, first = signing.sign(policy.record(proposed)), proposed.first == alice.account
        signatures = (proposed.signatures[0], mark) if first else (mark, proposed.signatures[1])
        forged = msgspec.structs.replace(proposed, ref=0, state="in_force", signatures=signatures)
        for chat in (alice, bob):
            await chat.policy(bob.account if chat is alice else alice.account)
            with pytest.raises(ModeMismatch, match="two different policies of epoch 2"):
                await chat._trust.believe(forged)
