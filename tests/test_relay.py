"""Messages through a real relay: accepted, delivered, acknowledged, paged, refused."""

from __future__ import annotations

import os

import pytest

from crypto_modes import wire
from tests.conftest import Running, StartRelay
from tests.raw_client import RawClient, Refused

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("mode", ["tls", "at_rest"])
@pytest.mark.parametrize("protocol", [wire.MSGPACK, wire.JSON])
async def test_a_message_is_accepted_delivered_and_the_same(
    start_relay: StartRelay, mode: str, protocol: str
) -> None:
    relay = await start_relay(mode)
    alice = await relay.enter("alice", protocol=protocol)
    bob = await relay.enter("bob", protocol=protocol)
    accepted = await alice.say(bob, "hello, Bob ☂")
    (heard,) = await bob.hear()
    assert heard.body.decode() == "hello, Bob ☂"
    assert (heard.seq, heard.id, heard.time) == (1, accepted.id, accepted.time)
    assert (heard.sender, heard.device, heard.recipient) == (
        alice.account,
        alice.device,
        bob.account,
    )
    assert heard.mode == mode


async def test_seq_counts_both_directions_without_gaps(relay: Running) -> None:
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    for number in range(1, 11):
        sender, other = (alice, bob) if number % 2 else (bob, alice)
        accepted = await sender.say(other, str(number))
        assert accepted.seq == number
    assert [m.seq for m in await bob.hear(5)] == [1, 3, 5, 7, 9]
    assert [m.seq for m in await alice.hear(5)] == [2, 4, 6, 8, 10]


async def test_the_same_id_again_is_the_same_message(relay: Running) -> None:
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    draft = await alice.draft(bob, "once")
    first = await alice.ask(draft, wire.Accepted)
    again = await alice.ask(draft, wire.Accepted)
    assert first == again
    await alice.say(bob, "twice")
    assert [m.body for m in await bob.hear(2)] == [b"once", b"twice"]


async def test_another_device_cannot_take_over_an_id(relay: Running) -> None:
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    draft = await alice.draft(bob, "mine")
    await alice.ask(draft, wire.Accepted)
    stolen = await bob.draft(alice, "no, mine", id=draft.id)
    assert (await bob.refusal(stolen)).name == "forbidden"


async def test_pipelined_sends_keep_their_order(start_relay: StartRelay) -> None:
    relay = await start_relay("at_rest")
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    drafts = [await alice.draft(bob, str(number)) for number in range(50)]
    for draft in drafts:
        await alice.send(draft)
    accepted = [await alice.expect(wire.Accepted) for _ in drafts]
    assert [a.id for a in accepted] == [d.id for d in drafts]
    assert [m.body for m in await bob.hear(50)] == [d.body for d in drafts]


async def test_offline_messages_wait_and_unacknowledged_ones_come_again(relay: Running) -> None:
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    await alice.say(bob, "one")
    await bob.hear()
    await bob.close()
    await alice.say(bob, "two")
    await alice.say(bob, "three")
    bob = await bob.again(relay.url)
    assert [m.body for m in await bob.hear(2, ack=False)] == [b"two", b"three"]
    await bob.close()
    bob = await bob.again(relay.url)
    assert [m.body for m in await bob.hear(2)] == [b"two", b"three"]


async def test_acknowledged_messages_do_not_come_again_after_a_restart(relay: Running) -> None:
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    await alice.say(bob, "one")
    await bob.hear()
    await alice.policy(bob)
    await bob.policy(alice)  # answered, so the ack before it was handled
    await relay.restart()
    alice, bob = await alice.again(relay.url), await bob.again(relay.url)
    await alice.say(bob, "two")
    assert [m.body for m in await bob.hear()] == [b"two"]


async def test_every_device_of_both_users_gets_a_message_once(relay: Running) -> None:
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    other_bob = await RawClient.open(relay.url)
    await other_bob.register("bob", login=True)
    await other_bob.hello()
    other_alice = await RawClient.open(relay.url)
    await other_alice.register("alice", login=True)
    await other_alice.hello()
    await alice.say(bob, "to all")
    for client in (bob, other_bob, other_alice):
        assert [m.body for m in await client.hear()] == [b"to all"]
    assert await alice.silent(wire.Deliver)


async def test_a_new_device_starts_at_the_present_and_pages_back(relay: Running) -> None:
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    await alice.say(bob, "old")
    late = await RawClient.open(relay.url)
    await late.register("bob", login=True)
    await late.hello()
    accepted = await alice.say(bob, "new")
    assert [m.body for m in await late.hear()] == [b"new"]
    page = await late.ask(
        wire.History(ref=late.ref(), conversation=accepted.conversation), wire.Page
    )
    assert [m.body for m in page.messages] == [b"old", b"new"]
    assert not page.more


async def test_history_pages_backwards(relay: Running) -> None:
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    for number in range(1, 8):
        accepted = await alice.say(bob, str(number))
    pages, before, more = [], 0, True
    while more:
        frame = wire.History(
            ref=bob.ref(), conversation=accepted.conversation, before=before, limit=3
        )
        page = await bob.ask(frame, wire.Page)
        pages.append([m.seq for m in page.messages])
        before, more = page.messages[0].seq, page.more
    assert pages == [[5, 6, 7], [2, 3, 4], [1]]


@pytest.mark.attack(38)
async def test_strangers_learn_nothing_from_a_conversation_id(relay: Running) -> None:
    alice, bob, eve = [await relay.enter(name) for name in ("alice", "bob", "eve")]
    accepted = await alice.say(bob, "private")
    answers = []
    for conversation in (accepted.conversation, os.urandom(16)):
        frame = wire.History(ref=eve.ref(), conversation=conversation)
        error = await eve.refusal(frame)
        answers.append((error.code, error.message))
        ref = eve.ref()
        send = wire.Send(
            ref=ref, id=os.urandom(16), conversation=conversation, mode="tls", epoch=1, body=b"x"
        )
        error = await eve.refusal(send)
        answers.append((error.code, error.message))
    assert answers[:2] == answers[2:]
    assert answers[0][0] == 103


@pytest.mark.attack(37)
async def test_absent_and_blocking_recipients_are_the_same(relay: Running) -> None:
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    draft = await alice.draft(bob, "hi")
    await bob.ask(wire.Block(ref=bob.ref(), account=alice.account), wire.Blocked)
    blocked = await alice.refusal(draft)
    ref = alice.ref()
    absent = await alice.refusal(
        wire.Send(ref=ref, id=os.urandom(16), to=os.urandom(16), mode="tls", epoch=1, body=b"x")
    )
    assert (blocked.code, blocked.message) == (absent.code, absent.message)
    looked = [
        await alice.refusal(wire.GetDevices(ref=alice.ref(), name=name)) for name in ("bob", "nix")
    ]
    assert looked[0].message == looked[1].message
    await bob.ask(wire.Block(ref=bob.ref(), account=alice.account, on=False), wire.Blocked)
    assert (await alice.ask(draft, wire.Accepted)).seq == 1


@pytest.mark.attack(15)
@pytest.mark.parametrize("wrong", [{"mode": "tls"}, {"epoch": 7}, {"mode": "e2ee"}])
async def test_another_mode_or_epoch_is_refused_and_the_session_goes_on(
    start_relay: StartRelay, wrong: dict[str, object]
) -> None:
    relay = await start_relay("at_rest")
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    error = await alice.refusal(await alice.draft(bob, "x", **wrong))
    assert error.name == "mode_mismatch"
    assert not error.temporary
    assert "at_rest" in error.message
    assert (await alice.say(bob, "right")).seq == 1


async def test_a_body_over_the_limit_is_refused_and_consumes_no_seq(relay: Running) -> None:
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    error = await alice.refusal(await alice.draft(bob, "x" * (wire.CONTENT_LIMIT + 1)))
    assert error.name == "limit"
    assert (await alice.say(bob, "y" * wire.CONTENT_LIMIT)).seq == 1


async def test_copies_are_refused_where_the_mode_has_none(relay: Running) -> None:
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    copies = (wire.Copy(bob.device, b"x"),)
    error = await alice.refusal(await alice.draft(bob, "", body=b"", copies=copies))
    assert error.name in {"bad_request", "unknown_device"}


async def test_acks_cannot_run_ahead(relay: Running) -> None:
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    accepted = await alice.say(bob, "one")
    await bob.hear(ack=False)
    await bob.send(wire.Ack(conversation=accepted.conversation, seq=2))
    error = await bob.expect(wire.Error)
    assert error.name == "bad_request"
    await bob.send(wire.Ack(conversation=os.urandom(16), seq=1))
    assert (await bob.expect(wire.Error)).name == "bad_request"


async def test_receipts_reach_the_peer_late_and_once(relay: Running) -> None:
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    for text in ("one", "two", "three"):
        accepted = await alice.say(bob, text)
    await bob.hear(3)
    for seq in (1, 2, 3):
        await bob.send(wire.Read(conversation=accepted.conversation, seq=seq))
    receipt = await alice.expect(wire.Receipt)
    assert (receipt.account, receipt.seq) == (bob.account, 3)
    assert await alice.silent(wire.Receipt)


async def test_typing_and_presence_are_off_until_switched_on(start_relay: StartRelay) -> None:
    off = await start_relay()
    alice, bob = await off.enter("alice"), await off.enter("bob")
    await alice.send(wire.SetTyping(to=bob.account))
    assert "features.typing" in (await alice.expect(wire.Error)).message
    on = await start_relay(features={"typing": True, "presence": True})
    alice, bob = await on.enter("alice"), await on.enter("bob")
    await alice.say(bob, "we know each other")
    await alice.send(wire.SetTyping(to=bob.account))
    assert (await bob.expect(wire.Typing)).account == alice.account
    await alice.send(wire.SetPresence(status="online"))
    assert (await bob.expect(wire.Presence)).status == "online"
    await alice.close()
    assert (await bob.expect(wire.Presence)).status == "offline"


async def test_a_message_to_oneself_is_refused(relay: Running) -> None:
    alice = await relay.enter("alice")
    with pytest.raises(Refused) as caught:
        await alice.policy(alice)
    assert caught.value.error.name == "bad_request"
