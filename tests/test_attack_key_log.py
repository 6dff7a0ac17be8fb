"""Attacks on trust in keys, and what the key log makes of them: rows 1, 14 and 19.

Real clients, a real relay, and a hostile one in between that holds the relay's own signing key.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from client import Chat, Event, KeyRefusal, LogRefusal, OwnKeyRefusal, SplitView
from client.key_watch import Claim
from crypto_modes import wire
from crypto_modes.contract import KEY_LOG, LOG_HEAD
from crypto_modes.errors import KeyRefused, LogRefused
from crypto_modes.keys import SigningKey
from crypto_modes.transparency import key_log, note
from crypto_modes.transparency.note import Checkpoint
from tests.conftest import Running, StartRelay
from tests.hostile_relay import HostileRelay, Line, changed, edit, hostile_relay
from tests.log_liar import Liar, false_list, row_of, rows_of
from tests.test_client import enter, take
from tests.test_client_trust import events_of

pytestmark = pytest.mark.asyncio


class Scene:
    """A relay in ``e2ee``, a hostile one before it, and people who come when they are asked."""

    def __init__(self, relay: Running, hostile: HostileRelay, stack: AsyncExitStack) -> None:
        self.relay = relay
        self.hostile = hostile
        self._stack = stack

    async def enter(self, name: str, place: Path | None = None, **options: Any) -> Chat:
        chat = enter(self.hostile, name, place, **options)  # type: ignore[arg-type]  # as a relay
        return await self._stack.enter_async_context(chat)

    async def liar(self, *names: str, **options: Any) -> Liar:
        """Another log for these users, as yet with the same entries."""
        return Liar(self.relay, await rows_of(self.relay), *names, **options).between(self.hostile)

    def substitute(self, false: wire.Devices, *names: str) -> None:
        """Show these users another key and list for the account in ``false``."""

        def rule(line: Line, frame: wire.Devices) -> wire.Devices:
            if line.name not in names or frame.account != false.account:
                return frame
            return changed(frame, key=false.key, list=false.list)  # type: ignore[no-any-return]  # a frame of the same type

        self.hostile.down(wire.Devices, rule)


@pytest.fixture
def scene(start_relay: StartRelay) -> Callable[[], Any]:
    @asynccontextmanager
    async def made() -> AsyncIterator[Scene]:
        relay = await start_relay(mode="e2ee")
        async with hostile_relay(relay) as hostile, AsyncExitStack() as stack:
            yield Scene(relay, hostile, stack)

    return made


async def looked(chat: Chat) -> None:
    """The look on connecting is over, whether it came first or waited for this one."""
    await chat.key_watch.watch()
    await chat.key_watch.watch()


async def refused(chat: Chat, peer: str, why: str) -> list[Event]:
    """Nothing may be sent to ``peer``; the events that say so."""
    async with events_of(chat) as seen:
        with pytest.raises((LogRefused, KeyRefused), match=why):
            await chat.send(peer, "a secret")
        await asyncio.sleep(0.05)
    return [event for event in seen if isinstance(event, KeyRefusal)]


# --- a false key on first contact ---


@pytest.mark.attack(14)
async def test_a_key_that_is_not_in_the_log_is_not_believed_and_nothing_is_sent(scene: Any) -> None:
    async with scene() as here:
        bob, alice = await here.enter("bob"), await here.enter("alice")
        here.substitute(false_list(bob.account), "alice")
        (event,) = await refused(alice, "bob", "cannot show these keys in its key log")
        assert event.peer == bob.account
        assert here.hostile.sends("alice") == []
        assert alice._trust.verifying().pinned_key(bob.account) is None


@pytest.mark.attack(14)
@pytest.mark.parametrize(
    ("lie", "why"),
    [
        (edit(inclusion=lambda path: (b"\0" * 32, *path[1:])), "does not lead to its log's root"),
        (edit(inclusion=lambda path: path[:-1]), "does not lead to its log's root"),
        (edit(index=lambda index: index + 1), "does not lead to its log's root"),
        (edit(checkpoint=lambda raw: raw.replace(b"\n", b"\n1", 1)), "does not hold"),
        (edit(checkpoint=b""), "a note is a text"),
        (edit(size=1), "something else than was asked for"),
    ],
    ids=["a false hash", "too short", "another place", "another size", "no checkpoint", "old tree"],
)
async def test_a_forged_proof_is_refused(scene: Any, lie: Any, why: str) -> None:
    async with scene() as here:
        await here.enter("carol")
        await here.enter("dave")
        await here.enter("bob")
        alice = await here.enter("alice")
        await alice.key_watch.watch()
        here.hostile.down(wire.Log, lie)
        assert len(await refused(alice, "bob", why)) == 1
        assert here.hostile.sends("alice") == []
        here.hostile.honest()
        await alice.send("bob", "hello")


@pytest.mark.attack(1)
async def test_a_device_that_the_relay_adds_is_refused_also_with_an_entry_in_the_log(
    scene: Any,
) -> None:
    async with scene() as here:
        bob, alice = await here.enter("bob"), await here.enter("alice")
        honest = await bob.devices(bob.account)
        extra = false_list(bob.account).list
        assert honest.list is not None
        assert extra is not None
        listed = msgspec.structs.replace(
            honest.list, version=2, certificates=(*honest.list.certificates, *extra.certificates)
        )
        false = changed(honest, list=listed)
        (await here.liar("alice")).rows.append(row_of(false))
        here.substitute(false, "alice")
        assert len(await refused(alice, "bob", "signature does not verify")) == 1
        assert here.hostile.sends("alice") == []


# --- a false key in the log ---


@pytest.mark.attack(14)
async def test_the_owner_finds_a_false_key_that_was_entered_for_everybody(scene: Any) -> None:
    async with scene() as here:
        bob = await here.enter("bob")
        await bob.key_watch.watch()
        liar = await here.liar("bob")
        liar.accounts["bob"] = bob.account
        liar.rows.append(row_of(false_list(bob.account, version=2)))
        with pytest.raises(KeyRefused, match=r"another key for your account \(number 1\)"):
            await bob.key_watch.watch()
        liar.hidden.add(1)
        async with events_of(bob) as seen:
            await bob.key_watch.look()
            await asyncio.sleep(0.05)
        assert [type(event) for event in seen] == [OwnKeyRefusal]


@pytest.mark.attack(14)
async def test_an_own_entry_that_the_relay_does_not_open_is_said(scene: Any) -> None:
    async with scene() as here:
        bob = await here.enter("bob")
        liar = await here.liar("bob")
        liar.accounts["bob"] = bob.account
        liar.rows.append(row_of(false_list(bob.account, version=2)))
        liar.hidden.add(1)
        with pytest.raises(KeyRefused, match="that the relay does not show you"):
            await bob.key_watch.watch()


@pytest.mark.attack(14)
async def test_an_own_entry_that_is_left_out_of_the_pages_does_not_fit_the_root(scene: Any) -> None:
    async with scene() as here:
        bob, carol = await here.enter("bob"), await here.enter("carol")
        assert carol.unlinked is None
        liar = await here.liar("bob")
        liar.accounts["bob"] = bob.account
        liar.rows.insert(1, row_of(false_list(bob.account, version=2)))
        liar.listed = [*liar.rows[:1], liar.rows[2], liar.rows[2]]
        with pytest.raises(LogRefused, match="lists other entries of its key log than it signed"):
            await bob.key_watch.watch()
        liar.listed = liar.rows[:1]
        with pytest.raises(LogRefused, match="does not list the entries"):
            await bob.key_watch.watch()


@pytest.mark.attack(14)
async def test_a_false_key_entered_before_the_account_was_made_is_found(scene: Any) -> None:
    """A relay chooses the ids of accounts, so it can be early."""
    async with scene() as here:
        bob = await here.enter("bob")
        await looked(bob)
        liar = await here.liar("bob")
        liar.accounts["bob"] = bob.account
        liar.rows.insert(0, row_of(false_list(bob.account, version=1)))
        bob._memory.store.delete("key_log", b"head")
        bob._memory.store.delete("key_log", b"frontier")
        with pytest.raises(KeyRefused, match=r"another key for your account \(number 0\)"):
            await bob.key_watch.watch()


@pytest.mark.attack(14)
async def test_whose_keys_the_log_does_not_hold_hears_of_it(scene: Any) -> None:
    async with scene() as here:
        bob = await here.enter("bob")
        await looked(bob)
        liar = await here.liar("bob")
        liar.rows[:] = [row_of(false_list(b"somebody else 00"))]
        bob._memory.store.delete("key_log", b"head")
        bob._memory.store.delete("key_log", b"frontier")
        for row, _ in list(bob._memory.store.scan("key_log_own")):
            bob._memory.store.delete("key_log_own", row)
        with pytest.raises(KeyRefused, match="your own keys are not in the relay's key log"):
            await bob.key_watch.watch()


# --- two logs ---


@pytest.mark.attack(14)
@pytest.mark.attack(19)
@pytest.mark.parametrize("longer", [False, True])
async def test_a_split_view_shows_when_the_two_sides_write_to_somebody(
    scene: Any, longer: bool
) -> None:
    """Alice sees a log of her own, with a false key for Bob. Carol sees the real one."""
    async with scene() as here:
        bob, carol = await here.enter("bob"), await here.enter("carol")
        false = false_list(bob.account)
        liar = await here.liar("alice")
        here.substitute(false, "alice")
        liar.rows[0] = row_of(false)
        alice = await here.enter("alice")
        liar.rows += [row for row in await rows_of(here.relay) if row.account == alice.account]
        await alice.devices("bob")
        assert alice._trust.verifying().pinned_key(bob.account) == false.key  # deceived, so far
        if longer:
            await here.enter("dave")
        await carol.key_watch.watch()
        await alice.send("carol", "have you seen Bob's key?")
        async with events_of(carol) as seen:
            (message,) = await take(carol)
            assert message.warnings == (() if longer else ("split_view",))
            claims = await carol.key_watch.hear()
            await asyncio.sleep(0.05)
        (event,) = (event for event in seen if isinstance(event, SplitView))
        assert event == SplitView(alice.account, alice.key_watch.log.head())
        assert claims == [Claim(alice.account, "alice", alice.key_watch.log.head())]


@pytest.mark.attack(19)
async def test_of_one_log_at_different_times_nothing_is_said(scene: Any) -> None:
    async with scene() as here:
        alice, bob = await here.enter("alice"), await here.enter("bob")
        await bob.send("alice", "early")
        await take(alice)
        for name in ("carol", "dave", "erin"):
            await here.enter(name)
        await alice.key_watch.watch()
        await alice.send("bob", "later")
        (message,) = await take(bob)
        assert message.warnings == ()
        await bob.send("alice", "back")
        assert (await take(alice))[0].warnings == ()
        for chat in (alice, bob):
            assert await chat.key_watch.hear() == []
            assert list(chat._memory.store.scan("key_log_heard")) == []


@pytest.mark.attack(19)
async def test_a_head_that_the_relay_denies_is_a_split_view(scene: Any) -> None:
    async with scene() as here:
        bob = await here.enter("bob")
        await bob.key_watch.watch()
        ahead = key_log.Head(99, b"r" * 32)
        assert key_log.heard(bob._memory.store, b"c" * 16, ahead) == ()
        assert await bob.key_watch.hear() == [Claim(b"c" * 16, "", ahead)]


@pytest.mark.attack(19)
@pytest.mark.parametrize("size", [1, 3, 99])
async def test_what_a_stranger_invents_of_the_log_stops_nothing_and_bears_his_name(
    scene: Any, size: int
) -> None:
    async with scene() as here:
        bob, alice = await here.enter("bob"), await here.enter("alice")
        mallory = await here.enter("mallory")
        await looked(alice)
        await mallory.look_up("alice")
        false = key_log.Head(size, b"f" * 32)
        mallory._memory.store.put(KEY_LOG, LOG_HEAD, false.encode())
        await mallory.send("alice", "the relay lies to you!")
        async with events_of(alice) as seen:
            (message,) = await take(alice)
            found = await alice.key_watch.verify("bob")
            await asyncio.sleep(0.05)
        assert message.warnings == (("split_view",) if size == 3 else ())
        assert [event for event in seen if isinstance(event, SplitView)] == [
            SplitView(mallory.account, false)
        ]
        assert found.claims == (Claim(mallory.account, "mallory", false),)
        # Said once: a stranger does not get to say it again with every start.
        assert (await alice.key_watch.verify("bob")).claims == ()
        assert bob.unlinked is None


@pytest.mark.attack(19)
async def test_two_signed_checkpoints_that_contradict_each_other_stop_everything(
    scene: Any, tmp_path: Path
) -> None:
    """Alice is shown another log than Carol; Carol tells her checkpoint by another way."""
    async with scene() as here:
        bob, carol = await here.enter("bob"), await here.enter("carol")
        alice = await here.enter("alice", tmp_path)
        await looked(alice)
        liar = await here.liar("carol")
        liar.rows[0] = row_of(false_list(bob.account))
        carol._memory.store.delete(KEY_LOG, b"head")
        await carol.key_watch.log.update()
        theirs = carol.key_watch.log.state().note
        with pytest.raises(LogRefused, match="two key logs that contradict"):
            await alice.key_watch.log.compare(theirs)
        assert alice.key_watch.log.proof() == theirs
        for _ in range(2):  # and it stays so
            with pytest.raises(LogRefused, match="two key logs that contradict"):
                await alice.key_watch.verify("bob")
        async with events_of(alice) as seen:
            await alice.key_watch.look()
            await asyncio.sleep(0.05)
        assert [type(event) for event in seen] == [LogRefusal]
        alice.key_watch.log.forget(alice.key_watch.log.state().vkey)
        await alice.key_watch.verify("bob")


@pytest.mark.attack(19)
async def test_a_relay_that_signs_another_root_for_one_size_has_proved_it_itself(
    scene: Any,
) -> None:
    async with scene() as here:
        bob, alice = await here.enter("bob"), await here.enter("alice")
        await looked(alice)
        liar = await here.liar("alice")
        liar.rows[0] = row_of(false_list(bob.account))
        with pytest.raises(LogRefused, match="two key logs that contradict"):
            await alice.key_watch.log.update()
        liar.lying = False
        with pytest.raises(LogRefused, match="two key logs that contradict"):
            await alice.key_watch.verify("bob")


@pytest.mark.attack(19)
async def test_a_checkpoint_that_the_log_has_not_signed_proves_nothing(scene: Any) -> None:
    async with scene() as here:
        await here.enter("bob")
        alice = await here.enter("alice")
        await looked(alice)
        log = alice.key_watch.log
        mine = log.state().note
        assert await log.compare(mine) == log.head()
        forged = Checkpoint(log.state().vkey.split("+")[0], 1, b"f" * 32)
        stranger = SigningKey(b"a key that somebody just made up")
        for said in (note.sign(forged, stranger).encode(), mine.replace(b"\n2\n", b"\n1\n")):
            with pytest.raises(LogRefused, match=r"trusted|does not hold"):
                await log.compare(said)
        assert log.proof() == b""
        await alice.key_watch.verify("bob")


# --- one log that changes ---


@pytest.mark.attack(19)
async def test_a_log_that_was_put_back_is_said_and_no_new_key_is_believed(scene: Any) -> None:
    async with scene() as here:
        carol, bob, alice = [await here.enter(name) for name in ("carol", "bob", "alice")]
        await alice.send("carol", "before")
        liar = await here.liar("alice")
        del liar.rows[2:]
        async with events_of(alice) as seen:
            await alice.key_watch.look()
            await asyncio.sleep(0.05)
        (event,) = seen
        assert isinstance(event, LogRefusal)
        assert "has 2 entries and had 3 before" in event.reason
        assert len(await refused(alice, "bob", "has 2 entries and had 3 before")) == 1
        assert [send.to for send in here.hostile.sends("alice")] == [carol.account]
        await alice.send("carol", "whom I know I can still write to")
        assert bob.unlinked is None


@pytest.mark.attack(19)
@pytest.mark.parametrize("grown", [0, 1, 5])
async def test_a_log_whose_past_was_changed_is_refused(scene: Any, grown: int) -> None:
    async with scene() as here:
        bob, alice = await here.enter("bob"), await here.enter("alice")
        await alice.key_watch.watch()
        liar = await here.liar("alice")
        liar.rows[0] = row_of(false_list(bob.account))
        liar.rows += [row_of(false_list(bytes([n]) * 16)) for n in range(grown)]
        why = "another key log than before" if grown else "two key logs that contradict"
        with pytest.raises(LogRefused, match=why):
            await alice.key_watch.log.update()


@pytest.mark.attack(14)
async def test_another_log_key_is_refused_until_the_person_takes_it(
    scene: Any, tmp_path: Path
) -> None:
    async with scene() as here:
        await here.enter("bob")
        alice = await here.enter("alice", tmp_path)
        await alice.key_watch.watch()
        liar = await here.liar("alice", key=SigningKey(b"another key of the relay's log.."))
        liar.accounts["alice"] = alice.account
        assert len(await refused(alice, "bob", "another key than before")) == 1
        relay = here.relay.app.store.deployment
        told = key_log.log_of(relay, liar.key.public).encode()
        with pytest.raises(KeyRefused):
            alice.key_watch.log.forget(told[:-1])
        alice.key_watch.log.forget(told)
        await alice.send("bob", "with the key that the operator told me")
        assert alice.key_watch.log.state().vkey == told
        assert [own.version for own in await alice.key_watch.watch()] == [1]
        liar.lying = False
        with pytest.raises(LogRefused, match="another key than before"):
            await alice.key_watch.log.update()


# --- what is no attack ---


async def test_a_key_that_was_replaced_on_purpose_is_no_alarm_on_the_new_device(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as old:
        first = old._trust.verifying().pinned_key(old.account)
        async with enter(relay, "alice", replace_key=True) as new:
            own = await new.key_watch.watch()
            assert [each.version for each in own] == [1, 2]
            assert own[0].key == first != own[1].key
        with pytest.raises(KeyRefused, match="another key for your account"):
            await old.key_watch.watch()


async def test_a_long_log_is_read_in_pages_and_from_where_it_was_left(
    start_relay: StartRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.key_watch.PAGE", 2)
    monkeypatch.setattr("client.key_watch.PAGES_AT_ONCE", 2)
    async with hostile_relay(await start_relay(mode="e2ee")) as hostile:
        for name in ("bob", "carol", "dave", "erin", "frank", "grace"):
            async with enter(hostile, name):  # type: ignore[arg-type]  # as a relay
                pass
        async with enter(hostile, "alice", tmp_path) as alice:  # type: ignore[arg-type]  # as a relay
            assert [own.number for own in await alice.key_watch.watch()] == [6]
            pages = [
                f.start
                for by, f in hostile.said
                if isinstance(f, wire.GetEntries) and by == "alice"
            ]
            assert pages == [0, 2, 4, 6]
        hostile.said.clear()
        async with enter(hostile, "heidi"):  # type: ignore[arg-type]  # as a relay
            pass
        async with enter(hostile, "alice", tmp_path) as alice:  # type: ignore[arg-type]  # as a relay
            assert [own.number for own in await alice.key_watch.watch()] == [6]
        pages = [
            f.start for by, f in hostile.said if isinstance(f, wire.GetEntries) and by == "alice"
        ]
        assert pages == [7]
