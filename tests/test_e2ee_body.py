"""A message's body, and the counters by which drops, reorderings and forks show."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes import wire
from crypto_modes.contract import NO_DIGEST
from crypto_modes.e2ee import body
from crypto_modes.e2ee.body import (
    ECHO_LIMIT,
    GAP_LIMIT,
    SENT_KEPT,
    Body,
    Heard,
    Recent,
    Said,
)
from crypto_modes.errors import CannotOpen
from crypto_modes.padding import pad
from crypto_modes.primitives import H
from tests import e2ee_oracle as oracle
from tests.vector_files import expected, raw, vectors


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
@pytest.mark.parametrize("counter", [1, 2, 3])
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
def test_19_a_position_that_falls_is_a_fork() -> None:
    bodies = [text._replace(position=at) for text, at in zip(said(2), (5, 4), strict=True)]
    bodies[1] = bodies[1]._replace(previous=digest(bodies[0]))
    assert hear(bodies) == [(), ("fork",)]


def test_memory_of_gaps_is_bounded_and_forgetting_is_no_fork() -> None:
    bodies, heard = said(2 * GAP_LIMIT + 6), Heard()
    hear(bodies[1::2], heard)
    assert len(heard.gaps) == GAP_LIMIT
    # The oldest were forgotten; of the last of those nobody can say whether it came before.
    assert heard.gaps[0].start == heard.forgotten + 2
    forgotten = bodies[heard.forgotten - 1]
    late = [bodies[0], forgotten, bodies[-2]]
    assert hear(late, heard) == [("reordered",), ("reordered",), ("reordered",)]


@given(
    content=st.binary(max_size=400),
    reply_to=st.sampled_from([b"", b"r" * 16]),
    counter=st.integers(0, 2**64 - 1),
    position=st.integers(0, 2**64 - 1),
    log_head=st.binary(min_size=40, max_size=40),
    heard=st.integers(0, ECHO_LIMIT),
)
def test_bodies_round_trip_as_the_second_reading_has_them(
    content: bytes, reply_to: bytes, counter: int, position: int, log_head: bytes, heard: int
) -> None:
    entries = tuple(
        (b"device-%d" % each * 2, counter, bytes((each,)) * 32) for each in range(heard)
    )
    said = Said()
    for device, highest, last in reversed(entries):
        said.hear(device, Heard(highest=highest, last=last))
    text = Body("voice", content, reply_to, counter, b"p" * 32, position, log_head, said.echo)
    message = body.encode(text)
    assert message == oracle.message(
        "voice", content, reply_to, counter, b"p" * 32, position, log_head, entries
    )
    assert body.decode(message) == text


def test_an_ordinary_text_stays_within_the_first_step() -> None:
    """The sizes that decision 0011 argues with: what fits, by how many devices were heard."""
    room = []
    for heard in range(ECHO_LIMIT + 1):
        text = Body("text", b"", b"", 1, NO_DIGEST, 1, echo=bytes(24 * heard))
        sizes = (len(body.encode(text._replace(content=bytes(n)))) for n in range(256))
        room.append(sum(size == 256 for size in sizes) - 1)
    assert room == [105, 81, 57, 33]


GOOD = ("text", b"content", b"", b"", *(bytes(size) for size in (8, 32, 8, 40)))


@pytest.mark.parametrize(
    "items",
    [
        GOOD[:7],
        (*GOOD, b""),
        ("voicemail", *GOOD[1:]),
        (b"\xff", *GOOD[1:]),
        (*GOOD[:2], b"short", *GOOD[3:]),
        (*GOOD[:3], bytes(23), *GOOD[4:]),
        (*GOOD[:3], bytes(24 * (ECHO_LIMIT + 1)), *GOOD[4:]),
        (*GOOD[:4], b"\1", *GOOD[5:]),
        (*GOOD[:5], bytes(31), *GOOD[6:]),
        (*GOOD[:6], bytes(9), GOOD[7]),
        (*GOOD[:7], bytes(39)),
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


@pytest.mark.parametrize("at", range(8))
def test_a_length_that_lies_is_refused(at: int) -> None:
    raw = bytearray(oracle.enc(body.LABEL, *GOOD))
    place = len(oracle.enc(body.LABEL, *GOOD[:at]))
    for claimed in (0xFFFFFFFF, 5, 9, 41):
        raw[place : place + 4] = claimed.to_bytes(4, "big")
        with pytest.raises(CannotOpen):
            body.decode(pad(bytes(raw)))


@pytest.mark.parametrize("vector", vectors("e2ee_bodies"))
def test_vectors_of_bodies(vector: dict[str, Any]) -> None:
    given = raw(vector, "message", "content", "reply_to", "previous", "log_head")
    with expected(vector):
        text = body.decode(given["message"])
        said = Said()
        for entry in reversed(vector["echo"]):
            found = raw(entry, "device", "digest")
            said.hear(found["device"], Heard(highest=found["counter"], last=found["digest"]))
        numbers = (given["counter"], given["previous"], given["position"], given["log_head"])
        assert text == Body(given["kind"], given["content"], given["reply_to"], *numbers, said.echo)


# -- the echo -------------------------------------------------------------------------------

DEVICE = b"alice-phone-0001"


def speaker(count: int) -> Said:
    """A device that has said ``count`` messages; their ids and digests follow from the number."""
    said = Said()
    for counter in range(1, count + 1):
        recent = Recent(counter, said.last, 0, bytes(40), b"", b"k" * 32, H(b"%d" % counter))
        said.note(b"message-%08d" % counter, recent)
    return said


def echo_of(counter: int, digest: bytes | None = None, device: bytes = DEVICE) -> bytes:
    said = Said()
    last = H(b"%d" % counter) if digest is None else digest
    said.hear(device, Heard(highest=counter, last=last))
    return said.echo


@pytest.mark.attack(18)
@given(sent=st.integers(0, 40), opened=st.integers(0, 40))
def test_an_echo_tells_which_of_the_newest_were_not_opened(sent: int, opened: int) -> None:
    ids, forked = speaker(sent).answered(echo_of(opened), DEVICE)
    first = max(opened, sent - SENT_KEPT) + 1
    assert ids == tuple(b"message-%08d" % counter for counter in range(first, sent + 1))
    assert forked == (opened > sent)


@pytest.mark.attack(19)
@pytest.mark.parametrize("opened", [1, 2, 3])
def test_an_echo_of_another_text_is_a_fork(opened: int) -> None:
    said = speaker(3)
    assert said.answered(echo_of(opened), DEVICE)[1] is False
    assert said.answered(echo_of(opened, b"x" * 32), DEVICE)[1] is True


def test_an_echo_that_does_not_name_this_device_says_nothing() -> None:
    said = speaker(3)
    assert said.answered(b"", DEVICE) == ((), False)
    other = echo_of(9, b"x" * 32, b"alice-tablet-002")
    assert said.answered(other, DEVICE) == ((), False)


def test_echoed_are_the_devices_heard_last() -> None:
    said = Said()
    for name in (b"1", b"2", b"1", b"3", b"4", b"4"):
        said.hear(name * 16, Heard(highest=7, last=b"d" * 32))
    names = [said.echo[at : at + 8] for at in range(0, len(said.echo), 24)]
    assert names == [b"4" * 8, b"3" * 8, b"1" * 8]
