"""Sesame over a pocket relay: which session is used, what is skipped, replayed, reset or lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_modes.contract import Stored
from crypto_modes.e2ee import header, pq_ratchet, ratchet, sessions
from crypto_modes.e2ee.ratchet import SKIP_LIMIT
from crypto_modes.e2ee.session import from_bytes, to_bytes
from crypto_modes.errors import CannotOpen
from crypto_modes.primitives import hmac_pair
from tests.e2ee_relay import ALICE, BOB, Device, Relay, couple, talking

DAY = 24 * 60 * 60 * 1000


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
    assert active(alice) == active(bob)


def active(device: Device) -> bytes:
    """The id of the one session that this device sends with."""
    (raw,) = [raw for (table, _), raw in device.state.rows.items() if table == sessions.ACTIVE]
    return raw[: header.SESSION_SIZE]


def crossed(*, first: bool) -> tuple[Relay, Device, Device]:
    """A couple, both of whom began and have read the other's beginning.

    ``first``: whether it is the first one's session that both will keep.
    """
    while True:
        relay, alice, bob = couple()
        stored = alice.send(BOB, b"alice begins"), bob.send(ALICE, b"bob begins")
        if (active(alice) < active(bob)) == first:
            bob.receive(stored[0])
            alice.receive(stored[1])
            assert active(alice) != active(bob)
            return relay, alice, bob


@pytest.mark.parametrize("first", [True, False])
def test_who_crosses_again_agrees_within_one_round_trip(first: bool) -> None:
    _, alice, bob = crossed(first=first)
    smaller = min(active(alice), active(bob))
    for _ in range(5):
        forth = [alice.send(BOB, b"%d" % number) for number in range(20)]
        back = [bob.send(ALICE, b"%d" % number) for number in range(20)]
        assert {bob.receive(each).warnings for each in forth} == {()}
        assert {alice.receive(each).warnings for each in back} == {()}
        assert active(alice) == active(bob) == smaller


@pytest.mark.parametrize("first", [True, False])
def test_who_has_sent_nothing_there_follows(first: bool) -> None:
    _, alice, bob = crossed(first=first)
    used = active(alice)
    for number in range(sessions.CROSSING_LIMIT + 2):
        assert bob.receive(alice.send(BOB, b"%d" % number)).warnings == ()
    assert active(alice) == active(bob) == used
    assert alice.receive(bob.send(ALICE, b"has been reading")).warnings == ()


@pytest.mark.attack
def test_27_who_goes_back_to_what_both_had_left_shows() -> None:
    _, alice, bob = crossed(first=True)
    forth, back = alice.send(BOB, b"on the losing one"), bob.send(ALICE, b"on the winning one")
    thief = dict(alice.state.rows)
    bob.receive(forth)
    alice.receive(back)
    bob.receive(alice.send(BOB, b"now both know"))
    kept, alice.state.rows = alice.state.rows, thief
    forged = [alice.send(BOB, b"%d" % number) for number in range(3)]
    alice.state.rows = kept
    warnings = {warning for each in forged for warning in bob.receive(each).warnings}
    assert {"session_reset", "fork"} <= warnings


@pytest.mark.attack
def test_27_whose_state_went_back_is_followed_in_the_end_and_shows() -> None:
    _, alice, bob = couple()
    before = dict(alice.state.rows)
    lost, stored = alice.send(BOB, b"lost"), bob.send(ALICE, b"bob begins")
    while not active(alice) < active(bob):
        alice.state.rows = dict(before)
        lost = alice.send(BOB, b"lost")
    bob.receive(lost)
    winning = active(bob)
    bob.send(ALICE, b"nobody can read this any more")
    alice.state.rows = before
    alice.receive(stored)
    for _ in range(sessions.CROSSING_LIMIT):
        opened = bob.receive(alice.send(BOB))
        assert (active(bob), "session_reset" in opened.warnings) == (winning, False)
    assert bob.receive(alice.send(BOB)).warnings == ("session_reset",)
    assert active(bob) == active(alice)
    assert alice.receive(bob.send(ALICE, b"heard again")).content == b"heard again"


CROSSINGS = st.lists(st.tuples(st.booleans(), st.integers(1, 4), st.booleans()), max_size=25)


@settings(max_examples=100, deadline=None)
@given(steps=CROSSINGS)
def test_however_messages_cross_one_round_trip_settles_it(
    steps: list[tuple[bool, int, bool]],
) -> None:
    """Each step: who, how many, and whether they are sent or read."""
    _, alice, bob = couple()
    ways: dict[bool, list[Stored]] = {True: [], False: []}

    def send(forth: bool) -> None:
        ways[forth].append(alice.send(BOB) if forth else bob.send(ALICE))

    def read(forth: bool) -> None:
        assert (bob if forth else alice).receive(ways[forth].pop(0)).warnings == ()

    for forth in (True, False):  # neither has heard of the other's beginning
        send(forth)
    for forth, count, sends in steps:
        for _ in range(count if sends else min(count, len(ways[forth]))):
            send(forth) if sends else read(forth)
    for _ in range(2):  # what is under way, and one more each way, crossing
        for forth in (True, False):
            while ways[forth]:
                read(forth)
        for forth in (True, False):
            send(forth)
    for forth in (True, False):
        read(forth)
    assert active(alice) == active(bob)


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


def test_purging_deletes_what_is_past_its_time_though_nobody_writes() -> None:
    relay, alice, bob = talking()
    late = [alice.send(BOB, b"%d" % number) for number in range(4)]
    bob.receive(late[3])
    relay.clock.now += 6 * DAY
    bob.client.purge()
    assert bob.receive(late[0]).content == b"0"
    assert skipped(bob) == 4  # two keys for each of two messages
    relay.clock.now += 2 * DAY
    bob.client.purge()
    assert skipped(bob) == 0
    with pytest.raises(CannotOpen):
        bob.receive(late[1])
    bob.restart()
    alice.receive(bob.send(ALICE, b"the session goes on"))
    relay.clock.now += 30 * DAY
    bob.client.purge()
    assert sessions.ACTIVE in {table for table, _ in bob.state.rows}
    relay.clock.now += 1
    bob.client.purge()
    assert not {sessions.ACTIVE, sessions.INACTIVE} & {table for table, _ in bob.state.rows}


def skipped(device: Device) -> int:
    return sum(1 for table, _ in device.state.rows if table == sessions.SKIPPED)


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


@pytest.mark.attack(28)
@pytest.mark.parametrize("jump", [SKIP_LIMIT, SKIP_LIMIT + 1, 2**31])
def test_28_a_forged_jump_costs_no_more_than_the_widest_that_is_allowed(
    monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    _, alice, bob = talking()
    place = (sessions.ACTIVE, BOB + bob.id)
    session = from_bytes(alice.state.rows[place])
    session.chains.sent += jump
    session.pq.sent += jump
    alice.state.rows[place] = to_bytes(session)
    forged, before, steps = alice.send(BOB), dict(bob.state.rows), 0

    def counted(key: bytes, first: bytes, second: bytes) -> tuple[bytes, bytes]:
        nonlocal steps
        steps += 1
        return hmac_pair(key, first, second)

    monkeypatch.setattr(ratchet, "hmac_pair", counted)
    monkeypatch.setattr(pq_ratchet, "hmac_pair", counted)
    with pytest.raises(CannotOpen):
        bob.receive(forged)
    assert steps == (2 * (SKIP_LIMIT + 1) if jump == SKIP_LIMIT else 0)
    assert bob.state.rows == before
