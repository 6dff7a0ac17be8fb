"""Two users over a pocket relay: messages, devices, losses, replays, resets, restarts."""

from __future__ import annotations

import os

import msgspec
import pytest

from client.outgoing import WINDOW
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
from crypto_modes.errors import BadArgument, CannotOpen, KeyRefused, LimitExceeded, UnknownDevice
from tests import e2ee_oracle as oracle
from tests.e2ee_relay import ALICE, BOB, Device, couple, talking

DAY = 24 * 60 * 60 * 1000


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
    later = alice.relay.mode.emit(alice.send(BOB, bytes(81)), bob.id)
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


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"conversation": policy.conversation_id(ALICE, b"carol-account-03")},
        {"recipient": b"carol-account-03"},
        {"sender": b"carol-account-03"},
        {"sender": BOB},
        {"mode": "tls"},
        {"commitment": b""},
    ],
)
def test_no_copy_is_only_believed_in_its_place(elsewhere: dict[str, bytes]) -> None:
    _, alice, bob = talking()
    absent = bob.relay.mode.emit(alice.send(BOB), b"bobby-laptop-002")
    assert bob.client.open(absent).warnings == ("no_copy",)
    with pytest.raises(CannotOpen):
        bob.client.open(msgspec.structs.replace(absent, **elsewhere))


def test_a_new_device_can_do_nothing_until_it_is_linked() -> None:
    relay, alice, _ = couple()
    laptop = Device(relay, ALICE, b"alice-laptop-002")
    laptop.client.linker.join("laptop")
    assert laptop.state.rows == {}
    with pytest.raises(KeyRefused, match="link it first"):
        laptop.client.supply(relay.published[ALICE])
    with pytest.raises(UnknownDevice, match="link it first"):
        laptop.send(BOB)
    laptop.link(alice)
    assert relay.left(ALICE, laptop.id) == wire.Published(ref=0, version=1, once=100, kem=100)


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


@pytest.mark.parametrize("refusals", [1, 2])
def test_the_clients_whole_window_may_be_refused_and_still_opens(refusals: int) -> None:
    """Every seal uses up keys, which the receiver must skip: the window must fit its limit."""
    relay, alice, bob = talking()
    drafts = [alice.draft(BOB, b"%d" % number) for number in range(WINDOW)]
    for _ in range(refusals):
        for draft in drafts:
            alice.client.seal(draft)
    stored = [relay.admit(draft, alice.client.seal(draft)) for draft in drafts]
    opened = [bob.receive(each) for each in stored]
    assert [each.content for each in opened] == [draft.content for draft in drafts]
    assert {each.warnings for each in opened} == {()}


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


def test_a_new_epoch_takes_no_room_that_a_message_needs() -> None:
    relay, alice, bob = talking()
    others = [Device(relay, BOB, b"bobby-device-%03d" % number) for number in range(3)]
    for device in others:
        device.link(bob)
    alice.client.supply(relay.published[BOB])
    stored = alice.send(BOB)
    for device in (bob, *others):
        device.receive(stored)
        for _ in range(2):  # a day after its first message, each device proposes an epoch
            alice.receive(device.send(ALICE))
            relay.clock.now += DAY

    def flags(content: bytes) -> list[int]:
        draft = alice.draft(BOB, content)
        return sorted(copy.body[1] for copy in alice.client.seal(draft).copies)

    assert flags(bytes(15_000)) == [0, 0, 2, 2]  # with room for two answers in the frame
    assert flags(b"short") == [0, 0, 2, 2]
    assert flags(b"short") == [0, 0, 0, 0]


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
    with pytest.raises(Need):  # nothing came: that is not the message's fault
        bob.client.open(ghost)
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
