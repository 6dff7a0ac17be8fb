"""What depends on the loop, on both loops: uvloop reads on while data comes, asyncio does not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop

from crypto_modes import wire
from server.certs import make_dev_certificates
from server.gateway.inbox import TURN
from tests.gateway_rig import (
    BINARY,
    HELLO,
    PATIENCE,
    TYPING,
    Recorder,
    encoded,
    frame,
    notice,
    running,
)
from tests.test_certs import client_context, shake

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]
Loop = Callable[[], asyncio.AbstractEventLoop]
both_loops = pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])


def run(loop: Loop, main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main)


@both_loops
@pytest.mark.attack(36)
def test_one_that_sends_without_pause_leaves_the_others_their_turns(loop: Loop) -> None:
    whole, count = frame(BINARY, encoded(TYPING)), 20_000
    turns = [0]

    def counts(recorder: Recorder, _: wire.ClientFrame) -> None:
        if turns[-1] == 0:
            asyncio.get_running_loop().call_soon(turns.append, 0)
        turns[-1] += 1

    async def main() -> None:
        async with running(counts) as rig, rig.raw() as flood:
            flood.write(whole * count)
            await rig.handlers[0].until(lambda recorder: len(recorder.frames) == count)

    run(loop, main())
    assert sum(turns) == count
    assert max(turns) <= TURN


@both_loops
def test_an_answer_goes_out_before_the_end_that_came_with_the_question(loop: Loop) -> None:
    async def main() -> None:
        async with running() as rig, rig.raw() as raw:
            raw.write(frame(BINARY, encoded(HELLO)))
            raw.writer.write_eof()
            assert await raw.frame() == (BINARY, encoded(notice("welcome")))
            assert await raw.rest() == b""

    run(loop, main())


@both_loops
def test_frames_larger_than_a_read(loop: Loop) -> None:
    data = encoded(wire.Login(ref=1, name="x", device=bytes(16), password="p" * 3000))

    async def main() -> None:
        async with running(None, before_hello=65536) as rig, rig.raw() as raw:
            raw.write(frame(BINARY, data) * 100)
            await rig.handlers[0].until(lambda recorder: len(recorder.frames) == 100)
            assert set(map(encoded, rig.handlers[0].frames)) == {data}

    run(loop, main())


@both_loops
@pytest.mark.parametrize("turns", range(5))
def test_nobody_slips_in_while_the_gateway_closes(loop: Loop, turns: int) -> None:
    async def main() -> None:
        async with running() as rig:
            with socket.create_connection(("127.0.0.1", rig.gateway.port)) as late:
                for _ in range(turns):
                    await asyncio.sleep(0)
                await rig.gateway.close()
                late.setblocking(False)
                with suppress(ConnectionResetError):
                    async with asyncio.timeout(PATIENCE):
                        assert await asyncio.get_running_loop().sock_recv(late, 1) == b""
                assert rig.gateway.connections == 0

    run(loop, main())


@both_loops
def test_tls(loop: Loop, tmp_path: Path) -> None:
    make_dev_certificates(tmp_path)

    async def main() -> None:
        version, _ = await shake(tmp_path, client_context(tmp_path / "ca.pem"))
        assert version == "TLSv1.3"

    run(loop, main())
