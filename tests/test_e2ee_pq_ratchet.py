"""PQ epochs: when they are proposed, what carries them, what is lost, late or forged."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import pytest

from crypto_modes.e2ee import header, pq_ratchet, session
from crypto_modes.e2ee.header import HAS_CIPHERTEXT, HAS_KEY
from crypto_modes.e2ee.pq_ratchet import Answered, Asked, Offered
from crypto_modes.e2ee.ratchet import SKIP_LIMIT
from crypto_modes.errors import CannotOpen, KeyRefused
from tests import e2ee_oracle as oracle
from tests.e2ee_ends import DAY, End, answered, due, entered, talking, turns
from tests.test_e2ee_session import DEVICE, PLACE, couple


class Carried(NamedTuple):
    flags: int
    epoch: int


def seen(copy: bytes) -> Carried:
    return Carried(copy[1], header.parse(copy)[0].pq_epoch)


# -- an epoch after another ---------------------------------------------------------------------


def test_epochs_begin_in_turn_and_carry_each_part_once() -> None:
    one, other = talking()
    turns(one, other, 600)
    assert one.pq.epoch == other.pq.epoch == 11
    parts = sorted(size for size in one.sizes + other.sizes if size)
    assert parts == [1088] * 11 + [1184] * 11
    assert sum(parts) / 600 <= 46  # bytes a message: what modes.md 24 promises


def test_the_first_message_after_fifty_carries_the_key_and_each_end_takes_its_step() -> None:
    one, other = due()
    offer = other.seal()
    assert seen(offer) == (HAS_KEY, 0)
    assert isinstance(other.pq.step, Offered)
    one.open(offer)
    assert isinstance(one.pq.step, Asked)
    answer = one.seal()
    assert seen(answer) == (HAS_CIPHERTEXT, 0)
    assert isinstance(one.pq.step, Answered)
    other.open(answer)
    assert (other.pq.epoch, other.pq.step) == (1, None)
    first = other.seal()
    assert seen(first) == (0, 1)
    assert one.pq.epoch == 0
    one.open(first)
    assert (one.pq.epoch, one.pq.step) == (1, None)
    assert seen(one.seal()) == (0, 1)


def test_nothing_is_proposed_before_fifty_messages() -> None:
    one, other = talking()
    for _ in range(47):
        other.open(one.seal())
    assert seen(other.seal()) == (0, 0)
    assert seen(other.seal()) == (HAS_KEY, 0)


def test_or_before_a_day_of_traffic() -> None:
    one, other = talking()
    one.open(other.seal(now=DAY))
    assert seen(other.seal(now=DAY)) == (0, 0)
    assert seen(other.seal(now=DAY + 1)) == (HAS_KEY, 0)


def test_a_day_begins_with_the_first_message_of_the_epoch() -> None:
    one, _ = entered()
    assert one.pq.epoch == 1
    assert seen(one.seal(now=9 * DAY)) == (0, 1)
    assert seen(one.seal(now=10 * DAY - 1)) == (0, 1)
    assert seen(one.seal(now=10 * DAY)) == (HAS_KEY, 1)


@pytest.mark.parametrize("epoch", [0, 1])
def test_only_one_end_proposes(epoch: int) -> None:
    one, other = talking() if epoch == 0 else entered()
    for _ in range(120):
        one.seal()
        other.seal()
    offered = [isinstance(end.pq.step, Offered) for end in (one, other)]
    assert offered == ([False, True] if epoch == 0 else [True, False])


# -- sizes --------------------------------------------------------------------------------------


def test_a_sender_whom_nobody_answers_repeats_the_key_every_sixty_fourth_time() -> None:
    _, other = due()
    other.sizes.clear()
    keys = {copy[58 : 58 + 1184] for copy in (other.seal() for _ in range(1_000)) if copy[1]}
    assert len(keys) == 1
    places = [place for place, size in enumerate(other.sizes) if size]
    assert places == list(range(0, 1_000, 64))
    assert sum(other.sizes) / 1_000 <= 19


def test_and_sooner_where_the_peer_speaks_and_does_not_answer() -> None:
    one, other = due()
    other.sizes.clear()
    for _ in range(64):  # the relay keeps back what carries something, and nothing else
        copy = other.seal()
        if not copy[1]:
            one.open(copy)
        other.open(one.seal())
    places = [place for place, size in enumerate(other.sizes) if size]
    assert places == list(range(0, 64, 8))
    assert sum(other.sizes) / 64 <= 148
    assert one.open(other.seal()) == b"text"
    other.open(one.seal())
    assert other.pq.epoch == 1


def test_what_has_no_room_waits_for_the_next_message() -> None:
    one, other = due()
    assert seen(other.seal(room=False)) == (0, 0)
    assert other.pq.step is None
    offer = other.seal()
    assert offer[1] == HAS_KEY
    one.open(offer)
    assert seen(one.seal(room=False)) == (0, 0)
    assert isinstance(one.pq.step, Asked)
    assert one.seal()[1] == HAS_CIPHERTEXT


def test_there_is_room_where_nothing_is_said_of_it() -> None:
    assert due()[1].held.carry(1, os.urandom)[0] == HAS_KEY


def test_the_first_message_block_goes_alone() -> None:
    one, other = (End(each) for each in couple())
    sealed = [one.seal(now=1 + number * DAY) for number in range(130)]
    assert {copy[1] for copy in sealed} == {header.HAS_FIRST}
    assert set(one.sizes) == {0}
    other.open(sealed[-1])
    assert isinstance(other.pq.step, type(None))
    one.open(other.seal())


# -- loss, reordering, repetition ---------------------------------------------------------------


def test_a_lost_carrier_costs_no_other_message_and_is_repeated() -> None:
    one, other = due()
    other.seal()  # the first carrier is lost
    assert one.open(other.seal(b"after it")) == b"after it"
    turns(one, other, 32)
    assert one.pq.epoch == other.pq.epoch == 1
    assert other.sizes.count(1184) == 2


def test_a_lost_answer_is_repeated_too() -> None:
    one, other = answered()
    assert other.open(one.seal(b"after it")) == b"after it"
    assert isinstance(other.pq.step, Offered)
    turns(other, one, 32)
    assert one.pq.epoch == other.pq.epoch == 1
    assert one.sizes.count(1088) == 2


def test_messages_of_both_epochs_open_in_any_order() -> None:
    one, other = due()
    late = [other.seal(b"%d" % number) for number in range(3)]
    one.open(late.pop(0))
    answers = [one.seal(b"%d" % number) for number in range(4)]
    other.open(answers.pop(0))
    assert other.pq.epoch == 1
    early = [other.seal(b"new %d" % number) for number in range(3)]
    assert one.open(early[2]) == b"new 2"
    for copy, text in (
        (early[0], b"new 0"),
        (late[1], b"2"),
        (late[0], b"1"),
        (early[1], b"new 1"),
    ):
        assert one.open(copy) == text
    for number, copy in enumerate(reversed(answers)):
        assert other.open(copy) == b"%d" % (3 - number)
    assert (one.kept, other.kept) == ({}, {})


def test_one_old_epoch_is_kept_and_no_older_one() -> None:
    one, other = due()
    one.open(other.seal())
    other.open(one.seal())
    late = [one.seal(b"%d" % number) for number in range(2)]
    turns(other, one, 6)
    assert one.pq.epoch == other.pq.epoch == 1
    assert other.open(late[0]) == b"0"
    assert other.pq.old
    turns(one, other, 60)
    assert one.pq.epoch == other.pq.epoch == 2
    turns(one, other, 4)
    with pytest.raises(CannotOpen):
        other.open(late[1])


@pytest.mark.attack
def test_17_what_carried_an_epoch_is_no_use_again() -> None:
    one, other = due()
    offer = other.seal()
    one.open(offer)
    answer = one.seal()
    other.open(answer)
    one.open(other.seal())
    for end, copy in ((one, offer), (other, answer)):
        before = end.raw
        with pytest.raises(CannotOpen):
            end.open(copy)
        assert end.raw == before
    turns(one, other, 300)
    for end, copy in ((one, offer), (other, answer)):
        with pytest.raises(CannotOpen):
            end.open(copy)


def test_a_late_carrier_of_an_epoch_that_began_is_ignored() -> None:
    one, other = due()
    offers = [other.seal(b"offer")] + [other.seal() for _ in range(64)]
    assert [copy[1] for copy in offers[::64]] == [HAS_KEY, HAS_KEY]
    one.open(offers[0])
    answers = [one.seal(b"answer")] + [one.seal() for _ in range(64)]
    assert [copy[1] for copy in answers[::64]] == [HAS_CIPHERTEXT, HAS_CIPHERTEXT]
    other.open(answers[64])
    one.open(other.seal())
    states = [(end.pq.epoch, end.pq.step) for end in (one, other)]
    assert one.open(offers[64]) == b"text"
    assert other.open(answers[0]) == b"answer"
    assert [(end.pq.epoch, end.pq.step) for end in (one, other)] == states == [(1, None)] * 2
    turns(one, other, 4)


# -- what must be refused -----------------------------------------------------------------------


def forged(sender: End, flags: int, block: bytes) -> bytes:
    """An authentic message of ``sender`` that carries what it should not: its keys were stolen."""
    held = sender.held
    copy = held.seal(PLACE, DEVICE, b"text", (flags, block))
    sender.raw = session.to_bytes(held)
    return copy


KEY = oracle.kem_public(b"k" * 64)
REFUSED: dict[str, tuple[Callable[[], tuple[End, End]], bool, int, bytes]] = {
    "a key out of turn": (talking, True, HAS_KEY, KEY),
    "an answer out of turn": (talking, False, HAS_CIPHERTEXT, bytes(1088)),
    "an answer to nothing": (talking, True, HAS_CIPHERTEXT, bytes(1088)),
    "a key that is not reduced": (talking, False, HAS_KEY, b"\xff" * 1184),
    "a key of zeros with one coefficient too large": (
        talking,
        False,
        HAS_KEY,
        b"\x01\x0d" + bytes(1182),
    ),
}


@pytest.mark.attack
@pytest.mark.parametrize(("make", "from_one", "flags", "block"), REFUSED.values(), ids=REFUSED)
def test_16_parts_that_are_not_due_or_not_valid_are_refused(
    make: Callable[[], tuple[End, End]], from_one: bool, flags: int, block: bytes
) -> None:
    one, other = make()
    sender, receiver = (one, other) if from_one else (other, one)
    before = receiver.raw
    with pytest.raises((CannotOpen, KeyRefused)):
        receiver.open(forged(sender, flags, block))
    assert receiver.raw == before


@pytest.mark.attack
def test_16_a_part_out_of_turn_is_refused_however_late() -> None:
    """When its epoch has a successor nothing is taken in any more, but it is no message either."""
    one, other = due()
    late = forged(other, HAS_CIPHERTEXT, bytes(1088))
    one.open(other.seal())
    other.open(one.seal())
    one.open(other.seal())
    assert one.pq.epoch == 1
    with pytest.raises(CannotOpen):
        one.open(late)


@pytest.mark.attack
def test_28_no_kem_is_run_for_a_forged_message(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = due()
    offer = other.seal()
    one.open(offer)
    answer = one.seal()

    def never(*_: bytes) -> tuple[bytes, bytes]:
        raise AssertionError("a KEM was run before the message opened")

    for name in ("kem_check", "kem_decapsulate", "kem_encapsulate", "kem_public"):
        monkeypatch.setattr(pq_ratchet, name, never)
    before = other.raw
    with pytest.raises(CannotOpen):
        other.open(answer[:-1] + bytes((answer[-1] ^ 1,)))
    with pytest.raises(CannotOpen):
        other.open(answer[:70] + bytes((answer[70] ^ 1,)) + answer[71:])
    assert other.raw == before


@pytest.mark.parametrize("epoch", [0, 1, 2])
@pytest.mark.parametrize("n", [SKIP_LIMIT + 60, 2**32 - 1])
def test_a_jump_in_no_epoch_derives_a_key(epoch: int, n: int) -> None:
    one, _ = answered()
    pq = one.pq
    before = msgspec.msgpack.encode(pq)
    with pytest.raises(CannotOpen):
        pq.receive(epoch, n)
    assert msgspec.msgpack.encode(pq) == before


def test_no_chain_goes_back() -> None:
    one, other = entered()
    turns(one, other, 3)
    for pq in (one.pq, other.pq):
        for epoch, received in ((0, pq.old_received), (1, pq.received)):
            assert received > 0
            with pytest.raises(CannotOpen):
                pq.receive(epoch, received - 1)


def test_a_stranger_epoch_is_refused() -> None:
    one, other = entered()
    for end in (one, other):
        for epoch in (2, 3, 2**32 - 1):
            with pytest.raises(CannotOpen):
                end.pq.receive(epoch, 0)
