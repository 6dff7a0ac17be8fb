"""The inbox's short path against the library: the same bytes, cut anywhere, the same outcome."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from server.gateway.inbox import TURN, Inbox
from tests.gateway_rig import BINARY, CLOSE, CONT, PING, PONG, TEXT, frame

LIMIT, CHATTER = 300, 100_000


def by_the_library(data: bytes) -> tuple[list[bytes], bytes]:
    """Messages and answers of a plain ServerProtocol with the plainest reassembly."""
    protocol = ServerProtocol(state=State.OPEN, max_size=LIMIT)
    protocol.receive_data(data)
    messages: list[bytes] = []
    parts: list[bytes] = []
    for event in protocol.events_received():
        if isinstance(event, Frame) and event.opcode in (Opcode.BINARY, Opcode.CONT):
            parts.append(bytes(event.data))
            if event.fin:
                messages.append(b"".join(parts))
                parts = []
    return messages, b"".join(protocol.data_to_send())


def by_the_inbox(data: bytes, cuts: list[int]) -> tuple[list[bytes], bytes]:
    inbox = Inbox(text=False, limit=LIMIT, chatter=CHATTER)
    messages: list[bytes] = []
    answers: list[bytes] = []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        messages += inbox.feed(data[start:end])
        while inbox.waiting:
            messages += inbox.feed(b"")
        answers += inbox.answers()
    return messages, b"".join(answers)


# The one verdict of the library that is not ours: RFC 6455, section 5.4, has control frames in the
# middle of a fragmented message, and a close frame is one; test_gateway_rules has the case.
BETWEEN_FRAGMENTS = b"incomplete fragmented message"

payloads = st.binary(max_size=8) | st.integers(0, 310).map(bytes)
legal = st.builds(frame, st.just(BINARY), payloads, mask=st.binary(min_size=4, max_size=4))
control = st.builds(
    frame,
    st.sampled_from([PING, PONG]),
    st.binary(max_size=125) | st.integers(120, 130).map(bytes),
    mask=st.binary(min_size=4, max_size=4),
)
fragments = st.lists(
    st.tuples(st.binary(max_size=150), st.lists(control, max_size=2)), min_size=1, max_size=4
).map(
    lambda parts: b"".join(
        frame(CONT if i else BINARY, part, fin=i == len(parts) - 1) + b"".join(between)
        for i, (part, between) in enumerate(parts)
    )
)
# More than one turn of the inbox, so that its ends of turns are compared too.
many = st.builds(
    lambda one, count: one * count,
    st.sampled_from([frame(PING, b"p"), frame(PONG), frame(BINARY, b"x")]),
    st.integers(TURN - 2, 2 * TURN + 2),
)
closing = st.builds(
    lambda code, reason: frame(CLOSE, code.to_bytes(2) + reason),
    st.sampled_from([1000, 1001, 1005, 3000, 5000]),
    st.binary(max_size=5),
)
strange = st.builds(
    frame,
    st.sampled_from([BINARY, CONT, PING, CLOSE, 3, 11]),
    st.binary(max_size=130),
    fin=st.booleans(),
    reserved=st.sampled_from([0, 0, 0, 1, 4]),
    mask=st.sampled_from([b"abcd", b"abcd", b"abcd", None]),
)
streams = st.lists(legal | fragments | control | closing | strange | many, max_size=8).map(b"".join)
cuts = st.lists(st.integers(0, 4000), max_size=12)


@settings(max_examples=600, deadline=None)
@given(streams, cuts)
def test_the_short_path_changes_nothing(data: bytes, cuts: list[int]) -> None:
    expected = by_the_library(data)
    assume(BETWEEN_FRAGMENTS not in expected[1])
    assert by_the_inbox(data, cuts) == expected


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=64), cuts)
def test_noise_is_judged_by_the_library(noise: bytes, cuts: list[int]) -> None:
    # Of the two kinds of message the library knows no difference.
    if noise[:1] and noise[0] & 0x0F == TEXT:
        noise = b"\x82" + noise[1:]
    # It may judge a header before it is complete; the inbox waits for the longest.
    noise += bytes(14)
    messages, answers = by_the_inbox(noise, cuts)
    expected = by_the_library(noise)
    assume(BETWEEN_FRAGMENTS not in expected[1])
    if b"subprotocol uses" not in answers:
        assert (messages, answers) == expected


@pytest.mark.parametrize("data", [frame(BINARY, b"x"), frame(PING), frame(BINARY, b"x") * 50])
def test_an_idle_inbox_keeps_no_parser(data: bytes) -> None:
    inbox = Inbox(text=False, limit=LIMIT, chatter=CHATTER)
    for i in range(len(data)):
        inbox.feed(data[i : i + 1])
    assert inbox._parser is None
    assert inbox._parts is None
    assert inbox._tail == b""


def test_a_flood_of_empty_fragments_takes_no_memory() -> None:
    inbox = Inbox(text=False, limit=LIMIT, chatter=CHATTER)
    inbox.feed(frame(BINARY, b"a", fin=False) + frame(CONT, b"", fin=False) * 1000)
    assert inbox._parts == [b"a"]


def test_a_torn_frame_is_bounded_by_the_limit() -> None:
    inbox = Inbox(text=False, limit=LIMIT, chatter=CHATTER)
    assert inbox.feed(frame(BINARY, bytes(LIMIT + 1))[:8]) == []
    assert inbox.closing
    assert inbox.close_code == 1009


def test_after_our_close_frame_only_the_peers_counts() -> None:
    inbox = Inbox(text=False, limit=LIMIT, chatter=CHATTER)
    inbox.feed(frame(BINARY, b"half")[:5])
    inbox.close(4001, "draining")
    assert inbox.answers() == [b"\x88\x0a\x0f\xa1draining"]
    rest = frame(BINARY, b"half")[5:] + frame(BINARY, b"whole") + frame(PING, b"p")
    assert inbox.feed(rest) == []
    assert inbox.feed(frame(CLOSE, b"\x0f\xa1")) == []
    assert inbox.answers()[-1:] == [b""]
    assert inbox.close_code == 4001


FLOODS = {
    "pings": frame(PING, b"p"),
    "pongs": frame(PONG),
    "fragments": frame(CONT, b"", fin=False),
}
OPEN_MESSAGE = frame(BINARY, b"", fin=False)


@pytest.mark.attack(36)
@pytest.mark.parametrize("kind", FLOODS)
def test_frames_that_complete_no_message_are_counted(kind: str) -> None:
    inbox = Inbox(text=False, limit=LIMIT, chatter=20)
    inbox.feed(OPEN_MESSAGE + FLOODS[kind] * 19)
    assert not inbox.closing
    assert inbox.feed(frame(CONT, b"done")) == [b"done"]
    inbox.feed(OPEN_MESSAGE + FLOODS[kind] * 19)
    inbox.forgive()
    inbox.feed(FLOODS[kind] * 20)
    assert not inbox.closing
    inbox.answers()
    assert inbox.feed(FLOODS[kind] * 1000) == []
    assert inbox.close_code == 4013
    # At most one more pong, the reason, the end; what follows is not even looked at.
    assert inbox.answers()[-2:] == [b"\x88\x0e\x0f\xadrate_limited", b""]
    assert inbox.feed(FLOODS[kind] * 1000 + frame(BINARY, b"x")) == []
    assert (inbox.answers(), inbox.waiting) == ([], False)


def test_one_turn_takes_so_many_frames() -> None:
    inbox = Inbox(text=False, limit=LIMIT, chatter=CHATTER)
    stream = frame(BINARY, b"m") + frame(PING) * (TURN - 1) + frame(BINARY, b"n") + b"\x82"
    assert inbox.feed(stream) == [b"m"]
    assert (inbox.waiting, len(inbox.answers())) == (True, TURN - 1)
    assert inbox.feed(b"") == [b"n"]
    assert not inbox.waiting
    assert inbox.feed(frame(BINARY, b"o")[1:]) == [b"o"]


@pytest.mark.attack(36)
@pytest.mark.parametrize("kind", [*FLOODS, "messages"])
def test_a_flood_after_our_close_frame_ends_the_stream(kind: str) -> None:
    inbox = Inbox(text=False, limit=LIMIT, chatter=20)
    inbox.feed(OPEN_MESSAGE if kind == "fragments" else b"")
    inbox.close(4013, "rate_limited")
    assert len(inbox.answers()) == 1
    assert inbox.feed(FLOODS.get(kind, frame(BINARY, b"x")) * 100) == []
    assert inbox.answers() == [b""]
    assert inbox.close_code == 4013
