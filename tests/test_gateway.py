"""The gateway with real clients: both subprotocols, limits, deadlines, closing."""

from __future__ import annotations

import asyncio
import socket

import pytest
import websockets.exceptions

from crypto_modes import wire
from crypto_modes.errors import FrameRefused, UnknownType
from server.gateway import GatewaySettings
from server.gateway.connection import Connection
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
    Recorder,
    encoded,
    frame,
    greets,
    notice,
    request,
    running,
)

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("name", [wire.MSGPACK, wire.JSON])
async def test_a_frame_goes_in_and_a_frame_comes_out(name: str) -> None:
    async with running() as rig, rig.connect(name) as client:
        assert client.subprotocol == name
        await client.send(encoded(HELLO, name), text=name == wire.JSON)
        answer = await client.recv(decode=False)
        assert wire.CODECS[name].decode_server(answer) == notice("welcome")
        assert rig.handlers[0].frames == [HELLO]
        assert rig.notes.opens == [name]


async def test_compression_is_never_accepted() -> None:
    async with running() as rig, rig.connect(compression="deflate") as client:
        assert client.response is not None
        assert "Sec-WebSocket-Extensions" not in client.response.headers


@pytest.mark.parametrize("size", [0, 1, 99, 100, 125, 126, 127, 65_000, 65_535, 65_536, 200_000])
async def test_frames_of_every_length_class_arrive_as_sent(size: int) -> None:
    def answers(recorder: Recorder, frame: wire.ClientFrame) -> None:
        recorder.link.send(notice("x" * size))

    async with running(answers) as rig, rig.connect() as client:
        await client.send(encoded(HELLO))
        assert await client.recv() == encoded(notice("x" * size))


async def test_what_is_sent_in_one_turn_is_one_write() -> None:
    def answers(recorder: Recorder, frame: wire.ClientFrame) -> None:
        for number in range(20):
            recorder.link.send(notice(str(number)))

    async with running(answers) as rig, rig.connect() as client:
        await client.send(encoded(HELLO))
        texts = [wire.CODECS[wire.MSGPACK].decode_server(await client.recv()) for _ in range(20)]
        assert texts == [notice(str(number)) for number in range(20)]
        assert [frames for frames, _ in rig.notes.writes] == [20]


async def test_a_bad_frame_is_refused_with_its_ref_and_the_connection_lives() -> None:
    async with running() as rig, rig.connect() as client:
        await client.send(encoded(wire.GetDevices(ref=7, account=bytes(3))).replace(b"dev", b"vex"))
        await client.send(b"\xc1")
        await client.send(encoded(HELLO))
        await client.recv()
        (ref, unknown), (zero, bad) = rig.handlers[0].refusals
        assert (ref, type(unknown)) == (7, UnknownType)
        assert (zero, type(bad)) == (0, FrameRefused)


async def test_too_many_malformed_frames_close_with_bad_request() -> None:
    async with running(malformed=3) as rig, rig.connect() as client:
        for _ in range(5):
            await client.send(b"\xc1")
        await client.wait_closed()
        assert (client.close_code, client.close_reason) == (4501, "bad_request")
        assert len(rig.handlers[0].refusals) == 3


async def test_a_good_frame_makes_up_for_a_bad_one() -> None:
    async with running(malformed=2) as rig, rig.connect() as client:
        for _ in range(5):
            await client.send(b"\xc1")
            await client.send(encoded(TYPING))
        await client.send(encoded(HELLO))
        assert await client.recv() == encoded(notice("welcome"))
        assert len(rig.handlers[0].refusals) == 5


async def test_a_message_over_the_limit_closes_with_1009_and_is_never_handed_over() -> None:
    async with running() as rig, rig.connect() as client:
        await client.send(bytes(4097))
        await client.wait_closed()
        assert client.close_code == 1009
        assert rig.handlers[0].refusals == []
        assert rig.notes.codes == [1009]


async def test_hello_lifts_the_limit() -> None:
    async with running() as rig, rig.connect() as client:
        await client.send(encoded(HELLO))
        await client.recv()
        await client.send(b"\xc1" + bytes(65_535))
        await rig.handlers[0].until(lambda recorder: recorder.refusals != [])
        await client.send(bytes(65_537))
        await client.wait_closed()
        assert client.close_code == 1009


async def test_without_hello_the_connection_is_closed() -> None:
    async with running(hello_seconds=0.2) as rig, rig.connect() as client:
        await client.wait_closed()
        assert (client.close_code, client.close_reason) == (4502, "no_hello")
        await rig.settled(lambda: rig.notes.codes == [4502])
        assert rig.handlers[0].closings == 1


async def test_the_hello_deadline_restarts_once() -> None:
    clock = Clock()

    def extends(recorder: Recorder, frame: wire.ClientFrame) -> None:
        recorder.link.extend()

    async with running(extends, hello_seconds=600) as rig, rig.raw() as raw:
        for count in (1, 2):
            clock.forward(400)
            raw.write(frame(BINARY, encoded(TYPING)))
            await rig.handlers[0].until(lambda heard, count=count: len(heard.frames) == count)
        assert rig.handlers[0].link.is_open
        clock.forward(400)
        assert await raw.closed() == (4502, "no_hello")


async def test_a_peer_that_answers_pings_stays() -> None:
    clock = Clock()
    async with (
        running(ping_seconds=200, pong_seconds=100) as rig,
        rig.connect(ping_interval=None) as client,
    ):
        await client.send(encoded(HELLO))
        await client.recv()
        link = rig.handlers[0].link
        for count in range(1, 4):
            clock.forward(200)
            await rig.settled(lambda count=count: rig.notes.writes.count((1, 2)) == count)  # pings
            await rig.settled(lambda: link._heard)
            clock.forward(100)
            await rig.settled(lambda: link._phase is LIVE)
        assert client.state is websockets.protocol.State.OPEN


async def test_a_peer_that_is_silent_is_closed_with_no_pong() -> None:
    async with running(ping_seconds=0.2, pong_seconds=0.2) as rig, rig.raw() as raw:
        raw.write(frame(BINARY, encoded(HELLO)))
        await raw.frame()
        assert await raw.frame() == (PING, b"")
        assert await raw.closed() == (4012, "no_pong")
        await rig.settled(lambda: rig.notes.codes == [4012])


async def test_a_peer_that_we_do_not_read_is_not_blamed_for_silence() -> None:
    def pauses(recorder: Recorder, frame: wire.ClientFrame) -> None:
        greets(recorder, frame)
        if isinstance(frame, wire.Hello):
            recorder.link.pause()

    clock = Clock()
    async with running(pauses, ping_seconds=200, pong_seconds=100) as rig, rig.raw() as raw:
        raw.write(frame(BINARY, encoded(HELLO)))
        await raw.frame()
        raw.write(frame(BINARY, encoded(TYPING)))
        for _ in range(3):
            clock.forward(200)
            assert await raw.frame() == (PING, b"")
            clock.forward(100)
            await rig.settled(lambda: rig.handlers[0].link._phase is LIVE)
        assert rig.handlers[0].frames == [HELLO]
        rig.handlers[0].link.resume()
        await rig.handlers[0].until(lambda recorder: recorder.frames == [HELLO, TYPING])


async def test_close_flushes_what_is_queued_and_names_the_code() -> None:
    def leaves(recorder: Recorder, frame: wire.ClientFrame) -> None:
        recorder.link.send(notice("last words"))
        recorder.link.close(4503)
        recorder.link.send(notice("never seen"))

    async with running(leaves) as rig, rig.connect() as client:
        await client.send(encoded(HELLO))
        assert await client.recv() == encoded(notice("last words"))
        with pytest.raises(websockets.exceptions.ConnectionClosedError):
            await client.recv()
        assert (client.close_code, client.close_reason) == (4503, "removed")
        await rig.settled(lambda: rig.notes.codes == [4503])


async def test_a_clients_close_is_answered_and_told_once() -> None:
    async with running() as rig, rig.connect() as client:
        await client.close(1001, "bye")
        await rig.settled(lambda: rig.notes.codes == [1001])
        assert rig.handlers[0].closings == 1
        assert client.close_code == 1001


async def test_an_abrupt_reset_is_told_once() -> None:
    async with running() as rig, rig.raw() as raw:
        raw.writer.transport.abort()
        await rig.settled(lambda: rig.notes.codes == [1006])
        assert rig.handlers[0].closings == 1


async def test_who_was_accepted_before_and_is_told_of_after_closing_is_cut_off() -> None:
    """asyncio makes the connection some turns after it accepted the socket."""
    ours, theirs = socket.socketpair()
    async with running() as rig:
        await rig.gateway.close()
        theirs.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours)
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: Connection(rig.gateway), theirs
        )
        assert await reader.read() == b""
        assert rig.gateway.connections == 0
        writer.close()


async def test_a_paused_connection_is_read_again_when_it_closes() -> None:
    async with running(close_seconds=600) as rig, rig.connect() as client:
        await client.send(encoded(HELLO))
        await client.recv()
        link = rig.handlers[0].link
        link.pause()
        link.close(4503)
        async with asyncio.timeout(PATIENCE):
            await client.wait_closed()
        await rig.settled(lambda: rig.notes.codes == [4503])


@pytest.mark.parametrize("peer", ["is told to go", "vanishes"])
async def test_whoever_waits_to_write_is_told_when_the_connection_closes(peer: str) -> None:
    # So long does closing take that only its beginning can be what is told.
    async with running(outbox_frames=2, close_seconds=600) as rig, rig.raw() as raw:
        link = rig.handlers[0].link
        link.pause_writing()  # as the transport does for a slow reader
        for _ in range(2):
            link.send(notice("x"))
        waiting = asyncio.ensure_future(link.writable())
        await asyncio.sleep(0)
        if peer == "vanishes":
            raw.writer.transport.abort()
        else:
            link.close(4503)
        async with asyncio.timeout(PATIENCE):
            assert not await waiting


async def test_a_half_closed_connection_ends() -> None:
    async with running() as rig, rig.raw() as raw:
        raw.write(frame(BINARY, encoded(HELLO)))
        raw.writer.write_eof()
        assert await raw.frame() == (BINARY, encoded(notice("welcome")))
        assert await raw.rest() == b""
        await rig.settled(lambda: rig.notes.codes == [1006])


async def test_the_end_of_a_stream_does_not_overtake_an_answer() -> None:
    async with running() as rig, rig.raw() as raw:
        link = rig.handlers[0].link
        link.send(notice("still queued"))
        link.eof_received()
        link._transport.close()  # as the loop does next
        assert await raw.frame() == (BINARY, encoded(notice("still queued")))


async def test_a_peer_that_ignores_our_close_frame_is_cut_off() -> None:
    async with running(close_seconds=0.2) as rig, rig.raw() as raw:
        rig.handlers[0].link.close(4500)
        assert await raw.closed() == (4500, "invalid_token")
        raw.write(frame(BINARY, encoded(HELLO)))
        assert await raw.rest() == b""
        assert rig.handlers[0].frames == []
        await rig.settled(lambda: rig.notes.codes == [4500])


async def test_a_handler_that_raises_costs_its_own_connection_only() -> None:
    def breaks(recorder: Recorder, frame: wire.ClientFrame) -> None:
        if isinstance(frame, wire.SetTyping):
            raise ZeroDivisionError
        greets(recorder, frame)

    async with running(breaks) as rig, rig.connect() as broken, rig.connect() as fine:
        await broken.send(encoded(TYPING))
        await broken.wait_closed()
        assert (broken.close_code, broken.close_reason) == (4004, "internal")
        assert [type(error) for error in rig.notes.errors] == [ZeroDivisionError]
        await fine.send(encoded(HELLO))
        assert await fine.recv() == encoded(notice("welcome"))


async def test_draining_refuses_new_connections_and_keeps_the_old() -> None:
    async with running() as rig, rig.connect() as client:
        port = rig.gateway.port
        await rig.gateway.drain()
        with pytest.raises(OSError):  # noqa: PT011 - which one depends on the platform
            await asyncio.open_connection("127.0.0.1", port)
        await client.send(encoded(HELLO))
        assert await client.recv() == encoded(notice("welcome"))
        await rig.gateway.close()
        await client.wait_closed()
        assert (client.close_code, client.close_reason) == (4001, "draining")
        assert rig.gateway.connections == 0


async def test_closing_waits_for_every_connection() -> None:
    async with running() as rig, rig.connect() as client, rig.raw():
        await rig.gateway.close()
        await client.wait_closed()
        assert rig.gateway.connections == 0
        assert rig.gateway._addresses == {}
        assert sorted(rig.notes.codes) == [4001, 4001]


async def test_a_frame_that_comes_with_the_request_is_handled() -> None:
    async with running() as rig:
        raw = await rig.dial()
        raw.write(request() + frame(BINARY, encoded(HELLO)) + frame(CLOSE))
        assert (await raw.head()).startswith(b"HTTP/1.1 101 ")
        assert await raw.frame() == (BINARY, encoded(notice("welcome")))
        assert await raw.frame() == (CLOSE, b"")
        raw.writer.close()


async def test_pings_are_answered_in_order() -> None:
    async with running() as rig, rig.raw() as raw:
        raw.write(b"".join(frame(PING, bytes([number])) for number in range(10)))
        assert [await raw.frame() for _ in range(10)] == [(PONG, bytes([n])) for n in range(10)]


async def test_a_reload_changes_limits_and_origins_of_a_running_gateway() -> None:
    async with running() as rig, rig.connect() as client:
        rig.gateway.reload(GatewaySettings(origins=("https://new.example",), frame=100))
        async with rig.connect(origin="https://new.example"):
            pass
        await client.send(encoded(HELLO))
        await client.recv()
        await client.send(bytes(101))
        await client.wait_closed()
        assert client.close_code == 1009


async def test_closing_the_gateway_cuts_off_what_never_became_a_connection() -> None:
    async with running() as rig:
        raw = await rig.dial()
        await rig.settled(lambda: rig.gateway.connections == 1)
        await rig.gateway.close()
        assert await raw.rest() == b""
        assert rig.notes.codes == []
