"""What strangers, floods and slow readers may cost the gateway: time, memory, connections.

What may live here: peers that keep the letter of RFC 6455 and take more than their share. What
may not: frames that break its rules (``test_gateway_rules``).
"""

from __future__ import annotations

import asyncio
import socket
import tracemalloc

import pytest

from crypto_modes import wire
from server.gateway.phases import LIVE
from tests.gateway_rig import (
    BINARY,
    CLOSE,
    HELLO,
    PATIENCE,
    PING,
    PONG,
    TYPING,
    Clock,
    encoded,
    frame,
    narrow,
    notice,
    request,
    running,
)

pytestmark = pytest.mark.asyncio


@pytest.mark.attack(36)
async def test_a_flood_of_pings_from_one_that_reads_nothing_ends() -> None:
    # Were there no bound on control frames, the outbox would still have one.
    async with running(close_seconds=0.2, control_frames=10**9) as rig, rig.raw() as raw:
        raw.write(frame(BINARY, encoded(HELLO)))
        await raw.frame()
        flood = frame(PING, bytes(125)) * 1000
        async with asyncio.timeout(PATIENCE):
            while not rig.notes.codes:
                raw.write(flood)
                await asyncio.sleep(0)
        assert rig.notes.codes == [4008]


@pytest.mark.attack(36)
@pytest.mark.parametrize("greeted", [False, True])
async def test_a_flood_of_control_frames_closes_with_rate_limited(greeted: bool) -> None:
    async with running(control_frames=100) as rig, rig.raw() as raw:
        most = 32
        if greeted:
            most = 100
            raw.write(frame(BINARY, encoded(HELLO)))
            await raw.frame()
        raw.write(frame(PING) * most)
        for _ in range(most):
            assert await raw.frame() == (PONG, b"")
        raw.write(frame(PONG))
        assert await raw.closed() == (4013, "rate_limited")
        await rig.settled(lambda: rig.notes.codes == [4013])


async def test_control_frames_now_and_then_are_welcome_for_ever() -> None:
    """Clients send pings of their own, and pongs to ours, without a message for days."""
    clock = Clock()
    async with (
        running(control_frames=4, ping_seconds=200, pong_seconds=100) as rig,
        rig.raw() as raw,
    ):
        raw.write(frame(BINARY, encoded(HELLO)))
        await raw.frame()
        for _ in range(10):
            clock.forward(200)
            assert await raw.frame() == (PING, b"")
            raw.write(frame(PONG) + frame(PING, b"mine"))
            assert await raw.frame() == (PONG, b"mine")
            clock.forward(100)
            await rig.settled(lambda: rig.handlers[0].link._phase is LIVE)
        assert rig.handlers[0].link.is_open


async def test_a_configured_limit_over_the_default_is_the_limit() -> None:
    async with running(frame=200_000) as rig, rig.connect() as client:
        await client.send(encoded(HELLO))
        await client.recv()
        large = wire.Send(
            ref=1, to=bytes(16), id=bytes(16), mode="tls", epoch=1, body=bytes(150_000)
        )
        await client.send(encoded(large))
        await rig.handlers[0].until(lambda recorder: len(recorder.frames) == 2)
        assert rig.handlers[0].frames[1] == large


async def test_a_close_frame_for_a_slow_consumer_is_the_last_frame() -> None:
    async with running(outbox_frames=5) as rig, rig.raw() as raw:
        raw.write(frame(BINARY, encoded(HELLO)))
        assert await raw.frame() == (BINARY, encoded(notice("welcome")))
        link = rig.handlers[0].link
        link.pause_writing()  # as the transport does for a slow reader
        raw.write(frame(PING) * 20)
        await rig.settled(lambda: not link.is_open)
        link.resume_writing()
        assert await raw.frame() == (CLOSE, b"\x0f\xa8slow_consumer")
        assert await raw.rest() == b""


@pytest.mark.attack(36)
async def test_one_that_sends_but_never_reads_is_closed_in_the_end() -> None:
    limits = {"write_seconds": 300, "ping_seconds": 200, "pong_seconds": 100, "close_seconds": 200}
    clock = Clock()
    async with running(None, outbox_bytes=2**30, **limits) as rig, rig.raw() as raw:
        link, frames = rig.handlers[0].link, rig.handlers[0].frames
        narrow(rig.handlers[0])
        link.greeted()
        raw.writer.transport.pause_reading()
        for _ in range(50):  # more than the kernel's buffers take
            link.send(notice("x" * 60_000))
        await rig.settled(lambda: len(rig.gateway.stalls) == 1)
        for count in range(1, 30):
            raw.write(frame(BINARY, encoded(TYPING)))
            await rig.settled(lambda count=count: len(frames) == count or not link.is_open)
            if not link.is_open:
                break
            clock.forward(50)
        clock.forward(200)
        await rig.settled(lambda: rig.notes.codes == [4008])
        assert len(rig.gateway.stalls) == 0


async def test_one_that_reads_slowly_but_reads_is_kept() -> None:
    size, pieces = 6 * 2**20, 60
    clock = Clock()
    async with (
        running(None, outbox_bytes=2**30, write_seconds=900, ping_seconds=10**6) as rig,
        rig.raw() as raw,
    ):
        link = rig.handlers[0].link
        narrow(rig.handlers[0])
        link.greeted()
        link.send(notice("x" * size))  # one frame, so that the transport stays paused
        await rig.settled(lambda: len(rig.gateway.stalls) == 1)
        for _ in range(pieces):  # four deadlines
            await raw.reader.readexactly(size // pieces)
            clock.forward(60)
            await asyncio.sleep(0.005)
        await rig.settled(lambda: len(rig.gateway.stalls) == 0)
        assert link.is_open


MEMORY = {
    "a header that never ends": (request()[:-2] + b"X: " + b"x" * 7900, 16),
    "a frame that never ends": (request() + frame(BINARY, bytes(4096))[:-1], 16),
    "a message that never ends": (request() + frame(BINARY, bytes(4095), fin=False), 16),
    "an idle connection": (request() + frame(BINARY, encoded(HELLO)), 8),
}


@pytest.mark.attack(36)
@pytest.mark.parametrize("case", MEMORY)
async def test_memory_per_connection_is_bounded(case: str) -> None:
    data, most = MEMORY[case]
    count = 200
    async with running() as rig, rig.raw():
        sockets = [socket.create_connection(("127.0.0.1", rig.gateway.port)) for _ in range(count)]
        await rig.settled(lambda: rig.gateway.connections == count + 1)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for peer in sockets:
            peer.sendall(data)
        await asyncio.sleep(0.3)
        used = (tracemalloc.get_traced_memory()[0] - before) / count / 1024
        tracemalloc.stop()
        for peer in sockets:
            peer.close()
        assert 0 < used < most
