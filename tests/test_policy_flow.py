"""Changes of mode while messages flow, and none after all, over the real relay with real clients.

Only what needs a running conversation lives here; the rules themselves are in ``test_policy``.
"""

from __future__ import annotations

import msgspec
import pytest

from client import Proposal
from client.proposals import Signing
from crypto_modes import policy, wire
from crypto_modes.errors import BadArgument, ModeMismatch
from tests.conftest import StartRelay
from tests.flows import flow
from tests.test_client import enter
from tests.test_proposals import screens


def every(mode: str) -> dict[wire.Kind, str]:
    return dict.fromkeys(wire.KINDS, mode)


@pytest.mark.asyncio
@pytest.mark.attack(15)
@pytest.mark.parametrize("weak", ["tls", "at_rest"])
async def test_two_people_raise_alone_and_lower_together_while_messages_flow(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch, weak: str
) -> None:
    relay = await start_relay(mode=weak)
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        async with flow(relay, alice, bob, monkeypatch) as running:
            raised = await alice.propose("bob", every("e2ee"))
            assert raised.state == "in_force"
            await running.goes_on()
            proposed = await bob.propose("alice", every(weak))
            assert proposed.state == "prepared"
            await running.goes_on()
            assert (await alice.policy("bob")).modes["text"] == "e2ee"
            lowered = await alice.propose("bob", every(weak))
            assert lowered.state == "in_force"
            await running.goes_on()
        epochs = await running.check()
        assert [each.modes["text"] for each in epochs] == [weak, "e2ee", weak]
        modes = [message.mode for end in running.ends for message in end.heard]
        assert min(modes.count(weak), modes.count("e2ee")) > 20


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
