"""``chat.compose``: replies, reactions, edits, deletions and timers, between two real clients."""

from __future__ import annotations

import asyncio

import pytest

from client import Chat, Gone, Message
from crypto_modes import content, wire
from crypto_modes.content import Deletion, Edit, Reaction, Timer
from crypto_modes.errors import BadArgument
from tests.conftest import StartRelay
from tests.hostile_relay import HostileRelay, Line, edit, hostile_relay
from tests.test_attack_replay import rest
from tests.test_client import enter, every_mode, link, take, texts


async def histories(*chats: tuple[Chat, str]) -> list[list[Message]]:
    return [await chat.history(peer) for chat, peer in chats]


@every_mode
@pytest.mark.asyncio
async def test_everything_that_can_be_said_is_heard_in_every_mode(
    start_relay: StartRelay, mode: str
) -> None:
    relay = await start_relay(mode=mode)
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        asked = await alice.send("bob", "lunch?")
        await take(bob)
        answer = await bob.compose.reply("alice", asked.id, "yes!")
        (reply,) = await take(alice)
        assert (reply.text, reply.reply_to, reply.mode) == ("yes!", asked.id, mode)
        await alice.compose.react("bob", answer.id, "👍")
        await alice.compose.edit("bob", asked.id, "dinner?")
        await alice.compose.react("bob", asked.id, "☂")
        reaction, edit, _ = await take(bob, 3)
        assert isinstance(reaction.what, Reaction)
        assert (reaction.target, reaction.text) == (answer.id, "👍")
        assert isinstance(edit.what, Edit)
        assert (edit.target, edit.text) == (asked.id, "dinner?")
        assert (edit.evidence is not None) == (mode == "e2ee")
        for history in await histories((alice, "bob"), (bob, "alice")):
            assert texts(history) == ["dinner?", "yes!"]
            assert [each.edited for each in history] == [True, False]
            assert history[0].reactions == {alice.account: "☂"}
            assert history[1].reactions == {alice.account: "👍"}
            assert history[1].reply_to == asked.id
        versions = await bob.compose.versions("alice", asked.id)
        assert texts(versions) == ["lunch?", "dinner?"]
        await alice.compose.delete("bob", asked.id)
        (deletion,) = await take(bob)
        assert isinstance(deletion.what, Deletion)
        for history in await histories((alice, "bob"), (bob, "alice")):
            assert texts(history) == ["", "yes!"]
            assert [each.deleted for each in history] == [True, False]


@pytest.mark.asyncio
async def test_pages_of_which_nothing_is_shown_do_not_end_the_history(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay()
    async with enter(relay, "alice") as alice, enter(relay, "bob"):
        said = await alice.send("bob", "the oldest")
        for emoji in "abcdefg":
            await alice.compose.react("bob", said.id, emoji)
        (found,) = await alice.history("bob", limit=2)
        assert (found.id, [*found.reactions.values()]) == (said.id, ["g"])
        assert await alice.history("bob", before=said.seq, limit=2) == []


@every_mode
@pytest.mark.asyncio
async def test_messages_disappear_from_both_ends(start_relay: StartRelay, mode: str) -> None:
    relay = await start_relay(mode=mode)
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.compose.timer("bob", 1)
        (setting,) = await take(bob)
        assert setting.what == Timer(1)
        events = [asyncio.ensure_future(anext(chat.events())) for chat in (alice, bob)]
        await bob.send("alice", "soon gone")
        assert await bob.compose.timer_of("alice") == 1
        (message,) = await take(alice)
        assert message.text == "soon gone"
        assert message.expires > message.time
        async with asyncio.timeout(30):
            assert {type(await each) for each in events} == {Gone}
        await alice.compose.timer("bob", 0)
        kept = await alice.send("bob", "stays")
        for history in await histories((alice, "bob"), (bob, "alice")):
            assert [each.id for each in history if each.text] == [kept.id]


@pytest.mark.attack(15)
@pytest.mark.asyncio
async def test_a_timer_of_the_operators_does_not_make_files_in_e2ee_vanish(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay(mode="e2ee", modes={"text": "tls"})
    async with (
        hostile_relay(relay) as hostile,
        enter(hostile, "alice") as alice,  # type: ignore[arg-type]  # as a relay
        enter(hostile, "bob") as bob,  # type: ignore[arg-type]  # as above
    ):
        forged = content.encode(Timer(1))
        hostile.down(wire.Deliver, edit(body=lambda body: forged if body == b"hello" else body))
        await bob.send("alice", "hello")
        assert (await take(alice))[0].what == Timer(1)
        await alice.send("bob", b"a file", kind="file")
        (message,) = await take(bob)
        assert (message.mode, message.content, message.expires) == ("e2ee", b"a file", 0)
        await alice.send("bob", "a text")
        (message,) = await take(bob)
        assert message.expires > 0


@pytest.mark.asyncio
async def test_what_the_other_end_would_not_take_is_not_sent(start_relay: StartRelay) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        sent = await alice.send("bob", "mine")
        await take(bob)
        compose = bob.compose
        for attempt in (
            compose.edit("alice", sent.id, "yours"),
            compose.delete("alice", sent.id),
            compose.react("alice", b"u" * 16, "x"),
            compose.reply("alice", b"u" * 16, "to what?"),
            compose.react("alice", sent.id, "x" * 65),
            alice.compose.edit("bob", sent.id, ""),
            alice.compose.timer("bob", content.SECONDS_LIMIT + 1),
        ):
            with pytest.raises(BadArgument):
                await attempt
        assert await rest(alice) == await rest(bob) == []


@pytest.fixture
def prompt(monkeypatch: pytest.MonkeyPatch) -> float:
    """After how many seconds a receipt has come, if there is one."""
    monkeypatch.setattr("server.receipts.DELAY_SECONDS", (0.1, 0.3))
    return 0.5


@every_mode
@pytest.mark.asyncio
@pytest.mark.attack(13)
async def test_what_shows_nothing_gives_no_receipt(
    start_relay: StartRelay, mode: str, prompt: float
) -> None:
    """Bob marks as read whatever his program is shown; Mallory sends what shows nothing."""
    relay = await start_relay(mode=mode)
    async with enter(relay, "mallory") as mallory, enter(relay, "bob") as bob:
        mine = await bob.send("mallory", "hello")
        await take(mallory)
        unknown = b"u" * 16
        silent = (
            content.encode(Reaction(unknown, "x")),
            content.encode(Edit(unknown, "x")),
            content.encode(Deletion(unknown)),
            content.encode(Edit(mine.id, "forged")),
            content.encode(Deletion(mine.id)),
        )
        receipts = asyncio.create_task(receipt(mallory))
        for each in silent * 2:
            await mallory.send("bob", each)
        for message in await rest(bob):
            await bob.mark_read(message)
        # What can be seen gives one, and so it would have come by now.
        await asyncio.sleep(prompt)
        assert not receipts.done()
        await mallory.send("bob", "look")
        (message,) = await take(bob)
        await bob.mark_read(message)
        assert (await asyncio.wait_for(receipts, 30)).seq == message.seq
        assert texts(await bob.history("mallory")) == ["hello", "look"]


@pytest.mark.asyncio
@pytest.mark.attack(13)
async def test_a_stranger_gets_no_receipt_before_the_first_answer(
    start_relay: StartRelay, prompt: float
) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "mallory") as mallory, enter(relay, "bob") as bob:
        receipts = asyncio.create_task(receipt(mallory))
        await mallory.send("bob", "psst")
        (message,) = await take(bob)
        await bob.mark_read(message)
        await asyncio.sleep(prompt)
        assert not receipts.done()
        await bob.send("mallory", "who are you?")
        await bob.mark_read(message)
        assert (await asyncio.wait_for(receipts, 30)).seq == message.seq


async def receipt(chat: Chat) -> wire.Receipt:
    async for event in chat.events():
        if isinstance(event, wire.Receipt):
            return event
    raise AssertionError


def swapping(hostile: HostileRelay, to: str, count: int) -> None:
    """Hold back ``count`` deliveries to a user, then hand them out backwards, numbers and all."""
    held: list[wire.Deliver] = []

    def rule(line: Line, frame: wire.Deliver) -> list[wire.Deliver] | None:
        if line.name != to or len(held) >= count:
            return [frame]
        held.append(frame)
        if len(held) < count:
            return None
        numbers = [(each.seq, each.time) for each in held]
        return [
            type(frame)(
                **{name: getattr(each, name) for name in each.__struct_fields__}
                | {"seq": seq, "time": time}
            )
            for each, (seq, time) in zip(reversed(held), numbers, strict=True)
        ]

    hostile.down(wire.Deliver, rule)


@pytest.mark.asyncio
@pytest.mark.attack(5)
async def test_edits_that_a_relay_swaps_and_renumbers_leave_the_newest_text(
    start_relay: StartRelay,
) -> None:
    async with (
        hostile_relay(await start_relay(mode="e2ee")) as hostile,
        enter(hostile, "alice") as alice,
        enter(hostile, "bob") as bob,
    ):
        said = await alice.send("bob", "I will pay")
        await take(bob)
        swapping(hostile, "bob", 2)
        await alice.compose.edit("bob", said.id, "I will pay 10")
        await alice.compose.edit("bob", said.id, "I will pay 1")
        found = await rest(bob)
        assert any("reordered" in each.warnings for each in found)
        hostile.honest()
        async with asyncio.timeout(30):
            history = await bob.history("alice")
        assert texts(history) == ["I will pay 1"]


@every_mode
@pytest.mark.asyncio
@pytest.mark.attack(17)
async def test_a_deletion_that_is_played_again_deletes_once(
    start_relay: StartRelay, mode: str
) -> None:
    async with (
        hostile_relay(await start_relay(mode=mode)) as hostile,
        enter(hostile, "alice") as alice,
        enter(hostile, "bob") as bob,
    ):
        first, second = await alice.send("bob", "first"), await alice.send("bob", "second")
        await alice.compose.delete("bob", first.id)
        assert len(await take(bob, 3)) == 3
        again = hostile.deliveries("bob")[-1]
        await hostile.line("bob").to_client(*[again] * 20)
        assert await rest(bob) == []
        history = await bob.history("alice")
        assert [(each.id, each.deleted) for each in history] == [
            (first.id, True),
            (second.id, False),
        ]


@pytest.mark.asyncio
@pytest.mark.attack(13)
async def test_the_operator_cannot_edit_what_was_written_out_of_its_reach(
    start_relay: StartRelay,
) -> None:
    """Both lowered the conversation; now the relay could write anything in Alice's name."""
    async with (
        hostile_relay(await start_relay(mode="e2ee")) as hostile,
        enter(hostile, "alice") as alice,
        enter(hostile, "bob") as bob,
    ):
        said = await alice.send("bob", "written in e2ee")
        await take(bob)
        await alice.propose("bob", {"text": "tls"})
        await bob.propose("alice", {"text": "tls"})
        assert (await alice.policy("bob")).modes["text"] == "tls"
        with pytest.raises(BadArgument, match="stronger"):
            await alice.compose.edit("bob", said.id, "not in tls")
        for forged in (Edit(said.id, "forged"), Deletion(said.id)):
            await alice.send("bob", content.encode(forged))  # as the relay could have made it up
        assert await rest(bob) == []
        history = await bob.history("alice")
        assert [(each.text, each.mode) for each in history] == [("written in e2ee", "e2ee")]


@pytest.mark.asyncio
async def test_every_device_of_an_author_may_take_back_what_one_wrote(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as phone:
        await phone.look_up("alice")
        async with enter(relay, "bob") as laptop:
            await link(phone, laptop)
            sent = await phone.send("alice", "from the phone")
            await take(laptop)
            await take(alice)
            await laptop.compose.edit("alice", sent.id, "from the laptop")
            found = await take(alice)
            await alice.compose.react("bob", sent.id, "x")
            assert [each.own for each in await take(phone, 2)] == [True, False]
            await take(laptop)
            for chat, peer in ((alice, "bob"), (phone, "alice"), (laptop, "alice")):
                (shown,) = await chat.history(peer)
                assert (shown.text, shown.edited) == ("from the laptop", True)
                assert shown.reactions == {alice.account: "x"}
            await laptop.compose.delete("alice", sent.id)
            found += await take(alice) + await take(phone)
            assert {warning for each in found for warning in each.warnings} == set()
            for chat, peer in ((alice, "bob"), (phone, "alice"), (laptop, "alice")):
                assert [each.deleted for each in await chat.history(peer)] == [True]
