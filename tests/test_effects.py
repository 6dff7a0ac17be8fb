"""What decisions of the staff do at a real relay: felt at once, felt after a restart, undone."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from typing import Any

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed

from crypto_modes import wire
from crypto_modes.errors import Forbidden
from crypto_modes.policy import conversation_id
from server.moderation.actions import Measure
from server.moderation.desk import NoLog
from server.moderation.records import Action, Statement
from tests.blob_client import announce, download, put_all, step, upload
from tests.conftest import Running, StartRelay
from tests.moderation_rig import PEOPLE, MemoryLog, approval, legal_request, preservation
from tests.raw_client import RawClient, Refused
from tests.test_moderation_holds import order

pytestmark = pytest.mark.asyncio

DAY = 86_400_000
LENA = PEOPLE["lena"]


def now() -> int:
    return time.time_ns() // 1_000_000


def at_work(relay: Running) -> MemoryLog:
    """The staff is at its desk, and the log is up."""
    log = MemoryLog()
    desk = relay.app.moderation.desk
    desk.log, desk.staff = log, lambda: PEOPLE
    return log


async def act(relay: Running, account: bytes, kind: str, **fields: Any) -> Action:
    """An action against ``account``, by order of a court."""
    at_work(relay)
    cases = relay.app.moderation.cases
    opening = legal_request(accounts=(account,), served=now() - DAY, due=now() + DAY)
    case = await cases.open(LENA, opening)
    await cases.assign(LENA, case.id, "lena")
    reasons = Statement(facts="you wrote it", rule="house rule 4")
    measure = Measure(kind=kind, account=account, statement=reasons, **fields)  # type: ignore[arg-type] - a name of a kind
    return await relay.app.moderation.actions.on_case(LENA, case.id, measure)


async def undo(relay: Running, action: Action) -> None:
    """The user appeals, and somebody else reverses."""
    appeals = relay.app.moderation.appeals
    await appeals.file(action.account, action.id, "I did not")
    await appeals.decide(PEOPLE["mara"], action.id, "reversed", "a mistake")


async def two(relay: Running) -> tuple[RawClient, RawClient]:
    return await relay.enter("alice"), await relay.enter("bob")


async def test_without_a_vault_nothing_is_decided(relay: Running) -> None:
    desk = relay.app.moderation.desk
    assert isinstance(desk.log, NoLog)
    desk.staff = lambda: PEOPLE
    with pytest.raises(Exception, match=r"moderation\.vault"):
        await relay.app.moderation.cases.open(LENA, legal_request(served=1, due=2))
    assert await relay.app.moderation.cases.page(LENA) == []


# --- mute ---


async def test_who_is_muted_sends_nothing_until_it_ends(relay: Running) -> None:
    alice, bob = await two(relay)
    await alice.say(bob, "before")
    action = await act(relay, alice.account, "mute", until=now() + DAY)
    with pytest.raises(Refused, match="you may not send messages here until 20"):
        await alice.say(bob, "during")
    await bob.say(alice, "others may")
    await relay.restart()
    alice = await alice.again(relay.url)
    with pytest.raises(Refused, match="louver notices"):
        await alice.say(bob, "after a restart")
    at_work(relay)
    await undo(relay, action)
    bob = await bob.again(relay.url)
    await alice.say(bob, "free")
    await bob.expect(wire.Deliver, lambda heard: heard.body == b"free")


async def test_a_mute_that_is_over_is_forgotten_with_the_next_message(relay: Running) -> None:
    alice, bob = await two(relay)
    await act(relay, alice.account, "mute", until=now() + DAY)
    relay.app.relay.effects.muted[alice.account] = now() - 1
    await alice.say(bob, "again")
    assert relay.app.relay.effects.muted == {}


async def test_a_send_pays_no_memory_for_the_check(relay: Running) -> None:
    """What ``Outgoing`` asks of each send: no block is allocated, whoever is muted."""
    muted = relay.app.relay.effects.muted
    muted.update({os.urandom(16): now() + DAY for _ in range(100)})
    assert relay.app.relay.outgoing._muted is muted
    account, found, grown = os.urandom(16), False, []
    gc.disable()
    try:
        for _ in range(5):
            before = sys.getallocatedblocks()
            for _ in range(10_000):
                found = found or account in muted
            grown.append(sys.getallocatedblocks() - before)
    finally:
        gc.enable()
    assert not found
    # The least of a few rounds: other threads of the relay allocate when they like.
    assert min(grown) < 10  # a few of the interpreter's own, none per look-up


# --- suspension ---


async def _closed(client: RawClient) -> int:
    """The code with which the relay closes, and what it was told before is read."""
    try:
        async with asyncio.timeout(30):
            while True:
                await client.socket.recv()
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 0


async def test_a_suspension_closes_every_socket_and_refuses_logins(relay: Running) -> None:
    alice, bob = await two(relay)
    second = await RawClient.open(relay.url)
    await second.register("alice", login=True)
    await second.hello()
    action = await act(relay, alice.account, "suspend")
    # Closed by the decision itself: nothing else happens meanwhile.
    assert [await _closed(each) for each in (alice, second)] == [4530, 4530]
    for _ in range(2):
        stranger = await RawClient.open(relay.url)
        stranger.device, stranger.token = alice.device, alice.token
        hello = wire.Hello(ref=1, token=alice.token, device=alice.device)
        assert "is suspended; `louver notices`" in (await stranger.refusal(hello)).message
        other = await RawClient.open(relay.url)
        with pytest.raises(Refused, match="suspended"):
            await other.register("alice", login=True)
        with pytest.raises(Refused, match="cannot be reached"):
            await bob.say(alice, "are you there?")
        await relay.restart()
        bob = await bob.again(relay.url)
    at_work(relay)
    await undo(relay, action)
    alice = await alice.again(relay.url)
    await bob.say(alice, "welcome back")


async def test_who_is_suspended_reads_why_and_appeals_without_a_session(relay: Running) -> None:
    alice, _ = await two(relay)
    action = await act(relay, alice.account, "suspend")
    stranger = await RawClient.open(relay.url)
    who = {"token": alice.token, "device": alice.device}
    notices = await stranger.ask(wire.GetNotices(ref=1, **who), wire.Notices)  # type: ignore[arg-type] - as above
    (told,) = notices.notices
    assert (told.kind, told.facts, told.action) == ("suspend", "you wrote it", action.id)
    appeal = wire.Appeal(ref=2, action=action.id, words="I did not", **who)  # type: ignore[arg-type] - as above
    assert (await stranger.ask(appeal, wire.Appealed)).action == action.id
    again = msgspec.structs.replace(appeal, ref=3, words="I really did not")
    assert (await stranger.refusal(again)).name == "forbidden"
    assert (await stranger.ask(msgspec.structs.replace(appeal, ref=4), wire.Appealed)).ref == 4
    kept = await relay.app.moderation.appeals.get(PEOPLE["mara"], action.id)
    assert kept.words == "I did not"


async def test_before_hello_notices_need_the_devices_own_token(relay: Running) -> None:
    alice, bob = await two(relay)
    stranger = await RawClient.open(relay.url)
    for wrong in (
        wire.GetNotices(ref=1),
        wire.GetNotices(ref=2, token="lvt_" + "x" * 40, device=alice.device),
        wire.GetNotices(ref=3, token=bob.token, device=alice.device),
        wire.Appeal(ref=4, action=b"x" * 16, words="x"),
        wire.Appeal(ref=5, action=b"x" * 16, words="x", token=bob.token, device=alice.device),
    ):
        assert (await stranger.refusal(wrong)).name == "unauthorized"


# --- removal ---


@pytest.mark.parametrize("mode", ["tls", "at_rest"])
async def test_a_removed_message_is_handed_out_no_more(start_relay: StartRelay, mode: str) -> None:
    relay = await start_relay(mode)
    alice, bob = await two(relay)
    await alice.say(bob, "fine")
    await alice.say(bob, "HARM-0007")
    conversation = conversation_id(alice.account, bob.account)
    place = {"conversation": conversation, "seqs": (2,)}
    action = await act(relay, alice.account, "remove", **place)

    async def page(client: RawClient) -> list[tuple[bytes, bool]]:
        asked = wire.History(ref=client.ref(), conversation=conversation)
        found = (await client.ask(asked, wire.Page)).messages
        return [(each.body, each.removed) for each in found]

    for _ in range(2):
        assert await page(alice) == await page(bob) == [(b"fine", False), (b"", True)]
        fresh = await RawClient.open(relay.url)
        await fresh.register("bob", login=True)
        await relay.restart()
        alice, bob = await alice.again(relay.url), await bob.again(relay.url)
    at_work(relay)
    await undo(relay, action)
    assert await page(bob) == [(b"fine", False), (b"HARM-0007", False)]


async def test_what_waits_for_a_device_comes_as_a_tombstone(relay: Running) -> None:
    alice, bob = await two(relay)
    await bob.socket.close()
    await alice.say(bob, "HARM-0007")
    place = {"conversation": conversation_id(alice.account, bob.account), "seqs": (1,)}
    await act(relay, alice.account, "remove", **place)
    bob = await bob.again(relay.url)
    (heard,) = await bob.hear(1)
    assert (heard.body, heard.removed, heard.seq, heard.sender) == (b"", True, 1, alice.account)


async def test_only_what_its_author_wrote_is_removed(relay: Running) -> None:
    alice, bob = await two(relay)
    await bob.say(alice, "mine")
    conversation = conversation_id(alice.account, bob.account)
    for seqs in ((1,), (2,)):
        with pytest.raises(Exception, match="written by this account"):
            await act(relay, alice.account, "remove", conversation=conversation, seqs=seqs)


# --- notices ---


async def test_who_is_there_is_told_at_once_and_who_is_not_when_he_comes(relay: Running) -> None:
    alice, bob = await two(relay)
    await bob.socket.close()
    while bob.account in relay.app.relay.sessions:
        await asyncio.sleep(0.01)
    await act(relay, alice.account, "warn")
    pushed = await alice.expect(wire.Notices)
    assert (pushed.ref, pushed.notices[0].kind) == (0, "warn")
    action = await act(relay, bob.account, "warn")
    bob = await bob.again(relay.url)
    (told,) = (await bob.expect(wire.Notices)).notices
    assert (told.action, told.read, told.number > 0) == (action.id, False, True)
    read = wire.GetNotices(ref=bob.ref(), read=(told.id,))
    assert [each.read for each in (await bob.ask(read, wire.Notices)).notices] == [True]
    later = wire.GetNotices(ref=bob.ref(), after=told.number)
    assert (await bob.ask(later, wire.Notices)).notices == ()


async def test_a_report_is_work_as_soon_as_it_is_handed_in(relay: Running) -> None:
    at_work(relay)
    alice, _ = await two(relay)
    relay.app.relay.reports._team = b"k" * 1216
    tags = (os.urandom(32), os.urandom(32))
    frame = wire.Report(ref=alice.ref(), id=os.urandom(16), tags=tags, sealed=b"sealed")
    await alice.ask(frame, wire.Reported)
    queue = relay.app.moderation.queue
    while not (page := await queue.page(PEOPLE["mara"])):
        await asyncio.sleep(0.01)
    assert (page[0].reporter, page[0].messages, page[0].state) == (alice.account, 2, "open")


# --- preservation ---


async def hold(relay: Running, account: bytes) -> bytes:
    """Keep what ``account`` sent; the id of the hold."""
    at_work(relay)
    cases, holds = relay.app.moderation.cases, relay.app.moderation.holds
    opening = preservation(accounts=(account,), served=now() - DAY, due=now() + DAY)
    case = await cases.open(LENA, opening)
    await cases.assign(LENA, case.id, "lena")
    held = await holds.ask(LENA, order(case, place=account))
    for who in ("sven", "luca"):
        held = await holds.approve(PEOPLE[who], held.id, approval(who, held.order))
    assert held.state == "in_force"
    return held.id


async def lift(relay: Running, held: bytes, account: bytes) -> None:
    at_work(relay)
    holds = relay.app.moderation.holds
    found = await holds.get(LENA, held)
    case = await relay.app.moderation.cases.get(LENA, found.case)
    found = await holds.ask_lift(LENA, held, order(case, "lift", place=account))
    assert found.lift is not None
    for who in ("sven", "luca"):
        found = await holds.approve(PEOPLE[who], held, approval(who, found.lift))


async def test_what_is_kept_is_not_shredded(start_relay: StartRelay) -> None:
    relay = await start_relay("at_rest")
    alice, bob = await two(relay)
    await alice.say(bob, "evidence")
    held = await hold(relay, alice.account)
    for _ in range(2):
        for names in (("alice", ""), ("alice", "bob"), ("bob", "alice")):
            with pytest.raises(Forbidden, match="must be kept for now") as caught:
                await relay.app.key_care.shred(*names)
            assert not {"alice", "bob", "Amtsgericht", "court"} & {*str(caught.value).split()}
        await relay.restart()
    assert (await relay.app.key_care.status())["shredded"] == 0
    await relay.app.key_care.shred("bob", "")  # what Bob sent is not Alice's
    await lift(relay, held, alice.account)
    assert (await relay.app.key_care.shred("alice", "bob"))["shredded"] == 1


async def test_a_kept_conversation_keeps_the_keys_of_both(start_relay: StartRelay) -> None:
    relay = await start_relay("at_rest")
    alice, bob = await two(relay)
    carol = await relay.enter("carol")
    await alice.say(bob, "evidence")
    await alice.say(carol, "else")
    relay.app.key_care.keeping.set(conversation_id(alice.account, bob.account), on=True)
    for names in (("alice", ""), ("bob", ""), ("bob", "alice")):
        with pytest.raises(Forbidden, match="must be kept"):
            await relay.app.key_care.shred(*names)
    assert (await relay.app.key_care.shred("alice", "carol"))["shredded"] == 1


async def test_a_kept_attachment_is_out_of_reach_and_stays_until_the_hold_ends(
    relay: Running,
) -> None:
    alice, bob = await two(relay)
    await alice.say(bob, "look")
    kept = await upload(alice, bob, b"evidence")
    unkept = await alice.ask(await announce(alice, bob, b"draft"), wire.Blob)
    await put_all(alice, unkept.id, b"draft")
    held = await hold(relay, alice.account)
    dropped = await step(alice, "drop", kept)
    assert (dropped.state, dropped.size) == ("dropped", 0)  # as it would be without
    for client in (alice, bob):
        with pytest.raises(Refused, match="no such attachment"):
            await download(client, kept)
    later = now() + 365 * DAY
    await relay.app.relay.blobs.expire(later)
    files = relay.app.relay.store
    assert await files.blob(kept) is not None
    assert await files.blob(unkept.id) is not None
    await lift(relay, held, alice.account)
    assert await relay.app.relay.blobs.expire(later + 365 * DAY) == 2
    assert await files.blob(kept) is None
    assert await files.blob(unkept.id) is None
