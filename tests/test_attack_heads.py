"""Attacks on what peers say of the key log to each other, which is how a split view shows: row 19.

A relay that shows two logs wants nobody to compare; it can have accounts of its own say as many
heads as it likes, in messages that show nothing, such as reactions to what nobody has.
"""

from __future__ import annotations

import pytest

from client.key_watch import Claim, KeyWatch
from crypto_modes.content import Reaction, encode
from crypto_modes.transparency import key_log
from crypto_modes.transparency.key_log import CLAIMED, HEARD, HEARD_LIMIT, Head
from tests.conftest import StartRelay
from tests.memory_state import MemoryState
from tests.test_client import enter, take, texts

ALICE, BOB = b"alice-account-01", b"bobby-account-02"
FORKED = Head(7, b"f" * 32)


def sybil(number: int) -> bytes:
    return b"sybil-%010d" % number


def kept(state: MemoryState) -> dict[bytes, Head]:
    return {account: Head.decode(row) for account, row in state.scan(HEARD)}


@pytest.mark.attack(19)
def test_whoever_says_many_heads_leaves_room_for_those_of_others() -> None:
    state = MemoryState()
    for size in range(100, 100 + 2 * HEARD_LIMIT):
        assert key_log.heard(state, BOB, Head(size, b"r" * 32)) == ()
    key_log.heard(state, ALICE, FORKED)
    newest = Head(99 + 2 * HEARD_LIMIT, b"r" * 32)
    assert kept(state) == {ALICE: FORKED, BOB: newest}
    # The relay gives an older message last. Whoever's head grew has proofs that it continues that.
    assert key_log.heard(state, BOB, Head(3, b"r" * 32)) == ()
    assert kept(state)[BOB] == newest
    assert key_log.heard(state, BOB, newest._replace(root=b"x" * 32)) == ("split_view",)


@pytest.mark.attack(19)
def test_strangers_of_any_number_do_not_crowd_out_whom_one_has_written_to() -> None:
    state = MemoryState()
    for number in range(2 * HEARD_LIMIT):
        key_log.heard(state, sybil(number), Head(number + 100, b"r" * 32), stranger=True)
    assert len(kept(state)) == HEARD_LIMIT
    assert key_log.heard(state, ALICE, FORKED) == ()
    assert kept(state)[ALICE] == FORKED
    again = Head(500, b"r" * 32)
    key_log.heard(state, sybil(0), again, stranger=True)
    assert kept(state)[sybil(0)] == again


@pytest.mark.attack(19)
def test_whoever_says_a_true_head_is_not_blamed_for_who_said_a_false_one_before() -> None:
    state = MemoryState()
    assert key_log.heard(state, sybil(0), FORKED, stranger=True) == ()
    assert key_log.heard(state, BOB, FORKED._replace(root=b"t" * 32)) == ()
    assert list(state.scan(CLAIMED)) == []
    assert kept(state).keys() == {sybil(0), BOB}


@pytest.mark.asyncio
@pytest.mark.attack(19)
async def test_a_round_of_hearing_ends_with_everybody_heard(start_relay: StartRelay) -> None:
    """However many small heads, which are true, others keep saying: the false one is found."""
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob"), enter(relay, "carol"):
        await alice.key_watch.watch()
        store, head = alice._memory.store, alice.key_watch.log.head()
        rows = await relay.app.store.log_rows(0, 1)
        first = Head(1, key_log.hash_of(rows[0].entry.tag, rows[0].entry.entry))
        forked = Head(head.size - 1, b"f" * 32)
        with store.transaction():
            for number in range(HEARD_LIMIT - 1):
                key_log.heard(store, sybil(number), first, stranger=True)
            key_log.heard(store, b"z" * 16, forked)
        assert await alice.key_watch.hear() == [Claim(b"z" * 16, "", forked)]
        assert list(store.scan(HEARD)) == []


@pytest.mark.asyncio
@pytest.mark.attack(13)
@pytest.mark.attack(19)
async def test_who_was_never_written_to_is_a_stranger_also_in_silence(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def later(self: KeyWatch) -> None:
        """Nothing is held to the log yet."""

    monkeypatch.setattr(KeyWatch, "hear", later)
    relay = await start_relay(mode="e2ee")
    async with (
        enter(relay, "alice") as alice,
        enter(relay, "mallory") as mallory,
        enter(relay, "bob") as bob,
    ):
        await bob.send("alice", "hello")
        await take(alice)
        await mallory.look_up("bob")
        async with enter(relay, "dave"):
            await bob.key_watch.watch()  # so he has seen one entry more than both
        store = bob._memory.store
        with store.transaction():
            for number in range(HEARD_LIMIT):
                key_log.heard(store, sybil(number), Head(99, b"r" * 32), stranger=True)
        await mallory.send("bob", encode(Reaction(b"t" * 16, "x")))
        await mallory.send("bob", "shown")
        await alice.send("bob", "how are you?")
        assert texts(await take(bob, 2)) == ["shown", "how are you?"]
        heard = dict(store.scan(HEARD))
        assert alice.account in heard
        assert mallory.account not in heard
