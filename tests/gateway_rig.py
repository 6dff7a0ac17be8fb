"""A gateway on loopback with a recording handler, and clients real and raw to talk to it.

What may live here: the rig that the tests of the gateway share. What may not: assertions.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import websockets.asyncio.client
from websockets.typing import Origin, Subprotocol

from crypto_modes import wire
from crypto_modes.errors import FrameRefused
from server.gateway import Gateway, GatewaySettings
from server.gateway.connection import Connection
from server.link import Link
from server.wheel import TICK

# How long anything may take that has to come, on however slow a machine.
PATIENCE = 30.0
# Of the kernel's buffers at a raw client and at whoever writes to it. What the kernel chooses by
# itself grows to 36 MB on some machines and to 10 MB on others, and fills up no sooner.
KERNEL = 2**18

HELLO = wire.Hello(ref=1, token="t", device=bytes(16))
TYPING = wire.SetTyping(to=bytes(16))


def encoded(frame: wire.Frame, name: str = wire.MSGPACK) -> bytes:
    return wire.CODECS[name].encode(frame)


def notice(text: str) -> wire.Notice:
    return wire.Notice(topic="test", text=text)


class Recorder:
    """A handler that keeps what it is told; ``on`` is called with each frame, if set."""

    def __init__(self, link: Link, on: Callable[[Recorder, wire.ClientFrame], None] | None) -> None:
        assert isinstance(link, Connection)
        self.link = link
        self.frames: list[wire.ClientFrame] = []
        self.refusals: list[tuple[int, FrameRefused]] = []
        self.closings = 0
        self.news = asyncio.Event()
        self._on = on

    def received(self, frame: wire.ClientFrame) -> None:
        self.frames.append(frame)
        self.news.set()
        if self._on is not None:
            self._on(self, frame)

    def refused(self, ref: int, error: FrameRefused) -> None:
        self.refusals.append((ref, error))
        self.news.set()

    def closed(self) -> None:
        self.closings += 1
        self.news.set()

    async def until(self, condition: Callable[[Recorder], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition(self):
                self.news.clear()
                await self.news.wait()


class Clock:
    """The clock of the running loop, which a test puts forward: deadlines of minutes pass at once,
    and none of them passes because a machine is slow.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._real, self._ahead = loop.time, 0.0
        loop.time = self._time  # type: ignore[method-assign]  # asyncio's own loop asks nobody else

    def forward(self, seconds: float) -> None:
        """And by a tick, so that what is due by then need not wait for the wheel's next."""
        self._ahead += seconds + TICK

    def _time(self) -> float:
        return self._real() + self._ahead


def narrow(recorder: Recorder) -> None:
    """Little room in the kernel for what the relay writes."""
    opened: socket.socket = recorder.link._transport.get_extra_info("socket")
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL)


class Notes:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.opens: list[str] = []
        self.codes: list[int] = []
        self.statuses: list[int] = []
        self.origins: list[str] = []
        self.sizes: list[int] = []
        self.writes: list[tuple[int, int]] = []
        self.advice: list[str] = []
        self.errors: list[Exception] = []

    def opened(self, address: str, subprotocol: str) -> None:
        self.opens.append(subprotocol)

    def closed(self, code: int) -> None:
        self.codes.append(code)

    def refused(self, status: int, address: str) -> None:
        self.statuses.append(status)

    def refused_origin(self, origin: str, address: str) -> None:
        self.origins.append(origin)

    def received(self, size: int) -> None:
        self.sizes.append(size)

    def sent(self, frames: int, size: int) -> None:
        self.writes.append((frames, size))

    def limited(self, advice: str) -> None:
        self.advice.append(advice)

    def failed(self, error: Exception) -> None:
        self.errors.append(error)


def greets(recorder: Recorder, frame: wire.ClientFrame) -> None:
    """The smallest session: says welcome to ``hello``."""
    if isinstance(frame, wire.Hello):
        recorder.link.greeted()
        recorder.link.send(notice("welcome"))


class Rig:
    """A running gateway, its observer and its handlers in the order of connecting."""

    def __init__(
        self,
        settings: dict[str, Any],
        on: Callable[[Recorder, wire.ClientFrame], None] | None,
    ) -> None:
        self.notes = Notes()
        self.handlers: list[Recorder] = []
        self.raws: list[Raw] = []
        self._on = on
        self.gateway = Gateway(
            GatewaySettings(port=0, **settings),
            self._handler,
            self.notes,
        )

    def _handler(self, link: Link) -> Recorder:
        self.handlers.append(Recorder(link, self._on))
        return self.handlers[-1]

    def connect(
        self,
        name: str = wire.MSGPACK,
        *,
        origin: str | None = None,
        **options: Any,
    ) -> websockets.asyncio.client.connect:
        """A real client, with everything that real clients offer."""
        return websockets.asyncio.client.connect(
            f"ws://127.0.0.1:{self.gateway.port}/",
            subprotocols=[Subprotocol(name)],
            origin=None if origin is None else Origin(origin),
            proxy=None,
            **options,
        )

    @asynccontextmanager
    async def raw(self, name: str = wire.MSGPACK) -> AsyncIterator[Raw]:
        """A raw connection after a successful handshake."""
        raw = await self.dial()
        raw.write(request(name))
        head = await raw.head()
        assert head.startswith(b"HTTP/1.1 101 "), head
        try:
            yield raw
        finally:
            raw.writer.close()

    async def dial(self) -> Raw:
        """A raw TCP connection; it is closed with the rig."""
        peer = socket.socket()
        peer.setblocking(False)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL)
        await asyncio.get_running_loop().sock_connect(peer, ("127.0.0.1", self.gateway.port))
        self.raws.append(Raw(*await asyncio.open_connection(sock=peer)))
        return self.raws[-1]

    async def settled(self, condition: Callable[[], bool]) -> None:
        """Wait for something that no event tells."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.005)


@asynccontextmanager
async def running(
    on: Callable[[Recorder, wire.ClientFrame], None] | None = greets,
    **settings: Any,
) -> AsyncIterator[Rig]:
    """A rig with ``settings``; what its loop could not handle fails the test."""
    uncaught: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: uncaught.append(context))
    rig = Rig({"close_seconds": 0.5, **settings}, on)
    await rig.gateway.start(None)
    try:
        yield rig
    finally:
        for raw in rig.raws:
            raw.writer.close()
        await rig.gateway.close()
    assert uncaught == []


def request(name: str | None = wire.MSGPACK, **headers: str) -> bytes:
    """A handshake request; ``headers`` replace or, if empty, remove the usual ones."""
    fields = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": name or "",
    } | {key.replace("_", "-"): value for key, value in headers.items()}
    lines = [f"{key}: {value}" for key, value in fields.items() if value]
    return "\r\n".join(["GET / HTTP/1.1", *lines, "", ""]).encode("latin-1")


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    mask: bytes | None = b"\x11\x22\x33\x44",
    length: int | None = None,
) -> bytes:
    """A frame written by hand, legal or not; ``length`` lies about the payload's."""
    size = len(payload) if length is None else length
    bit = 0 if mask is None else 0x80
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    if size < 126:
        head = struct.pack("!BB", first, bit | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


TEXT, BINARY, CONT, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


class Raw:
    """A client that writes bytes of the test's choice and reads a server's frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> bytes:
        """An HTTP response's head."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def rest(self) -> bytes:
        """Everything until the end of the stream; a reset counts as the end."""
        async with asyncio.timeout(PATIENCE):
            data = b""
            try:
                while piece := await self.reader.read(65536):
                    data += piece
            except ConnectionError:
                pass
            return data

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload. A server's frame is whole and not masked."""
        async with asyncio.timeout(PATIENCE):
            first, length = await self.reader.readexactly(2)
            assert first & 0xF0 == 0x80
            assert length < 0x80
            if length == 126:
                length = int.from_bytes(await self.reader.readexactly(2))
            elif length == 127:
                length = int.from_bytes(await self.reader.readexactly(8))
            return first & 0x0F, await self.reader.readexactly(length)

    async def closed(self) -> tuple[int, str]:
        """Read up to the close frame: its code (1005 if none) and reason."""
        while True:
            opcode, payload = await self.frame()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2]) if payload else 1005, payload[2:].decode()
