"""What the client believes of keys and policies that a relay shows it, seen from its events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, get_args

import msgspec
import pytest

from client import Chat, Event, NotSent, OwnKeyRefusal, Proposal
from client.lane import Pending
from client.memory import Outbound
from client.proposals import Signing
from client.terminal import Talk
from crypto_modes import policy, wire
from crypto_modes.contract import Need, NeedPolicy
from crypto_modes.errors import BelowFloor, ModeMismatch
from crypto_modes.primitives import ed25519_verify
from tests.conftest import StartRelay
from tests.flows import until
from tests.test_client import enter, first, take, texts
from tests.test_client_terminal import Lines

DAY = 24 * 60 * 60 * 1000
Answer = Callable[[Any], Awaitable[Any]]


@asynccontextmanager
async def events_of(chat: Chat) -> AsyncIterator[list[Event]]:
    """The events of a chat meanwhile."""
    seen: list[Event] = []

    async def watch() -> None:
        async for event in chat.events():
            seen.append(event)  # noqa: PERF401 - seen from outside meanwhile

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    yield seen
    watching.cancel()


def meddle(
    chat: Chat, monkeypatch: pytest.MonkeyPatch, change: Callable[[Any, Answer], Any]
) -> None:
    """Let ``change(request, honest)`` answer what the chat asks of the relay."""
    ask = chat._session.ask

    async def answer(request: Any, kind: Any) -> Any:
        async def honest(request: Any) -> Any:
            return await ask(request, kind)

        return await change(request, honest)

    monkeypatch.setattr(chat._session, "ask", answer)


# --- keys ---


@pytest.mark.asyncio
@pytest.mark.attack
async def test_14_another_key_for_the_own_account_is_said_and_not_used(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as phone, enter(relay, "bob") as bob:
        await phone.send("bob", "before")
        assert texts(await take(bob)) == ["before"]
        mine = phone._trust.verifying().pinned_key(phone.account)
        seen = asyncio.create_task(first(phone, is_own))
        await asyncio.sleep(0)
        async with enter(relay, "alice", replace_key=True):
            event = await seen
            assert isinstance(event, OwnKeyRefusal)
            assert "another key for your own account" in event.reason
        assert phone._trust.verifying().pinned_key(phone.account) == mine


def is_own(event: Event) -> bool:
    return isinstance(event, OwnKeyRefusal)


# --- policies ---


def marked(chat: Chat, candidate: wire.Policy) -> wire.Policy:
    """A policy with the signature of this user."""
    signing = chat._trust.verifying()
    assert isinstance(signing, Signing)
    mark = signing.sign(policy.record(candidate))
    marks = (mark, b"") if chat.account == candidate.first else (b"", mark)
    return msgspec.structs.replace(candidate, signatures=marks)


async def lowered(chat: Chat, peer: Chat) -> wire.Policy:
    """The next epoch in `tls`, prepared, not signed by anybody."""
    await chat.devices(peer.account)
    await peer.devices(chat.account)
    current = await chat.policy(peer.account)
    keys = {
        each: chat._trust.verifying().pinned_key(each) or b""
        for each in (current.first, current.second)
    }
    modes: wire.Modes = dict.fromkeys(get_args(wire.Kind), "tls")
    return policy.successor(current, modes, current.created, keys)


@pytest.mark.asyncio
@pytest.mark.attack
async def test_15_a_proposal_that_nobody_signed_is_no_event(start_relay: StartRelay) -> None:
    relay = await start_relay(mode="at_rest")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.send("bob", "x")
        made_up = await lowered(alice, bob)
        real = marked(bob, made_up)
        elsewhere = msgspec.structs.replace(made_up, previous=bytes(32))
        talk = Talk(alice, "bob", bob.account, Lines())
        async with events_of(alice) as seen:
            for frame in (
                made_up,
                msgspec.structs.replace(made_up, signatures=(b"s" * 64, b"s" * 64)),
                msgspec.structs.replace(real, modes=dict.fromkeys(wire.KINDS, "e2ee")),
                marked(bob, elsewhere),
                msgspec.structs.replace(made_up, epoch=1, state="rolled_back"),
            ):
                alice.received(frame)
            await until(lambda: bool(seen))
            await asyncio.sleep(0.2)
            assert {type(event) for event in seen} == {wire.Error}
            assert not any(talk._words(event) for event in seen)
            seen.clear()
            alice.received(real)
            await until(lambda: bool(seen))
            await asyncio.sleep(0.1)
            assert seen == [Proposal(bob.account, real)]
            assert "bob proposes mode tls" in talk._words(seen[0])
        assert (await alice.policy("bob")).modes["text"] == "at_rest"


@pytest.mark.asyncio
@pytest.mark.attack
async def test_15_an_old_epoch_that_is_shown_again_is_no_event(start_relay: StartRelay) -> None:
    relay = await start_relay(mode="at_rest")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.send("bob", "x")
        old = await alice.policy("bob")
        async with events_of(alice) as seen:
            await bob.propose("alice", {"text": "tls"})
            newest = await alice.propose("bob", {"text": "tls"})
            assert newest.state == "in_force"
            alice.received(msgspec.structs.replace(newest, ref=0))
            alice.received(msgspec.structs.replace(old, ref=0))
            await until(lambda: any(isinstance(each, wire.Policy) for each in seen))
            await asyncio.sleep(0.2)
        assert isinstance(seen[0], Proposal)
        assert seen[0].by == bob.account
        shown = {each.epoch for each in seen if isinstance(each, wire.Policy)}
        assert shown == {newest.epoch}


@pytest.mark.asyncio
@pytest.mark.attack
async def test_15_what_is_signed_names_pinned_keys(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = await start_relay(mode="at_rest")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        candidate = await lowered(alice, bob)
        own = alice._trust.verifying().pinned_key(alice.account)
        assert own is not None
        signed: list[wire.SetPolicy] = []

        async def change(request: Any, honest: Answer) -> Any:
            if isinstance(request, wire.GetDevices) and request.account == bob.account:
                return wire.Devices(ref=0, account=bob.account, name="bob", key=b"k" * 32)
            if isinstance(request, wire.SetPolicy) and request.modes is not None:
                signed.append(request)
            return await honest(request)

        meddle(alice, monkeypatch, change)
        assert (await alice.propose("bob", candidate.modes)).state == "prepared"
        (request,) = signed
        record = policy.record(msgspec.structs.replace(candidate, created=request.created))
        ed25519_verify(own, request.signature, record)


@pytest.mark.asyncio
@pytest.mark.attack
@pytest.mark.parametrize("what", ["too old", "not signed", "of the future"])
async def test_15_the_time_of_a_proposal_is_not_the_relays_to_choose(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The peer's old consent, or none, must not be joined into one that is in force."""
    relay = await start_relay(mode="at_rest")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        candidate = await lowered(alice, bob)
        created = (
            candidate.created + {"too old": -2, "not signed": 0, "of the future": 1}[what] * DAY
        )
        pending = msgspec.structs.replace(candidate, created=created - 1)
        if what != "not signed":
            pending = marked(bob, pending)
        signed: list[wire.SetPolicy] = []

        async def change(request: Any, honest: Answer) -> Any:
            if isinstance(request, wire.SetPolicy) and request.modes is not None:
                signed.append(request)
            elif isinstance(request, wire.SetPolicy) and request.epoch == candidate.epoch:
                return pending
            return await honest(request)

        meddle(alice, monkeypatch, change)
        await alice.propose("bob", candidate.modes)
        assert [request.created == pending.created for request in signed] == [False]


@pytest.mark.asyncio
async def test_an_answer_to_something_else_than_was_proposed_is_refused(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = await start_relay(mode="at_rest")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        candidate = await lowered(alice, bob)

        async def change(request: Any, honest: Answer) -> Any:
            answer = await honest(request)
            if isinstance(request, wire.SetPolicy) and request.modes is not None:
                return msgspec.structs.replace(answer, modes=dict.fromkeys(wire.KINDS, "e2ee"))
            return answer

        meddle(alice, monkeypatch, change)
        with pytest.raises(ModeMismatch, match="than the one that was proposed"):
            await alice.propose("bob", candidate.modes)


# --- what was written before a change ---


async def lower(alice: Chat, bob: Chat) -> None:
    """Both agree on `tls`."""
    await bob.propose(alice.account, {"text": "tls"})
    assert (await alice.propose(bob.account, {"text": "tls"})).state == "in_force"


@pytest.mark.asyncio
@pytest.mark.attack
async def test_15_what_was_sealed_in_a_stronger_mode_is_not_sealed_in_a_weaker_one(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay refuses a message until the conversation is lowered, to get it readable."""
    relay = await start_relay(mode="at_rest")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.send("bob", "x")
        posted: list[wire.Send] = []
        post = alice._session.post

        def keep_back(frame: wire.Frame) -> bool:
            if not isinstance(frame, wire.Send):
                return post(frame)
            posted.append(frame)
            return True

        monkeypatch.setattr(alice._session, "post", keep_back)
        sent = alice.send_soon("bob", "written in at_rest")
        await lower(alice, bob)
        async with events_of(alice) as seen:
            alice.received(
                wire.Error(ref=posted[0].ref, code=120, name="mode_mismatch", message="not now")
            )
            with pytest.raises(BelowFloor, match="written in mode at_rest"):
                await asyncio.wait_for(sent, 30)
            await asyncio.sleep(0)
        assert [type(event) for event in seen] == [NotSent]
        assert [(each.mode, each.body) for each in posted] == [("at_rest", b"written in at_rest")]
        monkeypatch.setattr(alice._session, "post", post)
        await alice.send("bob", "written in tls")
        assert [(each.text, each.mode) for each in await take(bob, 2)] == [
            ("x", "at_rest"),
            ("written in tls", "tls"),
        ]


@pytest.mark.asyncio
@pytest.mark.attack
async def test_15_what_waits_to_be_sealed_is_held_to_the_mode_it_was_written_in(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = await start_relay(mode="at_rest")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.send("bob", "x")
        seal, changed = alice._outgoing.seal, asyncio.Event()

        def lacking(pending: Pending) -> Outbound:
            raise Need(NeedPolicy(pending.draft.conversation, bob.account, 0))

        async def later(pending: Pending) -> Outbound:
            await changed.wait()
            return await seal(pending)

        monkeypatch.setattr(alice._outgoing, "seal_now", lacking)
        monkeypatch.setattr(alice._outgoing, "seal", later)
        sent = alice.send_soon("bob", "written in at_rest")
        await lower(alice, bob)
        changed.set()
        with pytest.raises(BelowFloor, match="written in mode at_rest"):
            await asyncio.wait_for(sent, 30)
        await alice.send("bob", "written in tls")
        assert texts(await take(bob, 2)) == ["x", "written in tls"]
