"""Attacks where two features meet, and each could take the other to have checked: rows 1, 5 and 15.

Two lists of devices under one key, files and policies, and timers, edits and deletions beside
backups, exports and modes.
"""

from __future__ import annotations

import asyncio
import io
import os
from base64 import b64encode
from pathlib import Path

import pytest

from client import Chat, OwnKeyRefusal
from client.attachments import reference_of
from client.contents import MOST_EDITS
from crypto_modes import backup, wire
from crypto_modes.content import Deletion, Edit, Reaction, Timer, encode, parse
from crypto_modes.e2ee import devices as lists
from crypto_modes.e2ee.identity import Identity
from crypto_modes.errors import BelowFloor, KeyRefused
from crypto_modes.keys import AgreementKey, SigningKey
from tests.conftest import StartRelay
from tests.hostile_relay import Line, changed, hostile_relay
from tests.log_liar import Liar, row_of, rows_of
from tests.test_client import enter, take, texts
from tests.test_client_backup import KEY, saved
from tests.test_client_trust import events_of
from tests.test_contents import BOB, FILE, PLACE, Room
from tests.test_exporting import exported

# --- a removal that is undone for those who were not told ---


def another_list(chat: Chat, before: wire.Devices, version: int) -> wire.Devices:
    """A list with one device more, by whoever else holds the account key."""
    own = chat._trust.verifying().linker._memory.identity  # type: ignore[attr-defined]  # of e2ee
    assert isinstance(own, Identity)
    assert before.list is not None
    key = own.account_signer()
    signing, agreement = SigningKey(os.urandom(32)), AgreementKey(os.urandom(32))
    request = lists.Request(os.urandom(16), signing.public, agreement.public, 1, b"")
    request = request._replace(signature=signing.sign(request.signed(chat.account)))
    named = (*before.list.certificates, lists.certify(chat.account, key, request))
    return changed(before, list=lists.sign_list(chat.account, key, version, named))  # type: ignore[no-any-return]  # a frame of the same type


@pytest.mark.asyncio
@pytest.mark.attack(1)
@pytest.mark.parametrize("versions", [(2, 2), (3, 2)], ids=["of one version", "going back"])
async def test_own_lists_that_do_not_follow_each_other_in_the_log_are_said(
    start_relay: StartRelay, versions: tuple[int, int]
) -> None:
    """A relay hides a removal from the other holder of the key until that one has signed a list
    as well. It can show each peer the one it likes; the log holds both, and that must be said.
    """
    relay = await start_relay(mode="e2ee")
    async with hostile_relay(relay) as hostile, enter(hostile, "bob") as bob:  # type: ignore[arg-type]  # as a relay
        honest = await bob.devices(bob.account)
        both = [another_list(bob, honest, version) for version in versions]
        liar = Liar(relay, await rows_of(relay), "bob").between(hostile)
        liar.accounts["bob"] = bob.account
        liar.rows += [row_of(each) for each in both]
        newest = both[0] if versions[0] > versions[1] else both[1]

        def shown(line: Line, frame: wire.Devices) -> wire.Devices:
            return changed(newest, ref=frame.ref)  # type: ignore[no-any-return]  # as above

        hostile.down(wire.Devices, shown)
        with pytest.raises(KeyRefused, match=r"do not follow each other \(number 2\)"):
            await bob.key_watch.watch()
        async with events_of(bob) as seen:
            await bob.key_watch.look()
            await asyncio.sleep(0.05)
        assert [type(event) for event in seen] == [OwnKeyRefusal]


# --- the key of a file goes where the file was meant to go ---


@pytest.mark.asyncio
@pytest.mark.attack(15)
@pytest.mark.parametrize("other", ["tls", "at_rest"])
async def test_a_mode_lowered_at_the_last_moment_does_not_carry_the_key_of_a_file(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """After the upload a message may wait for room among a thousand others. What was sealed for
    two must not have its key sent where the operator reads.
    """
    relay = await start_relay(mode="e2ee")
    async with (
        hostile_relay(relay) as hostile,
        enter(hostile, "alice") as alice,  # type: ignore[arg-type]  # has url and ca
        enter(relay, "bob") as bob,
    ):
        await alice.send("bob", "hello")
        await take(bob)
        waited = alice._outgoing.room

        async def full() -> None:
            await waited()
            await alice.propose("bob", {"file": other})
            await bob.policy("alice")
            await bob.propose("alice", {"file": other})
            await alice._trust.policy(bob.account, fresh=True)

        monkeypatch.setattr(alice._outgoing, "room", full)
        with pytest.raises(BelowFloor):
            await alice.attachments.send("bob", io.BytesIO(b"for two"), name="a.bin")
        assert {sent.mode for sent in hostile.sends("alice")} == {"e2ee"}


@pytest.mark.asyncio
@pytest.mark.attack(15)
async def test_a_mode_raised_at_the_last_moment_has_the_file_sent_again(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = await start_relay(mode="tls")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.send("bob", "hello")
        await take(bob)
        waited = alice._outgoing.room
        raised: list[wire.Policy] = []

        async def full() -> None:
            await waited()
            if not raised:
                raised.append(await alice.propose("bob", {"file": "e2ee"}))

        monkeypatch.setattr(alice._outgoing, "room", full)
        await alice.attachments.send("bob", io.BytesIO(b"for two"), name="a.bin")
        (message,) = await take(bob)
        assert message.mode == "e2ee"
        assert reference_of(message).key


# --- what disappears takes its edits along ---


@pytest.mark.asyncio
async def test_edits_of_what_disappears_are_in_no_backup_and_no_export(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    """An edit is a message of its own, without a time of its own."""
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob", tmp_path) as bob:
        await alice.send("bob", "stays")
        sent = await alice.compose.disappearing("bob", "goes", 3600)
        assert texts(await take(bob, 2)) == ["stays", "goes"]
        await alice.compose.edit("bob", sent.id, "secret passage")
        await alice.compose.react("bob", sent.id, "✗✗")
        assert texts(await take(bob, 2)) == ["secret passage", "✗✗"]
        for chat, name in ((alice, "bob"), (bob, "alice")):
            raw = await exported(chat, name)
            assert b"stays" in raw
            for gone in ("secret passage", "✗✗"):
                assert gone.encode() not in raw
                assert b64encode(gone.encode())[:8] not in raw
            assert b64encode(sent.id) not in raw
    with saved(relay, tmp_path, "bob").open("rb") as stream:
        plain = b"".join(backup.open_(KEY, stream.read))
    assert b"stays" in plain
    for secret in (b"secret passage", "✗✗".encode(), sent.id):
        assert secret not in plain


# --- what alters, and what dresses ---


def test_who_has_edited_often_can_still_take_it_back() -> None:
    room = Room()
    said = room.say()
    for number in range(MOST_EDITS + 1):
        room.alter(Edit(said.id, f"{number}"))
    assert room.alter(Deletion(said.id)) is not None
    shown = room.shown(said)
    assert shown is not None
    assert shown.deleted


def test_a_stranger_to_a_message_does_not_use_up_its_authors_alterations() -> None:
    """A device that gets older pages last does not know before whose message it is."""
    room = Room()
    said = room.made(Edit(b"t" * 16, "not sent yet"))
    target = room.made(Timer(0)).id
    for number in range(MOST_EDITS):
        room.alter(Edit(target, f"{number}"), sender=BOB)
    room.alter(Reaction(target, "x"), sender=BOB)
    assert room.alter(Deletion(target)) is None  # kept for when the page comes
    room.say("regretted", id=target, seq=1, time=said.time)
    shown = room.shown(room.made(Timer(0), id=target))
    assert shown is not None
    assert shown.deleted
    assert room.alter(Deletion(target), sender=BOB) is None


@pytest.mark.attack(5)
def test_a_timer_that_the_relay_gave_late_does_not_take_the_place_of_the_newer() -> None:
    """The relay keeps back the one that switches it off, and numbers it higher."""
    room = Room()
    room.alter(Timer(60))
    room.alter(Timer(0), warnings=("reordered",))
    assert room.contents.timer(PLACE, "e2ee") == 60
    fresh = Room()
    fresh.alter(Timer(60), warnings=("reordered",))  # late, but there is no other
    assert fresh.contents.timer(PLACE, "e2ee") == 60


@pytest.mark.attack(15)
@pytest.mark.parametrize("seconds", [0, 1])
def test_a_timer_binds_nothing_in_a_stronger_mode_than_its_own(seconds: int) -> None:
    """Where texts go in a mode that the operator writes, files in ``e2ee`` must neither vanish nor
    stay because it says so."""
    room = Room()
    room.alter(Timer(60))
    room.alter(Timer(seconds), mode="at_rest")
    room.alter(Timer(seconds + 1), mode="tls")
    assert room.contents.timer(PLACE, "e2ee") == 60
    assert room.contents.timer(PLACE, "at_rest") == seconds
    assert room.contents.timer(PLACE, "tls") == seconds + 1
    assert parse(room.contents.timed(PLACE, encode(FILE), "e2ee")).seconds == 60
    # What came in a stronger mode binds all weaker ones until something newer does.
    room.alter(Timer(90))
    assert {room.contents.timer(PLACE, mode) for mode in ("tls", "at_rest", "e2ee")} == {90}


@pytest.mark.attack(15)
def test_a_timer_in_the_kind_of_a_file_does_not_dress_texts() -> None:
    """Where files go in a mode that the operator writes, texts in ``e2ee`` must not vanish, with
    their evidence, because it says so."""
    room = Room()
    room.alter(Timer(60))
    room.alter(Timer(1), kind="file", mode="tls")
    assert room.contents.timer(PLACE, "e2ee") == 60
