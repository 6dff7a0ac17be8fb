"""A message's body, and the counters by which drops, reorderings and forks show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes import wire
from crypto_modes.contract import NO_DIGEST
from crypto_modes.e2ee import body
from crypto_modes.e2ee.body import GAP_LIMIT, Body, Heard
from crypto_modes.errors import CannotOpen
from crypto_modes.padding import pad
from crypto_modes.primitives import H
from tests import e2ee_oracle as oracle


def said(count: int) -> list[Body]:
    """What an honest device says: bodies 1 to ``count``, each chained to the one before."""
    found, last = [], NO_DIGEST
    for counter in range(1, count + 1):
        found.append(Body("text", b"%d" % counter, b"", counter, last, 0))
        last = digest(found[-1])
    return found


def digest(text: Body) -> bytes:
    return H(body.encode(text))


def hear(order: list[Body], heard: Heard | None = None) -> list[tuple[str, ...]]:
    state = Heard() if heard is None else heard
    return [state.note(text, digest(text)) for text in order]


@given(st.permutations(range(9)))
def test_an_honest_device_never_looks_forked(order: list[int]) -> None:
    bodies, heard = said(10), Heard()
    warnings = hear([bodies[number] for number in order], heard)
    for number, warned in zip(order, warnings, strict=True):
        late = any(number < other for other in order[: order.index(number)])
        assert ("reordered" in warned) == late
        assert "fork" not in warned
    assert heard.gaps == []
    assert hear([bodies[9]], heard) == [()]


@pytest.mark.attack(33)
def test_lengths_say_little() -> None:
    sizes = {
        len(body.encode(Body("text", bytes(length), b"", 1, NO_DIGEST, 0)))
        for length in range(1, wire.CONTENT_LIMIT + 1)
    }
    # The minimum, eight sizes in each of six octaves, and one for what lies around 16 KiB.
    assert len(sizes) == 50
    assert min(sizes) == 256


def test_gaps_are_counted_once() -> None:
    bodies = said(8)
    assert hear([bodies[0], bodies[3], bodies[4], bodies[7]]) == [(), ("gap:2",), (), ("gap:2",)]


@pytest.mark.attack
def test_19_another_history_before_this_message_is_a_fork() -> None:
    bodies = said(3)
    assert hear([bodies[0], bodies[1]._replace(previous=b"x" * 32)]) == [(), ("fork",)]


@pytest.mark.attack
@pytest.mark.parametrize("counter", [1, 2])
def test_19_a_counter_used_twice_is_a_fork(counter: int) -> None:
    bodies = said(3)
    twice = bodies[counter - 1]._replace(content=b"another")
    assert hear([*bodies, twice])[-1] == ("reordered", "fork")


@pytest.mark.attack
def test_19_a_late_message_that_its_successor_does_not_name_is_a_fork() -> None:
    bodies = said(4)
    forged = bodies[2]._replace(content=b"another")
    assert hear([bodies[0], bodies[3], forged])[-1] == ("reordered", "fork")
    # In the middle of a gap no successor has come to vouch for it; with the successor it shows.
    middle = bodies[1]._replace(content=b"another")
    assert hear([bodies[0], bodies[3], middle, bodies[2]])[2:] == [("reordered",), ("reordered",)]
    late = hear([bodies[0], bodies[3], bodies[2], middle])
    assert late[-1] == ("reordered", "fork")


@pytest.mark.attack
def test_19_a_peer_counter_that_falls_is_a_fork() -> None:
    bodies = [text._replace(seen=seen) for text, seen in zip(said(2), (5, 4), strict=True)]
    bodies[1] = bodies[1]._replace(previous=digest(bodies[0]))
    assert hear(bodies) == [(), ("fork",)]


def test_memory_of_gaps_is_bounded_and_forgetting_is_no_fork() -> None:
    bodies, heard = said(2 * GAP_LIMIT + 6), Heard()
    hear(bodies[1::2], heard)
    assert len(heard.gaps) == GAP_LIMIT
    assert hear([bodies[0], bodies[-2]], heard) == [("reordered",), ("reordered",)]


@given(
    content=st.binary(max_size=400),
    reply_to=st.sampled_from([b"", b"r" * 16]),
    counter=st.integers(0, 2**64 - 1),
)
def test_bodies_round_trip_as_the_second_reading_has_them(
    content: bytes, reply_to: bytes, counter: int
) -> None:
    text = body.Body("voice", content, reply_to, counter, b"p" * 32, 7)
    message = body.encode(text)
    assert message == oracle.message("voice", content, reply_to, counter, b"p" * 32, 7)
    assert body.decode(message) == text


GOOD = ("text", b"content", b"", (1).to_bytes(8, "big"), bytes(32), bytes(8))


@pytest.mark.parametrize(
    "items",
    [
        GOOD[:5],
        (*GOOD, b""),
        ("voicemail", *GOOD[1:]),
        (b"\xff", *GOOD[1:]),
        (*GOOD[:2], b"short", *GOOD[3:]),
        (*GOOD[:3], b"\1", *GOOD[4:]),
        (*GOOD[:4], bytes(31), GOOD[5]),
        (*GOOD[:5], bytes(9)),
    ],
)
def test_bodies_of_another_shape_are_refused(items: tuple[bytes | str, ...]) -> None:
    assert body.decode(pad(oracle.enc(body.LABEL, *GOOD))).content == b"content"
    with pytest.raises(CannotOpen):
        body.decode(pad(oracle.enc(body.LABEL, *items)))
    with pytest.raises(CannotOpen):
        body.decode(pad(oracle.enc("louver/v1/other", *GOOD)))
    with pytest.raises(CannotOpen):
        body.decode(pad(oracle.enc(body.LABEL, *GOOD) + b"\0\0\0\x05x"))
