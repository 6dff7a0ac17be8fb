"""The outbox: one write per turn, bounds that only slow readers meet, and the end of a stream."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes import wire
from server.outbox import CHUNK, Flusher, Outbox
from tests.gateway_rig import (
    BINARY,
    CLOSE,
    HELLO,
    TYPING,
    Recorder,
    encoded,
    frame,
    greets,
    narrow,
    notice,
    running,
)


class Pipe:
    """A transport that keeps what is written; it asks to pause when ``room`` bytes are in it."""

    def __init__(self, room: int = 10**9) -> None:
        self.writes: list[bytes] = []
        self.room = room
        self.outbox: Outbox
        self.half_closable = True
        self.ends = 0
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.ends
        self.writes.append(data)
        self.room -= len(data)
        if self.room <= 0:
            self.outbox.block()

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return self.half_closable

    def write_eof(self) -> None:
        self.ends += 1

    def close(self) -> None:
        self.closed = True


class Turn:
    """An event loop of which only ``call_soon`` is used; ``end`` runs what was scheduled."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def call_soon(self, call: Any) -> None:
        self.calls.append(call)

    def end(self) -> int:
        calls, self.calls = self.calls, []
        for call in calls:
            call()
        return len(calls)


class Case:
    """An outbox with a pipe, its loop turn, and counters."""

    def __init__(self, frames: int = 256, size: int = 1024 * 1024, room: int = 10**9) -> None:
        self.turn = Turn()
        self.pipe = Pipe(room)
        self.overflows = 0
        self.written = 0
        self.flusher = Flusher(self.turn)  # type: ignore[arg-type] - a loop of one method
        self.outbox = Outbox(
            self.pipe,  # type: ignore[arg-type] - a transport of five methods
            self.flusher,
            (frames, size),
            self._overflowed,
            self._count,
        )
        self.pipe.outbox = self.outbox

    def _overflowed(self) -> None:
        self.overflows += 1

    def _count(self, frames: int, size: int) -> None:
        self.written += frames


def test_the_frames_of_a_turn_are_one_write_at_its_end() -> None:
    case = Case()
    for piece in (b"a", b"b", b"c"):
        case.outbox.put(piece)
    assert case.pipe.writes == []
    assert case.turn.end() == 1
    assert case.pipe.writes == [b"abc"]
    assert (case.written, case.outbox.frames, case.outbox.bytes) == (3, 0, 0)
    case.outbox.put(b"d")
    assert case.turn.end() == 1
    assert case.pipe.writes == [b"abc", b"d"]


def test_all_outboxes_share_one_callback() -> None:
    case = Case()
    others = [Outbox(case.pipe, case.flusher, (9, 9), int, lambda *_: None) for _ in range(3)]  # type: ignore[arg-type] - as above
    for outbox in [case.outbox, *others]:
        outbox.put(b"x")
        outbox.put(b"y")
    assert case.turn.end() == 1
    assert case.pipe.writes == [b"xy"] * 4


def test_a_burst_to_a_fast_reader_never_overflows() -> None:
    case = Case(frames=10, size=100)
    for _ in range(1000):
        case.outbox.put(bytes(30))
    case.turn.end()
    assert sum(map(len, case.pipe.writes)) == 30_000
    assert case.overflows == 0


@pytest.mark.parametrize(("frames", "size"), [(10, 10**6), (1000, 10)])
def test_a_blocked_outbox_overflows_at_its_bound(frames: int, size: int) -> None:
    case = Case(frames, size)
    case.outbox.block()
    for _ in range(10):
        case.outbox.put(b"x")
    assert case.overflows == 0
    case.outbox.put(b"x")
    assert case.overflows == 1
    assert case.pipe.writes == []


def test_a_transport_that_pauses_gets_no_more_than_a_chunk_too_much() -> None:
    case = Case(frames=10_000, room=1)
    for _ in range(300):
        case.outbox.put(bytes(1000))
    case.turn.end()
    assert sum(map(len, case.pipe.writes)) <= CHUNK
    assert case.outbox.frames == 300 - case.written
    assert case.outbox.bytes == 300_000 - sum(map(len, case.pipe.writes))


def test_a_frame_larger_than_a_chunk_is_written() -> None:
    case = Case()
    case.outbox.put(bytes(3 * CHUNK))
    case.outbox.put(b"x")
    case.turn.end()
    assert b"".join(case.pipe.writes) == bytes(3 * CHUNK) + b"x"


def test_unblocking_writes_the_rest_in_order() -> None:
    case = Case()
    case.outbox.block()
    case.outbox.put(b"a")
    case.turn.end()
    case.outbox.put(b"b")
    assert case.pipe.writes == []
    case.outbox.unblock()
    assert b"".join(case.pipe.writes) == b"ab"
    case.outbox.put(b"c")
    case.turn.end()
    assert b"".join(case.pipe.writes) == b"abc"


def test_the_stream_ends_after_what_waits_and_only_once() -> None:
    case = Case()
    case.outbox.block()
    case.outbox.put(b"last")
    case.outbox.end()
    assert (case.pipe.writes, case.pipe.ends) == ([], 0)
    case.outbox.unblock()
    assert (case.pipe.writes, case.pipe.ends) == ([b"last"], 1)
    case.outbox.unblock()
    assert case.pipe.ends == 1


def test_a_transport_without_half_closing_is_closed() -> None:
    case = Case()
    case.pipe.half_closable = False
    case.outbox.put(b"last")
    case.outbox.end()
    assert case.pipe.writes == [b"last"]
    assert case.pipe.closed


def test_a_dead_outbox_writes_nothing() -> None:
    case = Case()
    case.outbox.put(b"x")
    case.outbox.kill()
    case.turn.end()
    case.outbox.put(b"y")
    case.turn.end()
    assert case.pipe.writes == []


@given(
    st.lists(
        st.integers(1, 100_000).map(lambda size: ("put", size))
        | st.sampled_from([("block", 0), ("unblock", 0), ("turn", 0)]),
        max_size=40,
    )
)
def test_nothing_is_lost_or_reordered(steps: list[tuple[str, int]]) -> None:
    case = Case(frames=10**6, size=10**9)
    expected = b""
    for number, (step, size) in enumerate(steps):
        if step == "put":
            piece = bytes([number]) * size
            expected += piece
            case.outbox.put(piece)
        elif step == "turn":
            case.turn.end()
        else:
            getattr(case.outbox, step)()
    case.outbox.unblock()
    case.turn.end()
    assert b"".join(case.pipe.writes) == expected
    assert case.outbox.bytes == case.outbox.frames == 0


# Waiting until it is writable


@pytest.mark.asyncio
async def test_writable_waits_for_half_of_the_bounds() -> None:
    case = Case(frames=10)
    assert await case.outbox.writable()
    case.outbox.block()
    for _ in range(6):
        case.outbox.put(b"x")
    waiting = [asyncio.ensure_future(case.outbox.writable()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    case.outbox.unblock()
    assert await asyncio.gather(*waiting) == [True, True]


@pytest.mark.asyncio
async def test_writable_writes_first_what_the_transport_takes() -> None:
    case = Case(frames=10)
    for _ in range(9):
        case.outbox.put(b"x")
    assert await case.outbox.writable()
    assert case.pipe.writes == [b"x" * 9]


@pytest.mark.asyncio
async def test_writable_is_false_once_the_connection_closes() -> None:
    case = Case(frames=2)
    case.outbox.block()
    case.outbox.put(b"x")
    case.outbox.put(b"x")
    waiting = [asyncio.ensure_future(case.outbox.writable()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting.pop().cancel()
    await asyncio.sleep(0)
    case.outbox.release()
    assert await asyncio.gather(*waiting) == [False, False]


# Over the network


@pytest.mark.asyncio
@pytest.mark.attack(36)
async def test_a_slow_reader_is_closed_with_slow_consumer_and_the_others_are_served() -> None:
    async with running(greets, close_seconds=5) as rig, rig.raw() as slow, rig.connect() as good:
        slow.write(frame(BINARY, encoded(HELLO)))
        await rig.handlers[0].until(lambda recorder: recorder.frames != [])
        link = rig.handlers[0].link
        for _ in range(2000):  # until the kernel's buffers are full as well
            link.send(notice("x" * 16_000))
            await asyncio.sleep(0)
            if not link.is_open:
                break
        assert link._outbox.frames == 1  # the close frame; what was queued is not kept
        await good.send(encoded(HELLO))
        assert await good.recv() == encoded(notice("welcome"))
        assert await slow.closed() == (4008, "slow_consumer")
        slow.write(frame(CLOSE, b"\x0f\xa8"))
        slow.writer.close()
        await rig.settled(lambda: rig.notes.codes == [4008])
        assert not await link.writable()


@pytest.mark.asyncio
async def test_a_sender_that_waits_until_writable_overwhelms_nobody() -> None:
    sent = 1000
    finished: list[bool] = []

    async def pour(recorder: Recorder) -> None:
        for number in range(sent):
            if number % 50 == 0 and not await recorder.link.writable():
                return
            recorder.link.send(notice(str(number) + "x" * 4000))
        finished.append(True)

    tasks: list[asyncio.Task[None]] = []

    def starts(recorder: Recorder, _: wire.ClientFrame) -> None:
        tasks.append(asyncio.create_task(pour(recorder)))

    async with running(starts) as rig, rig.raw() as raw:
        narrow(rig.handlers[0])
        raw.write(frame(BINARY, encoded(TYPING)))
        await rig.settled(lambda: len(rig.gateway.stalls) == 1)  # while nothing is read
        assert finished == []
        for number in range(sent):
            _, payload = await raw.frame()
            assert payload == encoded(notice(str(number) + "x" * 4000))
        await asyncio.gather(*tasks)
        assert finished == [True]
        assert rig.notes.codes == []
