"""The rules of RFC 6455 that the Autobahn suite checks, written as bytes (sections 1–7, 9, 10).

Every case is sent in one piece, so that it may take the short path of the inbox, and torn into
single bytes, so that it cannot.
"""

from __future__ import annotations

import pytest

from crypto_modes import wire
from tests.gateway_rig import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    frame,
    running,
)

pytestmark = pytest.mark.asyncio

BOTH = [False, True]
SURVIVES = frame(PING, b"still here?")
WORD = "κόσμε".encode()


def code(number: int, reason: bytes = b"") -> bytes:
    return number.to_bytes(2) + reason


async def verdict(data: bytes, *, torn: bool, text: bool = False) -> tuple[list[int], int]:
    """The sizes of the messages that arrived and the close code; 0 if still open."""
    limits = {
        "before_hello": wire.FRAME_LIMIT,
        "malformed": 10_000,
        "control_frames_before_hello": 100,
    }
    async with (
        running(None, **limits) as rig,
        rig.raw(wire.JSON if text else wire.MSGPACK) as raw,
    ):
        for piece in [data[i : i + 1] for i in range(len(data))] if torn else [data]:
            raw.write(piece)
            if torn:
                await raw.writer.drain()
        raw.write(SURVIVES)
        while True:
            opcode, payload = await raw.frame()
            if opcode == CLOSE:
                return rig.notes.sizes, int.from_bytes(payload[:2]) if payload else 1005
            if (opcode, payload) == (PONG, b"still here?"):
                return rig.notes.sizes, 0


# Section 1: lengths


@pytest.mark.parametrize("text", BOTH)
@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65_535, 65_536])
async def test_messages_of_every_length_class(size: int, text: bool) -> None:
    message = frame(TEXT if text else BINARY, b"*" * size)
    assert await verdict(message * 2, torn=False, text=text) == ([size, size], 0)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 1000])
async def test_messages_torn_into_bytes(size: int) -> None:
    assert await verdict(frame(BINARY, b"*" * size) * 2, torn=True) == ([size, size], 0)


# Section 2: pings and pongs


@pytest.mark.parametrize("torn", BOTH)
async def test_the_longest_ping_is_answered(torn: bool) -> None:
    async with running() as rig, rig.raw() as raw:
        ping = frame(PING, bytes(range(125)))
        for piece in [ping[i : i + 1] for i in range(len(ping))] if torn else [ping]:
            raw.write(piece)
            await raw.writer.drain()
        assert await raw.frame() == (PONG, bytes(range(125)))


@pytest.mark.parametrize("torn", BOTH)
@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
async def test_a_control_frame_over_125_bytes_is_an_error(opcode: int, torn: bool) -> None:
    payload = code(1000, b"x" * 124) if opcode == CLOSE else bytes(126)
    assert await verdict(frame(opcode, payload), torn=torn) == ([], 1002)


@pytest.mark.parametrize("torn", BOTH)
async def test_an_unsolicited_pong_is_ignored(torn: bool) -> None:
    data = frame(PONG, b"unasked") + frame(BINARY, b"**") + frame(PONG)
    assert await verdict(data, torn=torn) == ([2], 0)


# Sections 3 and 4: reserved bits, opcodes


@pytest.mark.parametrize("torn", BOTH)
@pytest.mark.parametrize("opcode", [BINARY, PING, CLOSE])
@pytest.mark.parametrize("reserved", range(1, 8))
async def test_reserved_bits_are_an_error(reserved: int, opcode: int, torn: bool) -> None:
    data = frame(BINARY, b"*") + frame(opcode, b"", reserved=reserved)
    assert await verdict(data, torn=torn) == ([1], 1002)


@pytest.mark.parametrize("torn", BOTH)
@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
async def test_reserved_opcodes_are_an_error(opcode: int, torn: bool) -> None:
    data = frame(BINARY, b"*") + frame(opcode, b"payload")
    assert await verdict(data, torn=torn) == ([1], 1002)


@pytest.mark.parametrize("torn", BOTH)
@pytest.mark.parametrize("size", [0, 5, 130])
async def test_an_unmasked_frame_is_an_error(size: int, torn: bool) -> None:
    assert await verdict(frame(BINARY, bytes(size), mask=None), torn=torn) == ([], 1002)


# Section 5: fragments

FRAGMENTS = {
    "two": (frame(BINARY, b"ab", fin=False) + frame(CONT, b"c"), [3], 0),
    "empty": (frame(BINARY, b"", fin=False) + frame(CONT, b"", fin=False) + frame(CONT), [0], 0),
    "ping between": (
        frame(BINARY, b"ab", fin=False) + frame(PING, b"now") + frame(CONT, b"c"),
        [3],
        0,
    ),
    "then another": (
        frame(BINARY, b"ab", fin=False) + frame(CONT, b"c") + frame(BINARY, b"d"),
        [3, 1],
        0,
    ),
    "fragmented ping": (frame(PING, b"a", fin=False) + frame(CONT, b"b"), [], 1002),
    "fragmented pong": (frame(PONG, b"a", fin=False) + frame(CONT, b"b"), [], 1002),
    "fragmented close": (frame(CLOSE, b"", fin=False) + frame(CONT, b"b"), [], 1002),
    "continues nothing": (frame(CONT, b"a") + frame(BINARY, b"b"), [], 1002),
    "continues nothing, unfinished": (frame(CONT, b"a", fin=False), [], 1002),
    "continues what is complete": (
        frame(BINARY, b"ab", fin=False) + frame(CONT, b"c") + frame(CONT, b"d"),
        [3],
        1002,
    ),
    "message within a message": (
        frame(BINARY, b"ab", fin=False) + frame(BINARY, b"c"),
        [],
        1002,
    ),
    "close within a message": (
        frame(BINARY, b"ab", fin=False) + frame(CLOSE, code(1000)) + frame(CONT, b"c"),
        [],
        1000,
    ),
    "over the limit together": (
        frame(BINARY, bytes(40_000), fin=False) + frame(CONT, bytes(25_537)),
        [],
        1009,
    ),
    "at the limit together": (
        frame(BINARY, bytes(40_000), fin=False) + frame(CONT, bytes(25_536)),
        [65_536],
        0,
    ),
}


@pytest.mark.parametrize("torn", BOTH)
@pytest.mark.parametrize("case", FRAGMENTS)
async def test_fragments(case: str, torn: bool) -> None:
    data, sizes, closed = FRAGMENTS[case]
    # Sixty-five thousand writes of a byte would prove no more than one.
    assert await verdict(data, torn=torn and len(data) < 1000) == (sizes, closed)


async def test_a_message_in_many_fragments() -> None:
    pieces = [frame(CONT, bytes(1300), fin=False)] * 49
    data = b"".join([frame(BINARY, bytes(1300), fin=False), *pieces, frame(CONT)])
    assert await verdict(data, torn=False) == ([65_000], 0)


# Section 6: UTF-8, and frames of the wrong kind

VALID = [
    "κόσμε",
    "",
    "\x00",
    "\x7f",
    "\u0080",
    "\u07ff",
    "\u0800",
    "\uffff",
    "\U0010ffff",
    "\ufffe",
]
INVALID = [
    b"\xce",  # a sequence that stops
    b"\x80",  # a continuation alone
    b"\xc0\xaf",  # overlong
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xed\xa0\x80",  # a surrogate
    b"\xed\xaf\xbf\xed\xbf\xbf",
    b"\xf4\x90\x80\x80",  # over U+10FFFF
    b"\xf8\x88\x80\x80\x80",
    b"\xfe",
    b"\xff",
    WORD + b"\xf4\x90\x80\x80edited",
]


@pytest.mark.parametrize("torn", BOTH)
@pytest.mark.parametrize("text", VALID)
async def test_valid_text(text: str, torn: bool) -> None:
    data = text.encode()
    assert await verdict(frame(TEXT, data), torn=torn, text=True) == ([len(data)], 0)


@pytest.mark.parametrize("torn", BOTH)
@pytest.mark.parametrize("data", INVALID)
async def test_invalid_text(data: bytes, torn: bool) -> None:
    assert await verdict(frame(TEXT, data), torn=torn, text=True) == ([], 1007)


@pytest.mark.parametrize("cut", range(len(WORD) + 1))
async def test_text_may_be_cut_within_a_character(cut: int) -> None:
    data = frame(TEXT, WORD[:cut], fin=False) + frame(CONT, WORD[cut:])
    assert await verdict(data, torn=False, text=True) == ([len(WORD)], 0)


async def test_fragments_must_be_valid_text_together() -> None:
    data = frame(TEXT, WORD[:3], fin=False) + frame(CONT, b"x")
    assert await verdict(data, torn=False, text=True) == ([], 1007)


@pytest.mark.parametrize("torn", BOTH)
@pytest.mark.parametrize("text", BOTH)
async def test_the_kind_of_frame_must_be_the_subprotocols(text: bool, torn: bool) -> None:
    assert await verdict(frame(BINARY if text else TEXT, b"{}"), torn=torn, text=text) == ([], 1003)


# Section 7: closing

CLOSES = {
    "without a code": (b"", 1005),
    "with a code": (code(1000), 1000),
    "with a reason": (code(1000, b"good bye"), 1000),
    "with the longest reason": (code(1000, b"x" * 123), 1000),
    "with one byte": (b"\x03", 1002),
    "with a broken reason": (code(1000, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80"), 1007),
} | {
    str(number): (code(number), number)
    for number in [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999]
}
WRONG = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535]


@pytest.mark.parametrize("torn", BOTH)
@pytest.mark.parametrize("case", CLOSES)
async def test_a_close_frame_is_answered(case: str, torn: bool) -> None:
    payload, answer = CLOSES[case]
    assert await verdict(frame(CLOSE, payload), torn=torn) == ([], answer)


@pytest.mark.parametrize("number", WRONG)
async def test_a_wrong_close_code_is_an_error(number: int) -> None:
    assert await verdict(frame(CLOSE, code(number)), torn=False) == ([], 1002)


async def test_what_follows_a_close_frame_is_ignored() -> None:
    async with running() as rig, rig.raw() as raw:
        raw.write(frame(CLOSE, code(1000)) + frame(BINARY, b"late") + frame(PING) + frame(CLOSE))
        assert await raw.frame() == (CLOSE, code(1000))
        assert await raw.rest() == b""
        assert rig.notes.sizes == []


# Section 9: limits


@pytest.mark.parametrize("torn", BOTH)
@pytest.mark.parametrize("length", [65_537, 2**31, 2**63 - 1, 2**64 - 1])
async def test_a_length_over_the_limit_is_refused_before_its_bytes_come(
    length: int, torn: bool
) -> None:
    async with running() as rig, rig.raw() as raw:
        head = frame(BINARY, length=length)
        for piece in [head[i : i + 1] for i in range(len(head))] if torn else [head]:
            raw.write(piece)
        assert (await raw.closed())[0] == 1009
        await rig.settled(lambda: rig.notes.codes == [1009])


async def test_a_length_may_be_written_longer_than_needed() -> None:
    mask = b"\x00\x00\x00\x00"
    data = b"\x82\xfe\x00\x01" + mask + b"*" + b"\x82\xff" + bytes(7) + b"\x02" + mask + b"**"
    assert await verdict(data, torn=False) == ([1, 2], 0)
