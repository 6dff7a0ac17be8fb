"""Hostile clients, in a process of their own, so that they slow down only the relay.

    python -m tests.harness.attackers PORT SECONDS HEADERS READERS FLOODS

What may live here: clients that take and never give. What may not: what a relay must do about them.
Each kind comes from an address of its own (127.0.0.0/8 is one machine), and comes back when it is
closed. Prints one line of JSON: how often what was tried.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from crypto_modes import wire
from tests.gateway_rig import BINARY, CONT, PING, frame, request
from tests.raw_client import RawClient

_CODEC = wire.CODECS[wire.MSGPACK]
_HEAD = request()
_PIECES = 16  # messages that a reader asks for, of so many bytes each
_PIECE = 16 * 1024
_PER_ACCOUNT = 10  # connections
_PASSWORDS = 4  # guessers at a time


class Attack:
    """What all attackers share. ``tried`` counts what they did."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.tried: Counter[str] = Counter()

    async def again(self, what: str, once: Callable[[], Awaitable[None]]) -> None:
        """Do it for ever; being closed is no reason to stop."""
        while True:
            with contextlib.suppress(OSError, EOFError):
                await once()
            self.tried[what] += 1
            await asyncio.sleep(0.05)

    async def dial(self, address: str, buffer: int = 0) -> _Wire:
        """Connect from ``address``, with a receive buffer of this size, if it is given."""
        made = socket.socket()
        if buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        made.setblocking(False)
        made.bind((address, 0))
        try:
            await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", self.port))
            return _Wire(*await asyncio.open_connection(sock=made, limit=1024 if buffer else 65536))
        except BaseException:
            made.close()
            raise

    # --- before hello ---

    async def slow_header(self) -> None:
        """A request of which one byte comes now and then."""
        wire_ = await self.dial("127.0.0.2")
        try:
            for position in range(len(_HEAD)):
                wire_.writer.write(_HEAD[position : position + 1])
                await wire_.writer.drain()
                await asyncio.sleep(0.5)
        finally:
            wire_.close()

    async def guess(self) -> None:
        """Passwords of somebody else."""
        wire_ = await self.open("127.0.0.3")
        try:
            for number in range(10):
                login = wire.Login(
                    ref=number + 1,
                    name="talker0",
                    device=os.urandom(16),
                    password=f"guess {number}",
                )
                await wire_.send(login)
                await wire_.message()
                self.tried["logins"] += 1
        finally:
            wire_.close()

    # --- with an account ---

    async def flood(self, name: str, data: bytes) -> None:
        """The same frames as fast as they go; what comes back is read."""
        wire_ = await self.open("127.0.0.4")
        drain = asyncio.create_task(wire_.drain())
        try:
            while not drain.done():
                wire_.writer.write(data)
                await wire_.writer.drain()
                self.tried[name] += 1
                await asyncio.sleep(0)
        finally:
            drain.cancel()
            wire_.close()

    async def slow_reader(self, account: Member) -> None:
        """Asks for page after page, and reads nothing but the first answers."""
        wire_ = await self.open("127.0.0.5", 4096)
        try:
            await wire_.send(account.hello)
            ask = wire.History(ref=2, conversation=account.conversation, limit=_PIECES)
            for _ in range(100):
                await wire_.send(ask)
                await asyncio.sleep(0.05)
        finally:
            wire_.close()

    async def open(self, address: str, buffer: int = 0) -> _Wire:
        """Connect and shake hands."""
        wire_ = await self.dial(address, buffer)
        wire_.writer.write(_HEAD)
        await wire_.reader.readuntil(b"\r\n\r\n")
        return wire_


class _Wire:
    """A connection of bare bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def close(self) -> None:
        """Cut it."""
        self.writer.transport.abort()

    async def send(self, message: wire.Frame) -> None:
        """One whole frame."""
        self.writer.write(frame(BINARY, _CODEC.encode(message)))
        await self.writer.drain()

    async def message(self) -> None:
        """Read one frame, whatever it is."""
        _, length = await self.reader.readexactly(2)
        if length == 126:
            length = int.from_bytes(await self.reader.readexactly(2))
        await self.reader.readexactly(length)

    async def drain(self) -> None:
        """Read until the end."""
        with contextlib.suppress(OSError):
            while await self.reader.read(65536):
                pass


class Member:
    """An account that a slow reader uses, with something to read."""

    def __init__(self, hello: wire.Hello, conversation: bytes) -> None:
        self.hello = hello
        self.conversation = conversation


async def members(url: str, count: int) -> list[Member]:
    """Accounts, each of which has a conversation with the next."""
    clients = [await RawClient.enter(url, f"reader{number}") for number in range(max(count, 2))]
    found = []
    for client, peer in zip(clients, [*clients[1:], clients[0]], strict=True):
        accepted = None
        for _ in range(_PIECES):
            accepted = await client.say(peer, "x" * _PIECE)
        assert accepted is not None
        hello = wire.Hello(ref=1, token=client.token, device=client.device)
        found.append(Member(hello, accepted.conversation))
    await RawClient.cut_all()
    return found


def floods() -> dict[str, bytes]:
    """What is sent without end: legal frames, pings, fragments."""
    lookup = _CODEC.encode(wire.GetDevices(ref=1, name="talker0"))
    return {
        "frames": frame(BINARY, lookup) * 50,
        "pings": frame(PING, b"ping") * 50,
        "fragments": frame(BINARY, b"x", fin=False) + frame(CONT, b"x", fin=False) * 50,
    }


async def attack(port: int, seconds: float, headers: int, readers: int, flooders: int) -> Any:
    """All of it at once, for so long; what was tried."""
    host = Attack(port)
    accounts = await members(f"ws://127.0.0.1:{port}/", -(-readers // _PER_ACCOUNT))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    work = [host.again("slow headers", host.slow_header) for _ in range(headers)]
    work += [host.again("guessers", host.guess) for _ in range(_PASSWORDS)]
    work += [
        host.again("slow readers", lambda each=accounts[n // _PER_ACCOUNT]: host.slow_reader(each))
        for n in range(readers)
    ]
    for name, data in floods().items():
        work += [
            host.again("flooders", lambda name=name, data=data: host.flood(name, data))
            for _ in range(flooders)
        ]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*work)
    return host.tried


if __name__ == "__main__":
    port, seconds, *counts = sys.argv[1:]
    done = asyncio.run(attack(int(port), float(seconds), *map(int, counts)))
    sys.stdout.write(json.dumps(done) + "\n")
