"""Attacks on trust in keys, and what the key log makes of them: rows 1, 14 and 19.

Real clients, a real relay, and a hostile one in between that holds the relay's own signing key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from client import LogRefusal, OwnKeyRefusal
from crypto_modes import wire
from crypto_modes.errors import KeyRefused, LogRefused
from crypto_modes.keys import SigningKey
from crypto_modes.transparency import key_log
from tests.conftest import StartRelay
from tests.hostile_relay import changed, edit, hostile_relay
from tests.log_liar import false_list, row_of
from tests.log_scene import looked, refused, scenes
from tests.test_client import enter
from tests.test_client_trust import events_of

pytestmark = pytest.mark.asyncio


@pytest.fixture
def scene(start_relay: StartRelay) -> Callable[[], Any]:
    return scenes(start_relay)


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
