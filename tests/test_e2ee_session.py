"""One copy: its bytes against the second reading, its AAD against ``enc``, its header's limits."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes.e2ee import header, pqxdh, session
from crypto_modes.e2ee.header import First, Header
from crypto_modes.e2ee.ratchet import SKIP_LIMIT
from crypto_modes.e2ee.session import Envelope, Session
from crypto_modes.errors import CannotOpen
from tests import e2ee_oracle as oracle

IDS = st.binary(min_size=16, max_size=16)
DIGESTS = st.binary(min_size=32, max_size=32)
PLACE = Envelope(1, b"c" * 16, b"m" * 16, b"a" * 16, b"d" * 16, b"r" * 16, b"p" * 32, b"C" * 32)
DEVICE = b"bobby-phone-0001"


class Nothing:
    """No skipped key was ever kept."""

    def find(self, chain: bytes, n: int) -> bytes | None:
        return None


def couple() -> tuple[Session, Session]:
    """The two ends of a new session, of which the first may write."""
    shared = pqxdh.Shared(os.urandom(32), os.urandom(32), os.urandom(32))
    prekey = os.urandom(32)
    public = oracle.public(prekey)
    first = First(bytes(32), 1, 0, 2, 1, bytes(1088))
    one = session.initiate(shared, public, os.urandom(32), first, 0)
    return one, session.respond(shared, prekey, public, 0)


def open_copy(end: Session, copy: bytes, place: Envelope = PLACE) -> bytes:
    return end.open(place, DEVICE, header.parse(copy), Nothing(), os.urandom).plaintext


@given(
    epoch=st.integers(0, 2**53),
    ids=st.tuples(IDS, IDS, IDS, IDS, IDS, IDS),
    digests=st.tuples(DIGESTS, DIGESTS, DIGESTS),
    head=st.binary(min_size=58, max_size=80),
)
def test_the_aad_is_exactly_enc(
    epoch: int, ids: tuple[bytes, ...], digests: tuple[bytes, ...], head: bytes
) -> None:
    conversation, message, sender, device, recipient, recipient_device = ids
    policy, commitment, th = digests
    place = Envelope(epoch, conversation, message, sender, device, recipient, policy, commitment)
    fields = place._asdict() | {"recipient_device": recipient_device}
    assert place.aad(th, recipient_device, head) == oracle.aad(th, head, fields)


def test_a_copy_is_what_the_design_says() -> None:
    th, root, pq_root = os.urandom(32), os.urandom(32), os.urandom(32)
    prekey, fresh = os.urandom(32), os.urandom(32)
    first = First(b"E" * 32, 1, 7, 9, 3, b"K" * 1088)
    remote = oracle.public(prekey)
    end = session.initiate(pqxdh.Shared(th, root, pq_root), remote, fresh, first, 0)
    fields = PLACE._asdict() | {"recipient_device": DEVICE}
    _, chain = oracle.root_step(root, fresh, remote)
    pq, _ = oracle.pq_chains(pq_root, th)
    block = b"E" * 32 + b"".join(n.to_bytes(8, "big") for n in (1, 7, 9, 3)) + b"K" * 1088
    for n in range(5):
        head = oracle.fixed_header(th[:8], oracle.public(fresh), (0, n, 0, n), flags=4) + block
        keys = oracle.ec_key(chain, n), oracle.pq_key(pq, n)
        assert end.seal(PLACE, DEVICE, b"text") == oracle.copy(th, *keys, head, b"text", fields)


def test_a_session_survives_its_stored_form() -> None:
    one, other = couple()
    assert open_copy(other, one.seal(PLACE, DEVICE, b"first")) == b"first"
    again = session.from_bytes(session.to_bytes(other))
    assert session.id_of(session.to_bytes(other)) == other.id == one.id
    assert again == other
    assert open_copy(one, again.seal(PLACE, DEVICE, b"answer")) == b"answer"


class Kept(dict[tuple[bytes, int], bytes]):
    """Skipped keys as a client keeps them; says what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[bytes, int]] = []

    def find(self, chain: bytes, n: int) -> bytes | None:
        self.asked.append((chain, n))
        return self.get((chain, n))


def test_a_late_message_is_told_from_one_in_its_turn() -> None:
    """A late one makes no session the active one, and shows as late."""
    one, other = couple()
    kept = Kept()
    late, ahead = (header.parse(one.seal(PLACE, DEVICE, text)) for text in (b"late", b"ahead"))
    opened = other.open(PLACE, DEVICE, ahead, kept, os.urandom)
    assert (opened.late, opened.used) == (False, [])
    assert kept.asked == []  # no key was skipped before, so the store is not read
    kept |= {(each.chain, each.n): each.key for each in opened.fresh}
    other.skipped = len(kept)
    opened = other.open(PLACE, DEVICE, late, kept, os.urandom)
    assert (opened.late, opened.fresh) == (True, ())
    assert set(opened.used) == kept.keys() == set(kept.asked)


def test_a_ratchet_key_is_drawn_at_a_turn_and_at_no_other_message() -> None:
    one, other = couple()
    drawn: list[int] = []

    def random(size: int) -> bytes:
        drawn.append(size)
        return os.urandom(size)

    for _ in range(3):
        other.open(PLACE, DEVICE, header.parse(one.seal(PLACE, DEVICE, b"")), Nothing(), random)
    assert drawn == [32]
    one.open(PLACE, DEVICE, header.parse(other.seal(PLACE, DEVICE, b"")), Nothing(), random)
    assert drawn == [32, 32]


def test_a_session_is_answered_once_its_peer_was_heard_and_not_before() -> None:
    """Only then does another in its place show as a reset, and is the block not repeated."""
    one, other = couple()
    assert [one.answered, other.answered] == [False, False]
    assert (len(one.first), other.first) == (1152, b"")
    open_copy(other, one.seal(PLACE, DEVICE, b"text"))
    assert [one.answered, other.answered] == [False, True]
    open_copy(one, other.seal(PLACE, DEVICE, b"answer"))
    assert [one.answered, one.first] == [True, b""]


def test_a_damaged_row_is_refused() -> None:
    raw = session.to_bytes(couple()[0])
    for damaged in (b"", raw[:40], raw[:8] + b"\xc1", raw[:-1]):
        with pytest.raises(CannotOpen):
            session.from_bytes(damaged)


def test_secrets_do_not_print() -> None:
    one, other = couple()
    unsealed = other.open(
        PLACE, DEVICE, header.parse(one.seal(PLACE, DEVICE, b"the text")), Nothing(), os.urandom
    )
    shown = repr((one, other, one.chains, one.pq, unsealed))
    assert "the text" not in shown
    for secret in (one.chains.root, one.chains.private, one.chains.sending, one.pq.sending):
        assert repr(secret)[2:-1] not in shown


@pytest.mark.attack
@pytest.mark.parametrize("field", range(len(PLACE)))
def test_7_every_field_of_the_context_is_bound(field: int) -> None:
    one, other = couple()
    copy = one.seal(PLACE, DEVICE, b"text")
    changed: list[Any] = list(PLACE)
    changed[field] = changed[field] + 1 if field == 0 else b"!" + changed[field][1:]
    with pytest.raises(CannotOpen):
        open_copy(other, copy, Envelope(*changed))


@pytest.mark.attack
def test_7_every_bit_of_a_copy_is_bound() -> None:
    one, other = couple()
    stored = session.to_bytes(other)
    copy = one.seal(PLACE, DEVICE, b"text" * 80)
    for index in range(len(copy)):
        mauled = bytearray(copy)
        mauled[index] ^= 1 << index % 8
        with pytest.raises(CannotOpen):
            open_copy(session.from_bytes(stored), bytes(mauled))
    assert open_copy(session.from_bytes(stored), copy) == b"text" * 80


@pytest.mark.attack
def test_7_a_copy_does_not_open_at_its_sender() -> None:
    one, other = couple()
    open_copy(other, one.seal(PLACE, DEVICE, b"text"))
    open_copy(one, other.seal(PLACE, DEVICE, b"back"))
    with pytest.raises(CannotOpen):
        open_copy(one, one.seal(PLACE, DEVICE, b"reflected"))


@pytest.mark.parametrize("size", [0, 1, 57])
def test_a_header_that_is_cut_is_refused(size: int) -> None:
    copy = couple()[0].seal(PLACE, DEVICE, b"text")
    with pytest.raises(CannotOpen):
        header.parse(copy[:size])


@pytest.mark.parametrize(("flags", "block"), [(0, 0), (1, 1184), (2, 1088), (4, 1152)])
def test_a_header_ends_where_its_flags_say(flags: int, block: int) -> None:
    size = 58 + block
    raw = oracle.fixed_header(b"s" * 8, b"d" * 32, (1, 2, 3, 4), flags) + os.urandom(3424)
    parsed, rest = header.parse(raw)
    assert (parsed.raw, rest) == (raw[:size], raw[size:])
    assert parsed[1:7] == (b"s" * 8, b"d" * 32, 1, 2, 3, 4)
    assert [len(parsed.key), len(parsed.ciphertext)] == [1184 * (flags & 1), 544 * (flags & 2)]
    assert (parsed.first is not None) == bool(flags & 4)
    if parsed.first is not None:
        assert parsed.first.encode() == raw[size - 1152 : size]
    with pytest.raises(CannotOpen):
        header.parse(raw[: size - 1])


@pytest.mark.attack
@pytest.mark.parametrize(
    ("place", "value"),
    [(0, 0), (0, 2), (0, 255), (1, 3), (1, 5), (1, 6), (1, 7), (1, 8), (1, 0x84)],
)
def test_16_other_suites_and_flags_are_refused(place: int, value: int) -> None:
    raw = bytearray(oracle.fixed_header(b"s" * 8, b"d" * 32, (0, 0, 0, 0)) + bytes(4096))
    raw[place] = value
    with pytest.raises(CannotOpen):
        header.parse(bytes(raw))


BOMBS = {
    "n": {"n": 2**31},
    "n just over the limit": {"n": SKIP_LIMIT + 2},
    "pq_n": {"pq_n": 2**31},
    "pq_epoch": {"pq_epoch": 1},
    "pn at a turn": {"dh": b"\x09" + bytes(31), "pn": 2**31},
    "n at a turn": {"dh": b"\x09" + bytes(31), "n": 2**32 - 1},
    "a small-order ratchet key": {"dh": bytes(32)},
}


@pytest.mark.attack
@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_28_header_bombs_cost_nothing(bomb: dict[str, Any]) -> None:
    one, other = couple()
    open_copy(other, one.seal(PLACE, DEVICE, b"text"))
    stored = session.to_bytes(other)
    honest, ciphertext = header.parse(one.seal(PLACE, DEVICE, b"text"))
    forged = (honest._replace(**bomb), ciphertext)
    spent = []
    for _ in range(5):
        victim = session.from_bytes(stored)
        begun = time.perf_counter()
        with pytest.raises(Exception, match=r"cannot be opened|agrees on nothing"):
            victim.open(PLACE, DEVICE, forged, Nothing(), os.urandom)
        spent.append(time.perf_counter() - begun)
    assert min(spent) < 0.001


def test_parse_gives_what_was_packed() -> None:
    raw = header.pack_fixed(header.SUITE, 0, b"s" * 8, b"d" * 32, 1, 2, 3, 4)
    assert header.parse(raw + b"rest") == (Header(raw, b"s" * 8, b"d" * 32, 1, 2, 3, 4), b"rest")
    assert len(raw) == header.FIXED_SIZE == 58
