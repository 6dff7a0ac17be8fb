"""What becomes of messages: altered by those who may, deleted, gone when their time is up."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import Gone, Keystore
from client.alterations import WINDOW
from client.contents import MOST_EDITS, Contents
from client.memory import Memory
from client.messages import Event, Message
from crypto_modes.content import (
    Attachment,
    Deletion,
    Edit,
    Plain,
    Reaction,
    Timer,
    What,
    encode,
    parse,
)
from crypto_modes.contract import Evidence
from tests.keys import Clock

PLACE, ALICE, BOB = b"conversation-001", b"alice-account-01", b"bobby-account-02"
STRENGTHS = {"tls": 1, "at_rest": 2, "e2ee": 3}
FILE = Attachment(
    blob=b"b" * 16,
    name="a.png",
    media_type="image/png",
    size=1,
    ciphertext=bytes(32),
    plaintext=bytes(32),
)


def weaker(mode: str, other: str) -> bool:
    return STRENGTHS[mode] < STRENGTHS[other]


class Room:
    """One device's messages, without a relay; Alice writes unless told otherwise."""

    def __init__(self, keystore: Keystore | None = None) -> None:
        self.clock = Clock()
        self.events: list[Event] = []
        self.memory = Memory(keystore or Keystore.in_memory())
        self.contents = Contents(self.memory, weaker, self.events.append, self.clock)
        self._seq = count(1)

    def made(self, what: What, *, seconds: int = 0, **changes: Any) -> Message:
        seq = next(self._seq)
        message = Message(
            conversation=PLACE,
            seq=seq,
            id=b"%016d" % seq,
            sender=ALICE,
            device=b"a device",
            recipient=BOB,
            kind="text",
            mode="e2ee",
            epoch=1,
            time=self.clock.now,
            content=encode(what, seconds),
            evidence=Evidence(reporter=BOB, message=b"M" * 256, key=b"K" * 32),
        )
        return msgspec.structs.replace(message, **changes)

    def take(self, message: Message) -> Message | None:
        with self.memory.store.transaction():
            return self.contents.take(message)

    def say(self, text: str = "first", **changes: Any) -> Message:
        message = self.made(Plain(text.encode()), **changes)
        assert self.take(message) is not None
        return message

    def alter(self, what: What, **changes: Any) -> Message | None:
        return self.take(self.made(what, **changes))

    def shown(self, message: Message) -> Message | None:
        kept = self.memory.message_with(PLACE, message.id)
        assert kept is not None
        return self.contents.shown(kept)

    def text(self, message: Message) -> str:
        shown = self.shown(message)
        assert shown is not None
        return shown.text


def test_an_edit_shows_and_both_versions_stay_for_a_report() -> None:
    room = Room()
    said = room.say("frist")
    edit = room.alter(Edit(said.id, "first"))
    assert edit is not None
    assert (edit.target, edit.text) == (said.id, "first")
    again = room.alter(Edit(said.id, "first!"))
    assert again is not None
    shown = room.shown(said)
    assert shown is not None
    assert (shown.text, shown.edited, shown.id) == ("first!", True, said.id)
    versions = room.contents.versions(PLACE, said.id)
    assert [each.text for each in versions] == ["frist", "first", "first!"]
    assert all(each.evidence is not None for each in versions)
    assert room.shown(edit) is None


@pytest.mark.attack(13)
@pytest.mark.parametrize(
    ("what", "changes"),
    [
        (Edit(b"1" * 16, "forged"), {"sender": BOB}),
        (Deletion(b"1" * 16), {"sender": BOB}),
        (Edit(b"1" * 16, "late"), {"time": Clock().now + WINDOW + 1}),
        (Deletion(b"1" * 16), {"time": Clock().now + WINDOW + 1}),
        (Edit(b"1" * 16, "by the operator"), {"mode": "at_rest"}),
        (Deletion(b"1" * 16), {"mode": "tls"}),
        (Reaction(b"1" * 16, "x"), {"mode": "tls"}),
        (Deletion(b"1" * 16), {"warnings": ("below_floor",)}),
        (Edit(b"1" * 16, "x"), {"warnings": ("wrong_mode",)}),
    ],
)
def test_who_may_not_alter_a_message_changes_and_shows_nothing(what: Any, changes: Any) -> None:
    room = Room()
    said = room.say()
    what = msgspec.structs.replace(what, target=said.id)
    tried = room.made(what, **changes)
    assert room.take(tried) is None
    shown = room.shown(said)
    assert shown == said
    # The same is taken from whom and when it may be.
    assert room.shown(tried) is None
    assert room.alter(what) is not None
    assert room.shown(said) != said


@pytest.mark.attack(13)
@pytest.mark.parametrize(
    "what", [Reaction(b"u" * 16, "x"), Edit(b"u" * 16, "x"), Deletion(b"u" * 16)]
)
def test_what_alters_an_unknown_message_shows_nothing(what: What) -> None:
    room = Room()
    assert room.alter(what) is None
    assert room.alter(what, sender=BOB) is None


def test_the_last_moment_of_the_day_still_counts() -> None:
    room = Room()
    said = room.say()
    assert room.alter(Edit(said.id, "in time"), time=said.time + WINDOW) is not None


def test_a_forged_edit_that_came_before_its_target_is_not_applied_either() -> None:
    room = Room()
    said = room.made(Plain(b"said"))
    assert room.alter(Edit(said.id, "forged"), sender=BOB) is None
    assert room.alter(Deletion(said.id), sender=BOB) is None
    room.take(said)
    assert room.text(said) == "said"


def test_older_pages_come_last_and_are_altered_all_the_same() -> None:
    room = Room()
    edited, deleted = room.made(Plain(b"one")), room.made(Plain(b"secret"))
    assert room.alter(Edit(edited.id, "two")) is None
    assert room.alter(Deletion(deleted.id)) is None
    shown = room.take(edited)
    assert shown is not None
    assert shown.text == "two"
    gone = room.take(deleted)
    assert gone is not None
    assert (gone.deleted, gone.text) == (True, "")
    kept = room.memory.message_with(PLACE, deleted.id)
    assert kept is not None
    assert (kept.content, kept.evidence) == (b"", None)


def test_what_was_deleted_leaves_the_store_with_its_evidence_and_its_edits() -> None:
    room = Room()
    said = room.say("secret", reply_to=b"r" * 16)
    room.alter(Edit(said.id, "secret too"))
    room.alter(Reaction(said.id, "x"), sender=BOB)
    deletion = room.alter(Deletion(said.id))
    assert deletion is not None
    shown = room.shown(said)
    assert shown is not None
    assert (shown.deleted, shown.content, shown.evidence, shown.reactions) == (True, b"", None, {})
    assert shown.reply_to == b""
    rows = [value for _, value in room.memory.store.scan("client_messages")]
    assert not any(b"secret" in row for row in rows)
    assert room.contents.versions(PLACE, said.id) == []
    # Nothing brings it back, nor alters it any more.
    assert room.alter(Edit(said.id, "back again")) is None
    assert room.alter(Reaction(said.id, "x")) is None
    assert not any(b"back again" in value for _, value in room.memory.store.scan("client_messages"))
    with room.memory.store.transaction():
        room.memory.keep_message(said)
    assert room.shown(said) == shown


def test_reactions_are_one_for_each_user_and_can_be_taken_back() -> None:
    room = Room()
    said = room.say()
    for emoji in ("a", "b"):
        room.alter(Reaction(said.id, emoji))
        room.alter(Reaction(said.id, emoji * 2), sender=BOB)
    shown = room.shown(said)
    assert shown is not None
    assert shown.reactions == {ALICE: "b", BOB: "bb"}
    room.alter(Reaction(said.id, ""))
    shown = room.shown(said)
    assert shown is not None
    assert shown.reactions == {BOB: "bb"}
    assert len(room.memory.store.get("client_alterations", PLACE + said.id) or b"") == 2 * 16


@pytest.mark.attack(5)
def test_two_edits_that_the_relay_swapped_do_not_undo_each_other() -> None:
    """The relay numbers the older one higher; the mode finds it late."""
    room = Room()
    said = room.say()
    room.alter(Edit(said.id, "the newest"))
    room.alter(Edit(said.id, "the older"), warnings=("reordered",))
    assert room.text(said) == "the newest"
    room.alter(Reaction(said.id, "new"))
    assert room.alter(Reaction(said.id, "old"), warnings=("reordered",)) is None
    shown = room.shown(said)
    assert shown is not None
    assert shown.reactions == {ALICE: "new"}


@given(st.permutations(range(5)))
def test_edits_in_any_order_of_arrival_give_the_newest(order: list[int]) -> None:
    room = Room()
    said = room.say()
    edits = [room.made(Edit(said.id, f"{n}")) for n in range(5)]
    for number in order:
        room.take(edits[number])
    assert room.text(said) == "4"


def test_one_message_is_altered_so_often_and_no_more() -> None:
    room = Room()
    said = room.say()
    for number in range(MOST_EDITS):
        assert room.alter(Edit(said.id, f"{number}")) is not None
    assert room.alter(Edit(said.id, "once more")) is None
    assert room.text(said) == f"{MOST_EDITS - 1}"


def test_only_text_is_edited_and_nothing_that_alters() -> None:
    room = Room()
    file = room.made(FILE, kind="image")
    assert room.take(file) is not None
    assert room.alter(Edit(file.id, "x")) is None
    assert room.alter(Reaction(file.id, "x")) is not None
    said = room.say()
    edit = room.alter(Edit(said.id, "x"))
    assert edit is not None
    assert room.alter(Deletion(edit.id)) is None
    assert room.alter(Reaction(edit.id, "x")) is None
    assert room.alter(Deletion(file.id), kind="image") is not None


# -- disappearing ---------------------------------------------------------------------------


def test_a_message_disappears_when_its_time_is_up() -> None:
    room = Room()
    soon, later, stays = room.say("soon", seconds=5), room.say("later", seconds=9), room.say()
    room.alter(Edit(soon.id, "sooner"))
    room.clock.now += 4_999
    assert room.contents.sweep() == room.clock.now + 1
    assert room.text(soon) == "sooner"
    room.clock.now += 1
    assert room.contents.sweep() == room.clock.now + 4_000
    assert room.shown(soon) is None
    assert room.events == [Gone(PLACE, soon.id)]
    kept = room.memory.message_with(PLACE, soon.id)
    assert kept is not None
    assert (kept.content, kept.evidence, kept.deleted) == (b"", None, True)
    rows = [value for _, value in room.memory.store.scan("client_messages")]
    assert not any(b"soon" in row for row in rows)
    assert room.text(later) == "later"
    room.clock.now += 10_000
    assert room.contents.sweep() is None
    assert room.shown(later) is None
    assert room.text(stays) == "first"
    assert room.contents.sweep() is None
    assert len(room.events) == 2


def test_what_was_deleted_first_does_not_disappear_again() -> None:
    room = Room()
    said = room.say(seconds=5)
    room.alter(Deletion(said.id))
    room.clock.now += 6_000
    assert room.contents.sweep() is None
    assert room.events == []
    shown = room.shown(said)
    assert shown is not None
    assert shown.deleted


def test_an_edited_message_still_disappears_and_says_so() -> None:
    room = Room()
    said = room.say("one", seconds=5)
    room.alter(Edit(said.id, "two"))
    shown = room.shown(said)
    assert shown is not None
    assert parse(shown.content).seconds == 5
    assert shown.expires == room.clock.now + 5_000


def test_it_disappears_also_after_a_restart_and_off_the_disk(tmp_path: Path) -> None:
    where, key = tmp_path / "store.db", tmp_path / "store.key"
    keystore = Keystore.open(where, key_file=key)
    room = Room(keystore)
    said = room.say("a secret for a minute", seconds=60)
    keystore.close()
    keystore = Keystore.open(where, key_file=key)
    again = Room(keystore)
    again.clock.now += 61_000
    again.contents.sweep()
    kept = again.memory.message_with(PLACE, said.id)
    assert kept is not None
    assert kept.content == b""
    # Nothing waits in the log either: what was deleted is off the disk, not only out of the table.
    assert Path(f"{where}-wal").stat().st_size == 0
    keystore.close()


@pytest.mark.asyncio
async def test_the_clock_runs_by_itself_and_wakes_for_what_is_sooner() -> None:
    room = Room()
    room.contents = Contents(room.memory, weaker, room.events.append)  # on the real clock
    running = asyncio.create_task(room.contents.run(pytest.fail))
    await asyncio.sleep(0)
    first, second = room.say(seconds=300), room.say(seconds=1)
    async with asyncio.timeout(30):
        while not room.events:
            await asyncio.sleep(0.02)
    running.cancel()
    assert room.events == [Gone(PLACE, second.id)]
    assert room.text(first) == "first"


def test_a_timer_dresses_what_is_sent_from_then_on() -> None:
    room = Room()
    assert room.contents.timed(PLACE, b"text", "e2ee") == b"text"
    set_to = room.alter(Timer(60), sender=BOB)
    assert set_to is not None
    assert parse(room.contents.timed(PLACE, b"text", "e2ee")) == parse(encode(Plain(b"text"), 60))
    # What has a timer of its own, or is nothing that stands, stays as it is.
    for content in (encode(Plain(b"text"), 5), encode(Deletion(b"t" * 16))):
        assert room.contents.timed(PLACE, content, "e2ee") == content
    older = room.made(Timer(5), warnings=("below_floor",))
    room.take(older)
    assert room.contents.timer(PLACE, "e2ee") == 60
    room.alter(Timer(0))
    assert room.contents.timed(PLACE, b"text", "e2ee") == b"text"
    assert room.contents.timed(b"another-place-01", b"text", "e2ee") == b"text"


def test_an_older_timer_does_not_win_over_a_newer_one() -> None:
    room = Room()
    old, new = room.made(Timer(5)), room.made(Timer(60))
    room.take(new)
    room.take(old)
    assert room.contents.timer(PLACE, "e2ee") == 60


@pytest.mark.asyncio
@pytest.mark.parametrize("steps", range(4))
async def test_a_chat_that_closes_right_after_a_message_is_not_kept_waiting(steps: int) -> None:
    room = Room()
    running = asyncio.create_task(room.contents.run(pytest.fail))
    await asyncio.sleep(0)
    room.say(seconds=300)
    for _ in range(steps):
        await asyncio.sleep(0)
    running.cancel()
    _, waiting = await asyncio.wait((running,), timeout=30)
    assert not waiting
