"""A programmable man in the middle between real clients and a real relay.

What may live here: passing frames on, and letting a test's rules rewrite, drop, repeat, hold back
or invent any of them, in both directions. What may not: attacks themselves (``test_attack_*``).
Frames are parsed with the codec, so a rule sees structs; it may answer with raw bytes too. ::

    async with hostile_relay(relay) as hostile, enter(hostile, "alice") as alice, …:
        hostile.down(wire.Deliver, lambda line, frame: [frame] * 100)     # repeat
        hostile.up(wire.Send, lambda line, frame: None)                   # drop
        await hostile.line("bob").to_client(forged)                       # inject
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from crypto_modes import wire
from tests.conftest import Running

# What goes on instead of a frame: another, several (or none), raw bytes, or None to drop it.
Passed = wire.Frame | bytes | Iterable[wire.Frame | bytes] | None
Rule = Callable[["Line", Any], Passed]

changed: Callable[..., Any] = msgspec.structs.replace


class Line:
    """One client's connection: ``name`` and ``device`` once known. Both ends can be spoken to."""

    def __init__(self, client: ServerConnection, relay: ClientConnection) -> None:
        self.name = ""
        self.device = b""
        self._client = client
        self._relay = relay
        self._codec = wire.CODECS[str(client.subprotocol)]

    async def to_client(self, *frames: wire.Frame | bytes) -> None:
        """Say something that the relay did not."""
        for frame in frames:
            await self._client.send(self._encode(frame), text=self._codec.text)

    async def to_relay(self, *frames: wire.Frame | bytes) -> None:
        """Say something that the client did not."""
        for frame in frames:
            await self._relay.send(self._encode(frame), text=self._codec.text)

    async def hang_up(self, code: int = 4004) -> None:
        """Break the client's connection; it comes back."""
        await self._client.close(code)

    def _encode(self, frame: wire.Frame | bytes) -> bytes:
        return frame if isinstance(frame, bytes) else self._codec.encode(frame)


class HostileRelay:
    """``url`` for clients. ``said`` and ``shown`` keep, with the client's name, what clients said
    and what the relay said, before any rule; ``sent`` every byte that clients sent.
    """

    ca = None  # the place of a relay's certificate authority: this one speaks plain ws

    def __init__(self, target: Running) -> None:
        self.url = ""
        self.lines: list[Line] = []
        self.said: list[tuple[str, wire.ClientFrame]] = []
        self.shown: list[tuple[str, wire.ServerFrame]] = []
        self.sent = bytearray()
        self.failures: list[Exception] = []
        self._target = target
        self._up: list[tuple[type[Any], Rule]] = []
        self._down: list[tuple[type[Any], Rule]] = []

    def up(self, kind: type[Any], rule: Rule) -> None:
        """From now on ``rule(line, frame)`` says what the relay gets of each frame of ``kind``."""
        self._up.append((kind, rule))

    def down(self, kind: type[Any], rule: Rule) -> None:
        """The same for what clients get."""
        self._down.append((kind, rule))

    def honest(self) -> None:
        """Forget all rules."""
        self._up.clear()
        self._down.clear()

    def line(self, name: str) -> Line:
        """The newest connection of a user."""
        return next(line for line in reversed(self.lines) if line.name == name)

    def deliveries(self, name: str) -> list[wire.Deliver]:
        """What the relay delivered to a user, so far."""
        return [each for to, each in self.shown if to == name and isinstance(each, wire.Deliver)]

    def sends(self, name: str) -> list[wire.Send]:
        """The messages that a user sent, so far."""
        return [each for by, each in self.said if by == name and isinstance(each, wire.Send)]

    async def _serve(self, client: ServerConnection) -> None:
        offered = [Subprotocol(str(client.subprotocol))]
        async with connect(
            self._target.url, subprotocols=offered, compression=None, proxy=None, max_size=None
        ) as relay:
            line = Line(client, relay)
            self.lines.append(line)
            pumps = [asyncio.create_task(pump(line)) for pump in (self._climb, self._fall)]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                results = await asyncio.gather(*pumps, return_exceptions=True)
                self.failures += [each for each in results if isinstance(each, Exception)]
            if relay.close_code is not None:
                await client.close(relay.close_code, relay.close_reason or "")

    async def _climb(self, line: Line) -> None:
        """From the client to the relay, until one of them leaves."""
        with suppress(ConnectionClosed):
            while True:
                data = await line._client.recv(decode=False)
                self.sent += data
                frame = line._codec.decode_client(data)
                match frame:
                    case wire.Register() | wire.Login():
                        line.name, line.device = frame.name, frame.device
                    case wire.Hello():
                        line.device = frame.device
                self.said.append((line.name, frame))
                await line.to_relay(*_ruled(self._up, line, frame))

    async def _fall(self, line: Line) -> None:
        """From the relay to the client, until one of them leaves."""
        with suppress(ConnectionClosed):
            while True:
                frame = line._codec.decode_server(await line._relay.recv(decode=False))
                if isinstance(frame, wire.Welcome):
                    line.name = frame.name
                self.shown.append((line.name, frame))
                await line.to_client(*_ruled(self._down, line, frame))


def _ruled(
    rules: list[tuple[type[Any], Rule]], line: Line, frame: wire.Frame
) -> list[wire.Frame | bytes]:
    """What becomes of a frame: each rule sees what the rules before it left."""
    passed: list[wire.Frame | bytes] = [frame]
    for kind, rule in rules:
        before, passed = passed, []
        for each in before:
            after: Passed = rule(line, each) if isinstance(each, kind) else each
            if isinstance(after, wire.Frame | bytes):
                passed.append(after)
            elif after is not None:
                passed += after
    return passed


@asynccontextmanager
async def hostile_relay(target: Running) -> AsyncIterator[HostileRelay]:
    """A man in the middle before ``target`` (plain ws), on a free port of the loopback.

    An exception in a rule fails the test at the end.
    """
    hostile = HostileRelay(target)
    protocols = [Subprotocol(name) for name in wire.CODECS]
    async with serve(
        hostile._serve,
        "127.0.0.1",
        0,
        subprotocols=protocols,
        compression=None,
        ping_interval=None,
        max_size=None,
    ) as server:
        hostile.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        yield hostile
    assert hostile.failures == []


def edit(**fields: Any) -> Rule:
    """A rule that sets fields; a callable is applied to the field's value."""

    def rule(line: Line, frame: Any) -> wire.Frame:
        given = {
            name: value(getattr(frame, name)) if callable(value) else value
            for name, value in fields.items()
        }
        return changed(frame, **given)  # type: ignore[no-any-return]  # a frame of the same type

    return rule


class HeldBack:
    """A rule that keeps frames until the test asks for them: ``held`` in order of arrival."""

    def __init__(self, name: str = "") -> None:
        self.held: list[Any] = []
        self._name = name

    def __call__(self, line: Line, frame: Any) -> Passed:
        if self._name not in ("", line.name):
            return frame  # type: ignore[no-any-return]  # as it came
        self.held.append(frame)
        return None

    async def until(self, count: int) -> None:
        """Wait for that many, at most ten seconds."""
        async with asyncio.timeout(30):
            while len(self.held) < count:
                await asyncio.sleep(0.005)
