"""Two users over a pocket relay: messages, devices, losses, replays, resets, restarts."""

from __future__ import annotations

import os

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_modes import policy, wire
from crypto_modes.contract import (
    Need,
    NeedBundles,
    NeedDevices,
    NeedPolicy,
    Sealed,
    Stored,
)
from crypto_modes.e2ee import memory, sessions
from crypto_modes.e2ee.session import Envelope, from_bytes
from crypto_modes.errors import BadArgument, CannotOpen, LimitExceeded, UnknownDevice
from tests import e2ee_oracle as oracle
from tests.e2ee_relay import ALICE, BOB, Device, Relay, couple

DAY = 24 * 60 * 60 * 1000


def talking() -> tuple[Relay, Device, Device]:
    """A couple that has exchanged a message each way."""
    relay, alice, bob = couple()
    bob.receive(alice.send(BOB, b"first"))
    alice.receive(bob.send(ALICE, b"answer"))
    return relay, alice, bob


def test_a_conversation() -> None:
    _, alice, bob = couple()
    for number in range(6):
        sender, receiver, to = (alice, bob, BOB) if number % 3 else (bob, alice, ALICE)
        opened = receiver.receive(sender.send(to, b"%d" % number, reply_to=b"r" * 16, kind="image"))
        assert (opened.content, opened.kind, opened.reply_to) == (
            b"%d" % number,
            "image",
            b"r" * 16,
        )
        assert opened.warnings == ()


def test_needs_come_one_kind_at_a_time() -> None:
    _, alice, _ = couple()
    draft = alice.draft(BOB)
    wanted = []
    while True:
        try:
            sealed = alice.client.seal(draft)
            break
        except Need as need:
            wanted.append(type(need.what))
            alice.serve(need)
    assert wanted == [NeedPolicy, NeedDevices, NeedBundles]
    assert [copy.device for copy in sealed.copies] == [b"bobby-phone-0001"]


def test_sizes_are_what_the_design_promises() -> None:
    _, alice, bob = couple()
    first = alice.relay.mode.emit(alice.send(BOB, bytes(100)), bob.id)
    assert len(first.body) + len(first.commitment) <= 2_048
    bob.open(first)
    alice.receive(bob.send(ALICE))
    later = alice.relay.mode.emit(alice.send(BOB, bytes(100)), bob.id)
    assert len(later.body) + len(later.commitment) == 256 + 138


def test_every_device_of_both_users_gets_a_copy() -> None:
    relay, alice, bob = talking()
    laptop = Device(relay, ALICE, b"alice-laptop-002")
    laptop.link(alice)
    bob.client.supply(relay.published[ALICE])
    answer = bob.send(ALICE, b"to both")
    assert [alice.receive(answer).content, laptop.receive(answer).content] == [b"to both"] * 2
    mine = laptop.send(BOB, b"from the laptop")
    assert [bob.receive(mine).content, alice.receive(mine).content] == [b"from the laptop"] * 2
    assert alice.receive(laptop.send(BOB, b"again")).warnings == ()


def test_a_device_without_a_copy_is_told_so() -> None:
    relay, alice, bob = talking()
    stored = alice.send(BOB)
    laptop = Device(relay, ALICE, b"alice-laptop-002")
    assert laptop.receive(stored).warnings == ("no_copy",)
    assert alice.receive(stored).warnings == ("no_copy",)
    assert bob.receive(stored).warnings == ()


def test_a_linked_device_publishes_only_once_it_is_listed() -> None:
    relay, alice, _ = couple()
    laptop = Device(relay, ALICE, b"alice-laptop-002")
    key = alice.client.pinned_key(ALICE)
    assert key is not None
    asked = laptop.client.request_certificate(key)
    assert laptop.client.request_certificate(key) == asked
    assert laptop.client.publication(None) == []
    laptop.client.supply(relay.published[ALICE])
    with pytest.raises(UnknownDevice, match="link it first"):
        laptop.send(BOB)
    with pytest.raises(BadArgument, match="only the device that made the account"):
        laptop.client.certify(asked)
    relay.publish(alice, [alice.client.certify(asked)])
    laptop.client.supply(relay.published[ALICE])
    assert laptop.publish() == wire.Published(ref=0, version=1, once=100, kem=100)


def test_ten_devices_and_no_more() -> None:
    relay, alice, _ = couple()
    for number in range(9):
        Device(relay, ALICE, b"alice-device-%03d" % number).link(alice)
    with pytest.raises(LimitExceeded, match="at most 10 devices"):
        Device(relay, ALICE, b"alice-device-009").link(alice)


def test_state_is_all_there_is() -> None:
    """A client that is started again before every step behaves the same."""
    _, alice, bob = couple()
    late: list[Stored] = []
    for number in range(8):
        sender, receiver, to = (alice, bob, BOB) if number % 2 else (bob, alice, ALICE)
        sender.restart()
        stored = sender.send(to, b"%d" % number)
        if number == 5:
            late.append(stored)
            continue
        receiver.restart()
        assert receiver.receive(stored).content == b"%d" % number
    bob.restart()
    assert bob.receive(late[0]).content == b"5"


def test_the_same_draft_again_is_the_same_text_under_new_keys() -> None:
    relay, alice, bob = talking()
    draft = alice.draft(BOB, b"once")
    first, second = alice.client.seal(draft), alice.client.seal(draft)
    assert first.commitment == second.commitment
    assert first.copies[0].body != second.copies[0].body
    assert bob.receive(relay.admit(draft, second)).warnings == ()
    assert bob.receive(alice.send(BOB, b"next")).warnings == ()
    with pytest.raises(BadArgument, match="used before for another text"):
        alice.client.seal(msgspec.structs.replace(draft, content=b"twice"))


def test_stale_devices_are_sealed_for_again() -> None:
    relay, alice, bob = talking()
    draft = alice.draft(BOB, b"to all of you")
    alice.client.seal(draft)
    tablet = Device(relay, BOB, b"bobby-tablet-002")
    tablet.link(bob)
    alice.client.supply(relay.published[BOB])
    stored = relay.admit(draft, alice.needing(lambda: alice.client.seal(draft)))
    assert bob.receive(stored).warnings == ()
    assert tablet.receive(stored).content == b"to all of you"


def test_a_whole_window_is_sealed_again_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "RECENT_KEPT", 40)
    monkeypatch.setattr(memory, "RECENT_SWEEP", 10)
    relay, alice, bob = talking()
    drafts = [alice.draft(BOB, b"%d" % number) for number in range(100)]
    for draft in drafts:
        alice.client.seal(draft)
    kept = sum(1 for table, _ in alice.state.rows if table == memory.RECENT)
    assert 40 <= kept <= 50
    opened = [bob.receive(relay.admit(draft, alice.client.seal(draft))) for draft in drafts[-40:]]
    assert [each.content for each in opened] == [b"%d" % number for number in range(60, 100)]
    assert [each.warnings for each in opened] == [("gap:60",), *[()] * 39]


def test_an_error_leaves_the_state_as_it_was() -> None:
    _, alice, bob = talking()
    stored = alice.send(BOB, b"text")
    delivery = alice.relay.mode.emit(stored, bob.id)
    before = dict(bob.state.rows)
    for mauled in (
        msgspec.structs.replace(delivery, body=delivery.body[:-1] + b"!"),
        msgspec.structs.replace(delivery, commitment=bytes(32)),
        msgspec.structs.replace(delivery, kind="image"),
    ):
        with pytest.raises(CannotOpen):
            bob.open(mauled)
    assert bob.state.rows == before
    before = dict(alice.state.rows)
    with pytest.raises(LimitExceeded, match="16384"):
        alice.client.seal(alice.draft(BOB, bytes(16 * 1024 + 1)))
    with pytest.raises(Need):
        alice.client.seal(alice.draft(b"carol-account-03"))
    with pytest.raises(BadArgument, match="own account and device"):
        alice.client.seal(alice.draft(BOB, sender=BOB))
    assert alice.state.rows == before
    assert bob.open(delivery).content == b"text"


def test_what_fits_no_frame_is_refused_before_it_is_sent() -> None:
    relay, alice, bob = talking()
    for number in range(3):
        Device(relay, BOB, b"bobby-device-%03d" % number).link(bob)
    alice.client.supply(relay.published[BOB])
    alice.send(BOB, bytes(12 * 1024))
    before = dict(alice.state.rows)
    with pytest.raises(LimitExceeded, match="too long for 4 devices"):
        alice.client.seal(alice.draft(BOB, bytes(16 * 1024)))
    assert alice.state.rows == before


@pytest.mark.attack
def test_17_a_message_opens_once_also_after_a_restart() -> None:
    _, alice, bob = couple()
    for content in (b"first", b"second"):
        stored = alice.send(BOB, content)
        assert bob.receive(stored).content == content
        for _ in range(3):
            bob.restart()
            with pytest.raises(CannotOpen):
                bob.receive(stored)


@pytest.mark.attack
@pytest.mark.parametrize("left", ["one-time keys", "last resort"])
def test_12_a_first_message_begins_one_session(left: str) -> None:
    relay, alice, bob = couple()
    if left == "last resort":
        kept = relay.prekeys[BOB, bob.id]
        kept[:] = [each for each in kept if each.use != "once"]
    stored = alice.send(BOB, b"first")
    bob.receive(stored)
    # Even a client that has forgotten the session does not take the message again.
    bob.state.rows = {
        (table, key): value
        for (table, key), value in bob.state.rows.items()
        if table not in (sessions.ACTIVE, sessions.INACTIVE)
    }
    relay.clock.now += 29 * DAY
    bob.publish(relay.left(BOB, bob.id))
    with pytest.raises(CannotOpen):
        bob.receive(stored)


@pytest.mark.attack
@pytest.mark.parametrize("epoch", [0, 2, 2**60])
def test_28_a_first_message_cannot_make_a_client_ask_for_nonsense(epoch: int) -> None:
    relay, alice, bob = couple()
    delivery = relay.mode.emit(alice.send(BOB), bob.id)
    bob.serve(Need(NeedDevices(ALICE)))
    bob.serve(Need(NeedPolicy(delivery.conversation, ALICE, 1)))
    where = 58 + 32 + 3 * 8
    forged = delivery.body[:where] + epoch.to_bytes(8, "big") + delivery.body[where + 8 :]
    with pytest.raises(CannotOpen):
        bob.client.open(msgspec.structs.replace(delivery, body=forged))
    assert bob.client.open(delivery).content == b"hello"


@pytest.mark.attack
def test_7_a_message_does_not_open_for_anyone_else() -> None:
    relay, alice, bob = talking()
    delivery = relay.mode.emit(alice.send(BOB), bob.id)
    for changed in (
        {"sender": BOB, "recipient": ALICE, "device": bob.id},
        {"conversation": bytes(16)},
        {"id": bytes(16)},
        {"device": b"alice-laptop-002"},
        {"mode": "tls"},
        {"commitment": b""},
    ):
        with pytest.raises(CannotOpen):
            bob.open(msgspec.structs.replace(delivery, **changed))
    with pytest.raises(CannotOpen):
        alice.open(delivery)


@pytest.mark.attack
def test_7_a_sender_cannot_write_into_someone_elses_conversation() -> None:
    _, alice, bob = talking()
    foreign = policy.conversation_id(BOB, b"carol-account-03")
    rows = dict(alice.state.rows)
    for (table, key), value in rows.items():
        if table in ("policies", "policy_spans"):
            alice.state.rows[table, foreign + key[16:]] = value
            bob.state.rows[table, foreign + key[16:]] = value
    stored = alice.send(BOB, conversation=foreign)
    with pytest.raises(CannotOpen):
        bob.receive(stored)


@pytest.mark.attack
@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (2, 0, 1)])
def test_5_reordered_messages_say_so(order: tuple[int, ...]) -> None:
    _, alice, bob = talking()
    stored = [alice.send(BOB, b"%d" % number) for number in range(3)]
    said = [bob.receive(stored[number]).warnings for number in order]
    assert any("reordered" in warnings for warnings in said)
    assert not any("fork" in warnings for warnings in said)
    assert bob.receive(alice.send(BOB)).warnings == ()


@pytest.mark.attack
def test_18_a_dropped_message_shows_at_the_next() -> None:
    _, alice, bob = talking()
    alice.send(BOB, b"dropped")
    alice.send(BOB, b"dropped, too")
    assert bob.receive(alice.send(BOB, b"arrives")).warnings == ("gap:2",)


@pytest.mark.attack
def test_19_a_rolled_back_sender_shows_as_a_fork() -> None:
    _, alice, bob = talking()
    said = {
        key: value
        for key, value in alice.state.rows.items()
        if key[0] in ("e2ee_said", "e2ee_recent")
    }
    bob.receive(alice.send(BOB, b"one history"))
    alice.state.rows |= said
    assert "fork" in bob.receive(alice.send(BOB, b"another")).warnings


@pytest.mark.attack
def test_27_a_clone_fails_after_the_next_turn() -> None:
    _, alice, bob = talking()
    thief = dict(alice.state.rows)
    bob.receive(alice.send(BOB, b"a turn"))
    alice.receive(bob.send(ALICE, b"heals"))
    bob.receive(alice.send(BOB, b"it"))
    alice.receive(bob.send(ALICE, b"all"))
    healed, alice.state.rows = alice.state.rows, thief
    forged = alice.send(BOB, b"from the thief")
    alice.state.rows = healed
    with pytest.raises(CannotOpen):
        bob.receive(forged)


@pytest.mark.attack
def test_27_a_session_that_replaces_a_working_one_shows() -> None:
    _, alice, bob = talking()
    for key in [key for key in alice.state.rows if key[0] == sessions.ACTIVE]:
        del alice.state.rows[key]
    assert bob.receive(alice.send(BOB, b"reinstalled")).warnings == ("session_reset",)
    assert alice.receive(bob.send(ALICE, b"on the new session")).warnings == ()


def test_both_begin_at_once_and_converge_quietly() -> None:
    _, alice, bob = couple()
    crossing = alice.send(BOB, b"a"), bob.send(ALICE, b"b")
    assert bob.receive(crossing[0]).warnings == ()
    assert alice.receive(crossing[1]).warnings == ()
    for number in range(4):
        assert bob.receive(alice.send(BOB, b"%d" % number)).warnings == ()
        assert alice.receive(bob.send(ALICE, b"%d" % number)).warnings == ()
    active = [
        {raw[:8] for (table, _), raw in end.state.rows.items() if table == sessions.ACTIVE}
        for end in (alice, bob)
    ]
    assert active[0] == active[1]


def test_a_late_first_message_takes_no_sessions_place() -> None:
    _, alice, bob = couple()
    late, crossing = alice.send(BOB, b"late"), bob.send(ALICE, b"b")
    alice.receive(crossing)
    assert bob.receive(alice.send(BOB, b"on the session that Bob began")).warnings == ("gap:1",)
    before = bob.state.rows[sessions.ACTIVE, ALICE + alice.id]
    assert bob.receive(late).warnings == ("reordered",)
    assert bob.state.rows[sessions.ACTIVE, ALICE + alice.id] == before
    assert alice.receive(bob.send(ALICE)).warnings == ()


@pytest.mark.attack
def test_27_one_active_and_five_inactive_sessions() -> None:
    relay, alice, bob = talking()
    for _ in range(9):
        for key in [key for key in alice.state.rows if key[0] == sessions.ACTIVE]:
            del alice.state.rows[key]
        relay.clock.now += 1
        bob.receive(alice.send(BOB))
    kept = [table for table, _ in bob.state.rows]
    assert (kept.count(sessions.ACTIVE), kept.count(sessions.INACTIVE)) == (1, 5)


def test_a_session_ends_after_thirty_idle_days() -> None:
    relay, alice, bob = talking()
    late = alice.send(BOB, b"on the old session")
    relay.clock.now += 30 * DAY + 1
    bob.publish(relay.left(BOB, bob.id))
    with pytest.raises(CannotOpen):
        bob.receive(late)
    assert bob.receive(alice.send(BOB, b"anew")).content == b"anew"


def test_two_thousand_late_messages_open() -> None:
    _, alice, bob = talking()
    stored = [alice.send(BOB, b"%d" % number) for number in range(2_001)]
    assert bob.receive(stored.pop()).warnings == ("gap:2000",)
    for number in (0, 1, 999, 1_998, 1_999):
        opened = bob.receive(stored[number])
        assert (opened.content, opened.warnings) == (b"%d" % number, ("reordered",))
    assert sum(1 for table, _ in bob.state.rows if table == sessions.SKIPPED) == 2 * 1_995


@pytest.mark.attack
def test_28_too_far_ahead_is_refused_and_nothing_changes() -> None:
    _, alice, bob = talking()
    for _ in range(2_001):
        alice.client.seal(alice.draft(BOB))
    before = dict(bob.state.rows)
    with pytest.raises(CannotOpen):
        bob.receive(alice.send(BOB))
    assert bob.state.rows == before


def test_skipped_keys_are_forgotten_after_a_week() -> None:
    relay, alice, bob = talking()
    late = alice.send(BOB, b"late")
    bob.receive(alice.send(BOB))
    relay.clock.now += 7 * DAY + 1
    with pytest.raises(CannotOpen):
        bob.receive(late)
    bob.receive(alice.send(BOB))
    assert not [key for table, key in bob.state.rows if table == sessions.SKIPPED]


def test_more_skipped_keys_than_the_limit_push_out_the_oldest() -> None:
    relay, alice, bob = talking()
    first = [alice.send(BOB, b"%d" % number) for number in range(1_500)]
    bob.receive(alice.send(BOB))
    relay.clock.now += 1
    second = [alice.send(BOB, b"%d" % number) for number in range(1_500)]
    bob.receive(alice.send(BOB))
    assert sum(1 for table, _ in bob.state.rows if table == sessions.SKIPPED) == 4_000
    with pytest.raises(CannotOpen):
        bob.receive(first[0])
    assert bob.receive(first[-1]).content == b"1499"
    assert bob.receive(second[0]).content == b"0"


def test_a_device_without_prekeys_is_an_error_and_no_endless_need() -> None:
    _, alice, _ = couple()
    alice.client.supply(alice.relay.published[BOB])
    draft = alice.draft(BOB)
    alice.serve(Need(NeedPolicy(draft.conversation, BOB, 1)))
    with pytest.raises(Need):
        alice.client.seal(draft)
    with pytest.raises(UnknownDevice, match="no prekeys"):
        alice.client.supply(wire.Keys(ref=0, account=BOB, bundles=()))


def test_an_unlisted_sender_is_asked_for_once() -> None:
    relay, alice, bob = talking()
    delivery = relay.mode.emit(alice.send(BOB), bob.id)
    ghost = msgspec.structs.replace(delivery, device=os.urandom(16))
    with pytest.raises(Need) as need:
        bob.client.open(ghost)
    assert need.value.what == NeedDevices(ALICE)
    bob.serve(need.value)
    with pytest.raises(CannotOpen):
        bob.client.open(ghost)


@pytest.mark.attack
@pytest.mark.parametrize("honest", [True, False])
def test_23_a_copy_of_another_text_than_the_committed_one_is_not_shown(honest: bool) -> None:
    """A sender who commits to one text and encrypts another could never be reported for it."""
    relay, alice, bob = talking()
    draft, key = alice.draft(BOB), os.urandom(32)
    message = oracle.message("text", b"abuse", b"", 2, bytes(32), 1)
    shown = oracle.commitment(key, draft.conversation, draft.id, message)
    committed = shown if honest else os.urandom(32)
    digest = policy.digest(relay.policy(ALICE, BOB, 1))
    place = Envelope(1, draft.conversation, draft.id, ALICE, alice.id, BOB, digest, committed)
    session = from_bytes(alice.state.rows[sessions.ACTIVE, BOB + bob.id])
    copies = (wire.Copy(bob.id, session.seal(place, bob.id, key + message)),)
    sealed = Sealed(mode="e2ee", epoch=1, copies=copies, commitment=committed)
    stored = relay.admit(draft, sealed)
    before = dict(bob.state.rows)
    if honest:
        assert bob.receive(stored).content == b"abuse"
        return
    with pytest.raises(CannotOpen):
        bob.receive(stored)
    assert bob.state.rows == before


STEPS = st.lists(
    st.tuples(st.booleans(), st.sampled_from(["send", "send", "next", "newest", "again", "lose"])),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
def test_whatever_the_network_does_each_message_opens_once(steps: list[tuple[bool, str]]) -> None:
    _, alice, bob = couple()
    ways: dict[bool, list[tuple[bytes, Stored]]] = {True: [], False: []}
    seen: dict[bool, list[Stored]] = {True: [], False: []}
    for number, (forth, step) in enumerate(steps):
        sender, receiver, to = (alice, bob, BOB) if forth else (bob, alice, ALICE)
        if step == "send":
            ways[forth].append((b"%d" % number, sender.send(to, b"%d" % number)))
        elif step == "lose" and ways[forth]:
            ways[forth].pop(0)
        elif step == "again" and seen[forth]:
            with pytest.raises(CannotOpen):
                receiver.receive(seen[forth][-1])
        elif step in ("next", "newest") and ways[forth]:
            content, stored = ways[forth].pop(0 if step == "next" else -1)
            opened = receiver.receive(stored)
            seen[forth].append(stored)
            assert opened.content == content
            assert "fork" not in opened.warnings
            assert "session_reset" not in opened.warnings
