"""What the relay hands to the vault: everything in scope, nothing else, and nothing altered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from crypto_modes import scope
from crypto_modes.contract import NO_DIGEST
from crypto_modes.errors import BadArgument, CannotOpen
from crypto_modes.scope import Handed
from tests.mode_ends import ALICE, BOB
from tests.vault_rig import TALK, MemoryRelay, granted, with_record

MODES = ("at_rest", "at_rest", "tls", "at_rest", "e2ee", "at_rest")


def relay() -> MemoryRelay:
    made = MemoryRelay([])
    for number, mode in enumerate(MODES):
        made.store.say(b"text", mode, (ALICE, BOB)[number % 2])
    return made


def handed(first: int = 1, last: int = 20, known: int = 0, made: MemoryRelay | None = None) -> Any:
    return asyncio.run((made or relay()).records(TALK, first, last, known))


@pytest.mark.parametrize(
    ("first", "last"), [(1, 20), (1, 6), (1, 3), (2, 4), (3, 3), (6, 9), (7, 9)]
)
def test_what_the_relay_hands_over_is_what_was_asked(first: int, last: int) -> None:
    given = handed(first, last)
    scope.check(given, granted(first=first, last=last).grant)
    assert [record.seq for record in given.records] == list(range(first, min(last, 6) + 1))


def test_no_key_and_no_copy_goes_over_that_is_not_needed() -> None:
    given = handed(1, 5)
    assert [bool(record.body) for record in given.records] == [True, True, True, True, False]
    assert [len(record.digest) for record in given.records] == [0, 0, 0, 0, 32]
    assert [key.sender for key in given.keys] == [ALICE, BOB]
    assert not handed(3, 3).keys
    assert all(len(key.moderation) == 1185 for key in given.keys)


def test_no_conversation_has_nothing() -> None:
    given = asyncio.run(relay().records(bytes(16), 1, 9, 3))
    assert (given.records, given.newest, given.known) == ((), 0, b"")
    scope.check(given, granted().grant)


@pytest.mark.parametrize(("first", "last"), [(0, 3), (2, 1), (1, 501), (-1, 3)])
def test_nobody_asks_for_more_than_500(first: int, last: int) -> None:
    with pytest.raises(BadArgument):
        handed(first, last)


def swapped(given: Handed) -> Handed:
    records = list(given.records)
    records[1], records[3] = records[3], records[1]
    return msgspec.structs.replace(given, records=tuple(records))


def bodies_swapped(given: Handed) -> Handed:
    one, other = given.records[1].body, given.records[3].body
    return with_record(with_record(given, 1, body=other), 3, body=one)


def without(place: int) -> Callable[[Handed], Handed]:
    def leave_out(given: Handed) -> Handed:
        records = (*given.records[:place], *given.records[place + 1 :])
        return msgspec.structs.replace(given, records=records)

    return leave_out


def beyond(given: Handed) -> Handed:
    """A seventh record, which nobody wrote."""
    last = given.records[-1]
    more = msgspec.structs.replace(last, seq=7, id=b"7" * 16)
    return msgspec.structs.replace(given, records=(*given.records, more))


LIES: dict[str, tuple[Callable[[Handed], Handed], str]] = {
    "another conversation": (lambda h: with_record(h, 2, conversation=bytes(16)), "another conv"),
    "other people": (lambda h: with_record(h, 2, recipient=b"c" * 16), "conversation this is not"),
    "another sender": (lambda h: with_record(h, 0, sender=BOB), "conversation this is not"),
    "rows swapped": (swapped, "message 4 where 2 belongs"),
    "what is in them swapped": (bodies_swapped, "message 2 or one before it"),
    "a number changed": (lambda h: with_record(h, 2, seq=2), "message 2 where 3 belongs"),
    "the first left out": (without(0), "message 2 where 1 belongs"),
    "one left out": (without(2), "message 4 where 3 belongs"),
    "the last left out": (without(5), "no message 6"),
    "all left out": (lambda h: msgspec.structs.replace(h, records=()), "no message 1"),
    "one twice": (lambda h: with_record(h, 2, id=h.records[1].id), "one message twice"),
    "one more": (beyond, "more records"),
    "a byte altered": (
        lambda h: with_record(h, 3, body=h.records[3].body[:-1] + b"!"),
        "message 4 or one before it",
    ),
    "a record emptied": (lambda h: with_record(h, 3, body=b""), "message 4 or one before it"),
    "a head altered": (lambda h: with_record(h, 1, chain=bytes(32)), "message 2 or one before it"),
    "the end altered": (lambda h: msgspec.structs.replace(h, head=b"x" * 32), "another end"),
}


@pytest.mark.attack(39)
@pytest.mark.parametrize("lie", LIES)
def test_nothing_is_believed_that_can_be_checked(lie: str) -> None:
    alter, words = LIES[lie]
    with pytest.raises(CannotOpen, match=words):
        scope.check(alter(handed(1, 6)), granted(first=1, last=6).grant)


def test_the_beginning_of_a_conversation_is_nobodys_to_choose() -> None:
    given = msgspec.structs.replace(handed(1, 6), before=b"x" * 32)
    scope.check(given, granted(first=1, last=6).grant)
    later = msgspec.structs.replace(handed(2, 6), before=b"x" * 32)
    with pytest.raises(CannotOpen, match="message 2 or one before"):
        scope.check(later, granted(first=2, last=6).grant)


@pytest.mark.attack(39)
def test_a_history_that_was_shown_before_stays() -> None:
    made = relay()
    before = handed(1, 2, made=made)
    assert before.newest == 6
    scope.check_known(handed(1, 2, 6, made), 6, before.head)
    made.store.say(b"goes on")
    scope.check_known(handed(1, 2, 6, made), 6, before.head)
    with pytest.raises(CannotOpen, match="another history than before: its message 6"):
        scope.check_known(handed(1, 2, 5, made), 6, before.head)
    del made.store.stored[4:]
    with pytest.raises(CannotOpen, match="another history"):
        scope.check_known(handed(1, 2, 6, made), 6, before.head)
    for _ in range(3):
        made.store.say(b"written anew")
    with pytest.raises(CannotOpen, match="another history"):
        scope.check_known(handed(1, 2, 6, made), 6, before.head)


def test_an_answer_that_is_none() -> None:
    for raw in (b"", b"{}", b"[]", b"\xff", b"[" * 5000, handed().to_json()[:-1]):
        with pytest.raises(CannotOpen, match="not understood"):
            Handed.from_json(raw)
    assert handed().before == NO_DIGEST
