"""Proposals between people: asked for in words, agreed to, met half-way, run out, or overtaken.

Real clients over the real relay; the rules of a change are in ``test_policy``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, get_args

import msgspec
import pytest

from client import Event, RolledBack
from client.terminal import UNAUDITED, Talk
from crypto_modes import policy, wire
from crypto_modes.errors import BadArgument, ModeMismatch, NotInThisMode, UnknownDevice
from server.app import installed_modes
from tests.conftest import Running, StartRelay
from tests.flows import until
from tests.test_client import enter, take
from tests.test_client_terminal import Lines
from tests.test_client_trust import events_of

pytestmark = pytest.mark.asyncio

WORDS = {name: mode.words for name, mode in installed_modes().items()}


def is_over(event: Event) -> bool:
    return isinstance(event, RolledBack)


def every(mode: str) -> wire.Modes:
    return dict.fromkeys(get_args(wire.Kind), mode)


@asynccontextmanager
async def screens(relay: Running) -> AsyncIterator[tuple[Lines, Lines]]:
    """Alice and Bob, each looking at the conversation with the other."""
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        shown = Lines(), Lines()
        talks = (
            Talk(alice, "bob", bob.account, shown[0]),
            Talk(bob, "alice", alice.account, shown[1]),
        )
        running = [asyncio.create_task(talk.run()) for talk in talks]
        for each in shown:
            await each.see("/help for commands")
        yield shown
        for each in shown:
            each.typed.put_nowait("/quit")
        await asyncio.gather(*running)


async def test_two_people_change_the_mode_in_words(start_relay: StartRelay) -> None:
    async with screens(await start_relay("tls")) as (alice, bob):
        alice.typed.put_nowait("/mode e2ee")
        assert await alice.see("With bob, mode e2ee") == f"With bob, mode e2ee: {WORDS['e2ee']}."
        await alice.see(UNAUDITED)
        assert await bob.see("now in mode e2ee") == (
            f"* this conversation is now in mode e2ee: {WORDS['e2ee']}"
        )
        alice.typed.put_nowait("/mode tls")
        assert f"you have proposed mode tls: {WORDS['tls']}" in await alice.see("proposed")
        asked = await bob.see("alice proposes")
        assert f"mode tls: {WORDS['tls']}" in asked
        assert "To agree: /mode agree; to end it: /mode decline." in asked
        bob.typed.put_nowait("/mode")
        await bob.see("With alice, mode e2ee")
        bob.typed.put_nowait("/mode tls")
        await bob.see_times("With alice, mode tls", 2)
        assert WORDS["tls"] in await alice.see("now in mode tls")


async def test_agreeing_is_to_exactly_what_was_proposed(start_relay: StartRelay) -> None:
    async with screens(await start_relay("e2ee")) as (alice, bob):
        alice.typed.put_nowait("/mode agree")
        await alice.see("proposed nothing that waits")
        alice.typed.put_nowait("/mode at_rest image")
        assert "(for image)" in await bob.see("alice proposes mode at_rest")
        bob.typed.put_nowait("/mode agree")
        await bob.see(f"but image: mode at_rest: {WORDS['at_rest']}")
        await alice.see("now in mode at_rest")
        for line, answer in {
            "/mode rot13": "does not know the mode 'rot13'",
            "/mode tls smell": "'smell' is none of text, image",
        }.items():
            alice.typed.put_nowait(line)
            await alice.see(answer)


@pytest.mark.attack(15)
async def test_what_took_the_place_of_the_proposal_that_was_shown_is_shown_and_not_signed(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay("e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.look_up("bob")
        await alice.propose("bob", {"image": "at_rest"})
        screen = Lines()
        talk = Talk(bob, "alice", alice.account, screen)
        talking = asyncio.create_task(talk.run())
        assert "(for image)" in await screen.see("alice proposes mode at_rest")
        bob.received = lambda frame: None  # type: ignore[method-assign]  # the relay says nothing
        await alice.propose("bob", every("tls"))
        screen.typed.put_nowait("/mode agree")
        await screen.see("another proposal waits than the one you were shown")
        assert WORDS["tls"] in await screen.see("alice proposes mode tls")
        assert (await bob.policy("alice")).epoch == 1
        screen.typed.put_nowait("/mode agree")  # now he has seen it
        await screen.see("With alice, mode tls")
        assert (await bob.policy("alice")).modes == every("tls")
        screen.typed.put_nowait("/quit")
        await talking


@pytest.mark.attack(15)
async def test_a_proposal_that_is_replaced_while_it_is_agreed_to_is_not_signed(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = await start_relay("e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        peer = await bob.look_up("alice")
        await alice.look_up("bob")
        shown = policy.digest(await alice.propose("bob", {"image": "tls"}))
        joined = bob.proposals._joined

        async def late(peer: bytes, candidate: wire.Policy) -> wire.Policy:
            await alice.propose("bob", {"image": "at_rest"})
            return await joined(peer, candidate)

        monkeypatch.setattr(bob.proposals, "_joined", late)
        with pytest.raises(BadArgument, match=r"waits no more; nothing was signed"):
            await bob.proposals.agree(peer, shown)
        for short in (b"", shown[:7]):
            with pytest.raises(BadArgument, match="another proposal waits"):
                await bob.proposals.agree(peer, short)
        assert (await bob.policy("alice")).epoch == 1


async def test_a_proposal_made_before_a_chat_opens_is_shown(start_relay: StartRelay) -> None:
    relay = await start_relay("e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.look_up("bob")
        await alice.propose("bob", {"text": "tls"})
        screen = Lines()
        talking = asyncio.create_task(Talk(bob, "alice", alice.account, screen).run())
        assert "(for text)" in await screen.see("alice proposes mode tls")
        screen.typed.put_nowait("/quit")
        await talking


async def test_two_equal_proposals_at_once_meet(start_relay: StartRelay) -> None:
    relay = await start_relay("e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await asyncio.gather(alice.devices("bob"), bob.devices("alice"))
        for number, (kind, mode) in enumerate(
            [("text", "at_rest"), ("image", "tls"), ("file", "tls")], 2
        ):
            both = (alice.propose("bob", {kind: mode}), bob.propose("alice", {kind: mode}))  # type: ignore[dict-item]  # kinds
            states = [each.state for each in await asyncio.gather(*both)]
            assert "in_force" in states
            for chat, peer in ((alice, bob), (bob, alice)):
                current = await chat.policy(peer.account)
                assert (current.epoch, dict(current.modes)[kind]) == (number, mode)  # type: ignore[index]


async def test_the_second_of_two_equal_proposals_is_told_to_sign_the_first(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay("e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.look_up("bob")
        await alice.propose("bob", {"text": "tls"})
        joined = bob.proposals._joined
        looked = 0

        async def blind(peer: bytes, candidate: wire.Policy) -> wire.Policy:
            nonlocal looked
            looked += 1
            return candidate if looked == 1 else await joined(peer, candidate)

        bob.proposals._joined = blind  # type: ignore[method-assign]  # as if it had come just now
        assert (await bob.propose("alice", {"text": "tls"})).state == "in_force"
        assert looked == 2


# --- running out ---


async def test_a_proposal_that_runs_out_is_said_to_both(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(policy.LASTS, "prepared", 700)
    async with screens(await start_relay("e2ee")) as (alice, bob):
        alice.typed.put_nowait("/mode tls")
        await bob.see("alice proposes mode tls")
        over = "is over without both of you agreeing"
        assert f"your proposal {over}" in await alice.see("nothing changed")
        assert f"alice's proposal {over}" in await bob.see("nothing changed")
        bob.typed.put_nowait("/mode agree")
        await bob.see("proposed nothing that waits")
        bob.typed.put_nowait("/mode")
        await bob.see_times("With alice, mode e2ee", 2)


async def test_the_relay_tells_both_of_what_ran_out_also_after_a_restart(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay("e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.look_up("bob")
        proposed = await alice.propose("bob", {"text": "tls"})
        await relay.restart()
        await bob.proposals.pending(alice.account)
        pending = await alice.proposals.pending(bob.account)
        assert pending is not None
        assert pending.by == alice.account
        assert policy.record(pending.policy) == policy.record(proposed)
        async with events_of(alice) as hers, events_of(bob) as his:
            for now in (proposed.deadline - 1, proposed.deadline, proposed.deadline):
                relay.app.relay.roll_back(now)
                await asyncio.sleep(0.1)
            await until(lambda: all(any(map(is_over, seen)) for seen in (hers, his)))
        for seen in (hers, his):
            over = [each for each in seen if is_over(each)]
            assert [each.by for each in over] == [alice.account]
            assert policy.record(over[0].policy) == policy.record(proposed)


async def test_what_was_agreed_to_while_away_is_not_said_to_have_run_out(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay("e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.look_up("bob")
        await alice.propose("bob", {"text": "tls"})
        received = alice.received
        away: list[Any] = []
        alice.received = away.append  # type: ignore[method-assign]  # away
        agreed = await bob.propose("alice", {"text": "tls"})
        assert agreed.state == "in_force"
        await until(lambda: any(isinstance(each, wire.Policy) for each in away))
        alice.received = received  # type: ignore[method-assign]  # and back
        async with events_of(alice) as seen:
            await alice.proposals._ran_out(agreed.conversation)
            await asyncio.sleep(0)
        assert [type(each) for each in seen] == [wire.Policy]


async def test_another_change_ends_a_proposal(start_relay: StartRelay) -> None:
    relay = await start_relay("tls")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.look_up("bob")
        await alice.propose("bob", {"text": "e2ee"})
        await bob.policy("alice")
        async with events_of(alice) as hers, events_of(bob) as his:
            await alice.propose("bob", {"text": "tls"})
            await asyncio.sleep(0.1)
            await bob.propose("alice", {"image": "e2ee"})
            await until(lambda: all(any(map(is_over, seen)) for seen in (hers, his)))
            await asyncio.sleep(0.2)
        for seen in (hers, his):
            (over,) = [each for each in seen if is_over(each)]
            assert (over.by, over.policy.modes["text"]) == (alice.account, "tls")
        assert await alice.proposals.pending(bob.account) is None
        current = await alice.policy("bob")
        assert (current.modes["text"], current.modes["image"]) == ("e2ee", "e2ee")


@pytest.mark.attack(15)
async def test_a_rollback_of_what_nobody_proposed_is_no_event(start_relay: StartRelay) -> None:
    relay = await start_relay("e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob"):
        await alice.look_up("bob")
        proposed = await alice.propose("bob", {"text": "tls"})
        other = msgspec.structs.replace(
            proposed, ref=0, state="rolled_back", modes=proposed.modes | {"image": "tls"}
        )
        async with events_of(alice) as seen:
            alice.received(other)
            await asyncio.sleep(0.1)
        assert seen == []


# --- the relay stops in the middle ---


@pytest.mark.parametrize("phase", ["prepared", "ready"])
async def test_a_restart_in_the_middle_changes_nothing(start_relay: StartRelay, phase: str) -> None:
    relay = await start_relay("e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.send("bob", "before")
        await alice.propose("bob", every("tls"))
        if phase == "ready":
            await bob.propose("alice", every("tls"))
        old = await alice.policy("bob")
        await relay.restart()
        conversation = await relay.app.relay.conversations.load(alice.account, bob.account)
        newest = conversation.epochs[-1]
        before = newest.deadline - 1
        assert policy.phase(newest, before) == phase
        # What was accepted before the restart still is: the old epoch, and in `ready` both.
        accepted = [
            each.epoch - newest.epoch
            for each in conversation.epochs
            if _accepts(conversation.epochs, each, before)
        ]
        assert accepted == {"prepared": [-1], "ready": [-1, 0]}[phase]
        if phase == "prepared":
            assert (await bob.propose("alice", every("tls"))).state == "in_force"
        await alice.policy("bob")
        await alice.send("bob", "after")
        assert [(each.text, each.mode) for each in await take(bob, 2)] == [
            ("before", "e2ee"),
            ("after", "tls"),
        ]
        assert (await alice.policy("bob")).epoch == 2
        assert old.epoch == (1 if phase == "prepared" else 2)


def _accepts(epochs: list[wire.Policy], each: wire.Policy, now: int) -> bool:
    try:
        policy.check_send(epochs, "text", each.modes["text"], each.epoch, now)
    except ModeMismatch:
        return False
    return True


async def test_the_relay_shows_what_ran_out_as_rolled_back(relay: Running) -> None:
    prepared = msgspec.structs.replace(
        policy.default_policy({b"a" * 16: b"", b"b" * 16: b""}, every("tls"), 0),
        state="prepared",
        deadline=1_000,
    )
    assert policy.shown(prepared, 999).state == "prepared"
    assert policy.shown(prepared, 1_000).state == "rolled_back"
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.propose(await alice.look_up("bob"), every("e2ee"))
        await alice.propose("bob", every("tls"))
        conversation = await relay.app.relay.conversations.load(alice.account, bob.account)
        late = [msgspec.structs.replace(each, deadline=1) for each in conversation.epochs]
        conversation.settle(late)
        assert conversation.answer(7, 3).state == "rolled_back"
        assert await alice.proposals.pending(bob.account) is None


# --- secret from the first message on ---


async def test_secret_raises_before_the_first_message(start_relay: StartRelay) -> None:
    relay = await start_relay("tls")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        raised = await alice.proposals.raise_to_strongest("bob")
        assert set(raised.modes.values()) == {"e2ee"}
        assert await alice.proposals.raise_to_strongest("bob") == await alice.policy("bob")
        await alice.send("bob", "whispered")
        (message,) = await take(bob)
        assert (message.mode, message.epoch, message.seq) == ("e2ee", 2, 1)


async def test_secret_is_refused_where_the_peer_has_no_keys(start_relay: StartRelay) -> None:
    relay = await start_relay("tls")
    await relay.enter("bob")
    async with enter(relay, "alice") as alice:
        with pytest.raises(UnknownDevice, match=r"published no keys.*nothing was sent"):
            await alice.proposals.raise_to_strongest("bob")
        assert set((await alice.policy("bob")).modes.values()) == {"tls"}


async def test_secret_is_refused_where_no_mode_keeps_the_operator_out(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay("tls")
    few = {name: mode for name, mode in installed_modes().items() if name != "e2ee"}
    async with enter(relay, "alice", modes=few) as alice, enter(relay, "bob"):
        with pytest.raises(NotInThisMode, match="keeps the operator out"):
            await alice.proposals.raise_to_strongest("bob")
        with pytest.raises(BadArgument, match="proposed nothing"):
            await alice.proposals.agree(await alice.look_up("bob"), bytes(32))
