"""The access log's entries, marks and leaves to the byte, and what is shown held to its leaf."""

from __future__ import annotations

import hmac
from typing import Any

import msgspec
import pytest

from crypto_modes.errors import LogRefused
from crypto_modes.keys import SigningKey
from crypto_modes.primitives import ed25519_verify
from crypto_modes.transparency import access_log
from crypto_modes.transparency.access_log import DAY, Entry, Leaf, Opened
from crypto_modes.transparency.note import BY_LOG
from tests import modes_oracle as oracle

SALT, SECRET, TALK = b"s" * 16, b"k" * 32, b"t" * 16
ENTRY = Entry(
    kind="read",
    time=1_790_000_000_000,
    case=b"c" * 16,
    basis="legal_request",
    actor="lena",
    conversation=TALK,
    account=b"a" * 16,
    grant=b"g" * 16,
    count=2,
    size=41,
    records=(b"1" * 16, b"2" * 16),
    detail={"country": "FR", "authority": "a court"},
)


def written(entry: Entry = ENTRY) -> bytes:
    pairs = [part for pair in sorted(entry.detail.items()) for part in pair]
    return oracle.enc(
        "louver/v1/access/entry",
        *(entry.kind, entry.time, entry.case, entry.basis, entry.actor, entry.conversation),
        *(entry.account, entry.grant, entry.count, entry.size, *entry.records, "", *pairs),
    )


def committed(entry: Entry = ENTRY, salt: bytes = SALT) -> bytes:
    return oracle.sha256(oracle.enc("louver/v1/access/commitment", salt, written(entry)))


def test_an_entry_and_its_commitment_are_those_of_the_specification() -> None:
    assert ENTRY.encode() == written()
    assert access_log.commitment(SALT, ENTRY) == committed()
    bare = Entry(kind="staff", time=0)
    assert bare.encode() == written(bare)


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "refused"},
        {"time": 1},
        {"case": b""},
        {"basis": "emergency"},
        {"actor": "luis"},
        {"conversation": b""},
        {"account": TALK},
        {"grant": TALK},
        {"count": 3},
        {"size": 42},
        {"records": (b"1" * 16,)},
        {"detail": {}},
        {"detail": {"country": "FR", "authority": "another court"}},
    ],
)
def test_every_field_of_an_entry_counts(changed: dict[str, Any]) -> None:
    other = msgspec.structs.replace(ENTRY, **changed)
    leaf = Leaf(other.time, bytes(16), access_log.commitment(SALT, other))
    Opened(7, SALT, other).check(leaf)
    with pytest.raises(LogRefused, match="leaf 7 is not the one entered there"):
        Opened(7, SALT, ENTRY).check(leaf)


def test_what_is_shown_has_the_salt_and_the_time_of_its_leaf() -> None:
    leaf = Leaf(ENTRY.time, bytes(16), committed())
    Opened(0, SALT, ENTRY).check(leaf)
    Opened(0).check(leaf)  # erased: nothing is shown, so nothing is wrong
    with pytest.raises(LogRefused):
        Opened(0, bytes(16), ENTRY).check(leaf)
    with pytest.raises(LogRefused):
        Opened(0, SALT, ENTRY).check(Leaf(ENTRY.time + 1, bytes(16), committed()))


def test_keys_of_days_are_those_that_the_log_signed() -> None:
    key, keys = SigningKey(b"k" * 32), (b"1" * 32, b"2" * 32)
    log = access_log.log_of(key.public)
    signature = access_log.sign_days(key, TALK, 7, keys)
    oracle_says = oracle.enc("louver/v1/access/day_keys", TALK, 7, *keys)
    ed25519_verify(key.public, signature, oracle_says)
    access_log.check_days(log, TALK, 7, keys, signature)
    none = access_log.sign_days(key, TALK, 7, ())
    access_log.check_days(log, TALK, 7, (), none)
    other = access_log.log_of(SigningKey(b"o" * 32).public)
    wrong: list[tuple[Any, bytes, int, tuple[bytes, ...], bytes]] = [
        (log, SALT, 7, keys, signature),
        (log, TALK, 8, keys, signature),
        (log, TALK, 7, keys[::-1], signature),
        (log, TALK, 7, keys[:1], signature),
        (log, TALK, 7, (), signature),
        (log, TALK, 7, keys, none),
        (log, TALK, 7, keys, b""),
        (log, TALK, 7, keys, signature[:-1] + bytes((signature[-1] ^ 1,))),
        (other, TALK, 7, keys, signature),
    ]
    for each in wrong:
        with pytest.raises(LogRefused, match="did not sign"):
            access_log.check_days(*each)


def test_a_mark_is_of_one_leaf_conversation_and_day() -> None:
    day = ENTRY.time // DAY
    key = hmac.digest(SECRET, oracle.enc("louver/v1/access/day", TALK, day), "sha256")
    assert access_log.day_key(SECRET, TALK, day) == key
    mark = hmac.digest(key, oracle.enc("louver/v1/access/mark", 7), "sha256")[:16]
    assert access_log.mark(key, 7) == mark
    keys = {access_log.day_key(SECRET, place, day + n) for place in (TALK, SALT) for n in (0, 1)}
    assert len({access_log.mark(each, index) for each in keys for index in (0, 1)}) == 8


def test_a_leaf_comes_back_and_is_hashed_as_one() -> None:
    leaf = Leaf(ENTRY.time, b"m" * 16, b"c" * 32)
    raw = oracle.enc("louver/v1/access", ENTRY.time, b"m" * 16, b"c" * 32)
    assert leaf.encode() == raw
    assert Leaf.decode(raw) == leaf
    assert leaf.hash == oracle.sha256(b"\x00" + raw)


@pytest.mark.parametrize(
    "items",
    [
        ("louver/v1/access/mark", 1, b"m" * 16, b"c" * 32),
        ("louver/v1/access", 1, b"m" * 15, b"c" * 32),
        ("louver/v1/access", 1, b"m" * 16, b"c" * 33),
        ("louver/v1/access", b"1", b"m" * 16, b"c" * 32),
        ("louver/v1/access", 1, b"m" * 16),
        ("louver/v1/access", 1, b"m" * 16, b"c" * 32, b""),
    ],
)
def test_what_is_no_leaf_is_refused(items: tuple[Any, ...]) -> None:
    raw = oracle.enc(*items)
    for wrong in (raw, raw[:-1], b""):
        with pytest.raises(LogRefused, match="no leaf of an access log"):
            Leaf.decode(wrong)


def test_a_new_key_is_a_new_log() -> None:
    log = access_log.log_of(b"\xab" * 32)
    assert (log.name, log.kind) == ("louver/access-log/abababababababab", BY_LOG)
    assert log.key == b"\xab" * 32


@pytest.mark.parametrize("basis", ["legal_request", "emergency"])
def test_what_was_opened_for_others_is_for_its_users_to_find(basis: str) -> None:
    read = Entry(kind="read", time=1, basis=basis, conversation=bytes(16), grant=bytes(16))
    assert access_log.opens(read)
    for changed in ({"kind": "request"}, {"conversation": b""}, {"grant": b""}):
        assert not access_log.opens(msgspec.structs.replace(read, **changed))


def test_what_was_opened_around_a_report_betrays_no_reporter() -> None:
    read = Entry(kind="read", time=1, basis="user_report", conversation=bytes(16), grant=bytes(16))
    assert not access_log.opens(read)
