"""What a client keeps of its sessions, and of what it sealed lately, and for how long: by its
rows, to the millisecond and to the message.

Keys that outlive their session could open what was written in it; so each row is looked at, and
those of other devices must stay.
"""

from __future__ import annotations

import os

import pytest

from crypto_modes.e2ee import memory, pq_ratchet, ratchet
from crypto_modes.e2ee import session as one_session
from crypto_modes.e2ee.body import Recent
from crypto_modes.e2ee.memory import Memory
from crypto_modes.e2ee.session import Session, Unsealed
from crypto_modes.e2ee.sessions import (
    ACTIVE,
    CROSSED,
    DAY,
    INACTIVE,
    INACTIVE_LIMIT,
    SESSION_LIFE,
    SKIPPED,
    SKIPPED_LIFE,
    Sessions,
)
from crypto_modes.keys import AgreementKey
from tests.memory_state import MemoryState
from tests.mode_ends import ALICE, client_tools

PEER, OTHER = b"alice-account-01alice-phone-0001", b"alice-account-01alice-tablet-002"
NOW = 1_790_000_000_000
CHAIN = b"c" * 32


def session(id: bytes, skipped: int = 0, oldest: int = 0) -> Session:
    """A fresh session whose id is ``id``, 8 bytes."""
    prekey = AgreementKey(os.urandom(32))
    chains = ratchet.responder(b"r" * 32, prekey.raw, prekey.public)
    pq = pq_ratchet.start(b"q" * 32, id * 4, initiator=False)
    return Session(id * 4, chains, pq, b"", True, NOW, skipped, oldest)


def keep(state: MemoryState, peer: bytes, id: bytes, time: int = NOW) -> bytes:
    """A skipped key and a crossing of the session; the key under which the first is stored."""
    key = peer + id + CHAIN + bytes(4)
    state.put(SKIPPED, key, b"k" * 32 + time.to_bytes(8, "big"))
    state.put(CROSSED, peer + id, b"crossing")
    return key


def keys_of(state: MemoryState, table: str) -> set[bytes]:
    return {key for name, key in state.rows if name == table}


def test_the_sessions_used_last_are_kept_and_no_key_of_the_others() -> None:
    state = MemoryState()
    own = Sessions(state)
    # Their ids fall while their times rise: the order of the rows is not that of use.
    ids = [bytes((200 - number,)) * 8 for number in range(INACTIVE_LIMIT + 3)]
    others = {keep(state, OTHER, each) for each in ids}
    state.put(INACTIVE, OTHER + ids[0], one_session.to_bytes(session(ids[0])))
    mine = [keep(state, PEER, each) for each in ids]
    for number, each in enumerate(ids):
        own.sent(PEER, session(each), NOW + number)
        state.put(CROSSED, PEER + each, b"crossing")
    left = ids[-INACTIVE_LIMIT - 1 : -1]
    assert keys_of(state, ACTIVE) == {PEER}
    assert keys_of(state, INACTIVE) == {PEER + each for each in left} | {OTHER + ids[0]}
    assert keys_of(state, SKIPPED) == {*mine[-INACTIVE_LIMIT - 1 :]} | others
    assert keys_of(state, CROSSED) == {PEER + each for each in ids[-INACTIVE_LIMIT - 1 :]} | {
        OTHER + each for each in ids
    }


def test_a_session_that_is_used_again_is_not_inactive_and_crosses_none() -> None:
    state = MemoryState()
    own = Sessions(state)
    first, second = session(b"1" * 8), session(b"2" * 8)
    own.sent(PEER, first, NOW)
    own.sent(PEER, second, NOW + 1)
    state.put(CROSSED, PEER + first.id, second.id)
    own.sent(PEER, first, NOW + 2)
    assert keys_of(state, INACTIVE) == {PEER + second.id}
    assert keys_of(state, CROSSED) == set()


def test_a_session_lives_thirty_days_after_its_last_use() -> None:
    state = MemoryState()
    own = Sessions(state)
    own.sent(PEER, session(b"1" * 8), NOW)
    own.sent(PEER, session(b"2" * 8), NOW)
    for time, found in ((NOW + SESSION_LIFE, True), (NOW + SESSION_LIFE + 1, False)):
        assert (own.active(PEER, time) is not None) == found
        for one in (b"1" * 8, b"2" * 8):
            assert (own.find(PEER, one, time) is not None) == found
    assert SESSION_LIFE == 30 * DAY


def test_a_skipped_key_lives_seven_days() -> None:
    state = MemoryState()
    one = session(b"1" * 8, 1, NOW)
    keep(state, PEER, one.id)
    own = Sessions(state)
    assert own.kept(PEER, one, NOW + SKIPPED_LIFE).find(CHAIN, 0) == b"k" * 32
    assert own.kept(PEER, one, NOW + SKIPPED_LIFE + 1).find(CHAIN, 0) is None
    assert SKIPPED_LIFE == 7 * DAY


@pytest.mark.parametrize("active", [True, False])
def test_purging_leaves_nothing_of_a_dead_session_and_all_of_the_others(active: bool) -> None:
    state = MemoryState()
    own = Sessions(state)
    dead = session(b"1" * 8, 1, NOW)
    place = (ACTIVE, PEER) if active else (INACTIVE, PEER + dead.id)
    state.put(*place, one_session.to_bytes(dead))
    keep(state, PEER, dead.id)
    alive = session(b"2" * 8, 1, NOW + SESSION_LIFE)
    alive.used = NOW + SESSION_LIFE
    state.put(ACTIVE, OTHER, one_session.to_bytes(alive))
    fresh = keep(state, OTHER, alive.id, NOW + SESSION_LIFE)
    own.purge(NOW + SESSION_LIFE + 1)
    assert set(state.rows) == {(ACTIVE, OTHER), (CROSSED, OTHER + alive.id), (SKIPPED, fresh)}


def test_purging_takes_the_keys_of_a_living_session_after_a_week_and_not_before() -> None:
    state = MemoryState()
    own = Sessions(state)
    one = session(b"1" * 8, 2, NOW)
    state.put(ACTIVE, PEER, one_session.to_bytes(one))
    keep(state, PEER, one.id)
    later = PEER + one.id + CHAIN + b"\0\0\0\1"
    state.put(SKIPPED, later, b"l" * 32 + (NOW + DAY).to_bytes(8, "big"))
    before = dict(state.rows)
    own.purge(NOW + SKIPPED_LIFE)
    assert state.rows == before
    own.purge(NOW + SKIPPED_LIFE + 1)
    assert keys_of(state, SKIPPED) == {later}
    kept = own.active(PEER, NOW)
    assert kept is not None
    assert (kept.skipped, kept.oldest) == (1, NOW + DAY)
    own.purge(NOW + DAY + SKIPPED_LIFE + 1)
    assert keys_of(state, SKIPPED) == set()
    kept = own.active(PEER, NOW)
    assert kept is not None
    assert (kept.skipped, kept.oldest) == (0, 0)


def test_a_skipped_key_that_was_used_is_gone_and_counted_off() -> None:
    state = MemoryState()
    own = Sessions(state)
    one = session(b"1" * 8, 3, NOW)
    state.put(ACTIVE, PEER, one_session.to_bytes(one))
    keep(state, PEER, one.id)
    rest = {PEER + one.id + CHAIN + bytes((0, 0, 0, n)) for n in (1, 2)}
    for key in rest:
        state.put(SKIPPED, key, b"k" * 32 + NOW.to_bytes(8, "big"))
    late = Unsealed(b"", True, (), [(CHAIN, 0)])
    assert own.opened(PEER, one, late, NOW + DAY, begins=False, late=True) is None
    assert keys_of(state, SKIPPED) == rest
    kept = own.active(PEER, NOW + DAY)
    assert kept is not None
    assert (kept.skipped, kept.oldest, kept.used) == (2, NOW, NOW + DAY)


def test_opening_takes_the_keys_past_a_week_and_leaves_the_younger_ones() -> None:
    state = MemoryState()
    own = Sessions(state)
    one = session(b"1" * 8, 2, NOW)
    keep(state, PEER, one.id)
    younger = PEER + one.id + CHAIN + b"\0\0\0\1"
    state.put(SKIPPED, younger, b"l" * 32 + (NOW + DAY).to_bytes(8, "big"))
    both, opened = keys_of(state, SKIPPED), Unsealed(b"", False, (), [])
    own.opened(PEER, one, opened, NOW + SKIPPED_LIFE, begins=False, late=False)
    assert (keys_of(state, SKIPPED), one.skipped) == (both, 2)
    own.opened(PEER, one, opened, NOW + SKIPPED_LIFE + 1, begins=False, late=False)
    assert keys_of(state, SKIPPED) == {younger}
    assert (one.skipped, one.oldest) == (1, NOW + DAY)


def test_the_oldest_key_is_the_first_that_was_skipped() -> None:
    """By it is decided whether any is past its time: taken too late, all would live longer."""
    own, one = Sessions(MemoryState()), session(b"1" * 8)
    for number in range(3):
        fresh = (ratchet.Skipped(CHAIN, number, b"k" * 32),)
        opened, now = Unsealed(b"", False, fresh, []), NOW + number * DAY
        own.opened(PEER, one, opened, now, begins=False, late=False)
        assert (one.skipped, one.oldest) == (number + 1, NOW)


@pytest.mark.parametrize("whole", [False, True])
def test_dropping_forgets_a_device_or_a_whole_account_and_nobody_else(whole: bool) -> None:
    state = MemoryState()
    stranger = b"bobby-account-02bobby-phone-0001"
    for peer in (PEER, OTHER, stranger):
        for table, rest in ((ACTIVE, b""), (INACTIVE, b"1" * 8)):
            state.put(table, peer + rest, b"any")
        keep(state, peer, b"1" * 8)
    Sessions(state).drop(PEER[:16] if whole else PEER)
    left = (stranger,) if whole else (OTHER, stranger)
    assert {key[:32] for _, key in state.rows} == set(left)
    assert len(state.rows) == 4 * len(left)


def test_of_what_was_sealed_the_newest_are_kept_in_each_conversation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their keys open what was sent, so that older ones go; no other conversation's do."""
    monkeypatch.setattr(memory, "RECENT_KEPT", 4)
    monkeypatch.setattr(memory, "RECENT_SWEEP", 8)
    kept = Memory(client_tools(ALICE))

    def sealed(counter: int) -> Recent:
        return Recent(counter, bytes(32), 0, bytes(40), b"", b"k" * 32, b"d" * 32)

    kept.keep_recent(b"o" * 16, bytes(16), sealed(1))
    for counter in range(1, 9):
        kept.keep_recent(b"c" * 16, bytes((counter,)) * 16, sealed(counter))
    left = [kept.recent(b"c" * 16, bytes((counter,)) * 16) for counter in range(1, 9)]
    assert left == [None] * 4 + [sealed(counter) for counter in range(5, 9)]
    assert kept.recent(b"o" * 16, bytes(16)) == sealed(1)
