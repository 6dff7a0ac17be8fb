"""A relay of one screen that does what a test tells it, also what no honest relay does.

It speaks the real frames over a real socket, keeps nothing on disk and checks nothing. ``rules``
are taken one per ``send`` frame: each says what to answer instead of accepting the message.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from crypto_modes import policy, wire

CODEC = wire.CODECS[wire.MSGPACK]
KINDS = wire.KINDS
WORDS = {"tls": "The operator can read and keeps readable text"}

# What to answer to one `send`; None: nothing at all.
Rule = Callable[[wire.Send], wire.ServerFrame | None]


def refuse(code: int, *, retry_after: float = 0.0) -> Rule:
    """Answer with an error frame."""
    temporary = code in wire.TEMPORARY

    def rule(send: wire.Send) -> wire.Error:
        return wire.Error(
            ref=send.ref,
            code=code,
            name=wire.CODES[code],
            message=f"test {code}",
            temporary=temporary,
            retry_after=retry_after,
        )

    return rule


def ignore(send: wire.Send) -> None:
    """Answer nothing, as if the message was lost."""


class FakeRelay:
    """``sends`` holds the bytes of every send frame, ``acks`` every ack, ``reads`` every read;
    ``page`` is what every request for history is answered with.
    """

    def __init__(self) -> None:
        self.id = os.urandom(16)
        self.mode = "tls"
        self.accounts: dict[str, bytes] = {}
        self.sockets: dict[bytes, ServerConnection] = {}
        self.policies: dict[bytes, wire.Policy] = {}
        self.log: dict[bytes, list[wire.Deliver]] = {}
        self.sends: list[bytes] = []
        self.acks: list[wire.Ack] = []
        self.reads: list[wire.Read] = []
        self.hellos: list[wire.Hello] = []
        self.refusals: deque[wire.Error] = deque()
        self.rules: deque[Rule] = deque()
        self.page: tuple[wire.Deliver, ...] = ()
        self.url = ""

    def account(self, name: str) -> bytes:
        """The id of a name, made on first mention."""
        return self.accounts.setdefault(name, os.urandom(16))

    def message(self, sender: str, to: str, text: str, **changed: object) -> wire.Deliver:
        """The next message of a conversation, kept in the log."""
        parties = self.account(sender), self.account(to)
        conversation = policy.conversation_id(*parties)
        log = self.log.setdefault(conversation, [])
        delivery = wire.Deliver(
            conversation=conversation,
            seq=len(log) + 1,
            id=os.urandom(16),
            sender=parties[0],
            device=bytes(16),
            recipient=parties[1],
            kind="text",
            mode=self.mode,
            epoch=1,
            time=now(),
            body=text.encode(),
        )
        log.append(delivery)
        return msgspec.structs.replace(delivery, **changed)

    async def push(self, to: str, *frames: wire.ServerFrame) -> None:
        """Send frames to a connected user."""
        for frame in frames:
            await self.sockets[self.account(to)].send(CODEC.encode(frame))

    async def hang_up(self, name: str, code: int = 4004, reason: str = "") -> None:
        """Close a user's connection."""
        await self.sockets[self.account(name)].close(code, reason)

    def policy(self, first: bytes, second: bytes) -> wire.Policy:
        """The policy of two accounts; epoch 1 of the relay's mode at first."""
        conversation = policy.conversation_id(first, second)
        known = self.policies.get(conversation)
        if known is None:
            modes = dict.fromkeys(KINDS, self.mode)
            known = policy.default_policy({first: b"", second: b""}, modes, now())
            self.policies[conversation] = known
        return known

    # --- the protocol ---

    async def _serve(self, socket: ServerConnection) -> None:
        me = b""
        with suppress(ConnectionClosed):
            async for data in socket:
                assert isinstance(data, bytes)
                frame = CODEC.decode_client(data)
                if isinstance(frame, wire.Hello):
                    me = await self._hello(socket, frame)
                    continue
                if isinstance(frame, wire.Send):
                    self.sends.append(data)
                answer = self._answer(me, frame)
                if answer is not None:
                    await socket.send(CODEC.encode(answer))

    async def _hello(self, socket: ServerConnection, frame: wire.Hello) -> bytes:
        self.hellos.append(frame)
        if self.refusals:
            await socket.send(CODEC.encode(self.refusals.popleft()))
            return b""
        name = frame.token
        me = self.account(name)
        self.sockets[me] = socket
        await socket.send(CODEC.encode(self._welcome(frame, name, me)))
        return me

    def _welcome(self, frame: wire.Hello, name: str, me: bytes) -> wire.Welcome:
        return wire.Welcome(
            ref=frame.ref,
            account=me,
            name=name,
            device=frame.device,
            relay=self.id,
            time=now(),
            epoch=1,
            modes=dict.fromkeys(KINDS, self.mode),
            words=WORDS,
            limits=wire.Limits(frame=65536, content=16384, page=100, devices=10, outbox=256),
            ping=25.0,
            durability="full",
        )

    def _answer(self, me: bytes, frame: wire.ClientFrame) -> wire.ServerFrame | None:
        match frame:
            case wire.Register() | wire.Login():
                account = self.account(frame.name)
                return wire.Token(
                    ref=frame.ref, account=account, device=frame.device, token=frame.name, expires=0
                )
            case wire.GetDevices():
                return self._devices(frame)
            case wire.SetPolicy():
                return msgspec.structs.replace(self.policy(me, frame.peer), ref=frame.ref)
            case wire.Send():
                rule = self.rules.popleft() if self.rules else None
                return rule(frame) if rule is not None else self._accept(me, frame)
            case wire.History():
                return wire.Page(ref=frame.ref, conversation=frame.conversation, messages=self.page)
            case wire.Ack():
                self.acks.append(frame)
            case wire.Read():
                self.reads.append(frame)
        return None

    def _devices(self, frame: wire.GetDevices) -> wire.ServerFrame:
        for name, account in self.accounts.items():
            if name == frame.name or account == frame.account:
                return wire.Devices(ref=frame.ref, account=account, name=name)
        return wire.Error(ref=frame.ref, code=103, name="forbidden", message="nobody there")

    def _accept(self, me: bytes, frame: wire.Send) -> wire.Accepted:
        conversation = policy.conversation_id(me, frame.to)
        log = self.log.setdefault(conversation, [])
        known = next((each for each in log if each.id == frame.id), None)
        if known is None:
            known = wire.Deliver(
                conversation=conversation,
                seq=len(log) + 1,
                id=frame.id,
                sender=me,
                device=bytes(16),
                recipient=frame.to,
                kind=frame.kind,
                mode=frame.mode,
                epoch=frame.epoch,
                time=now(),
                body=frame.body,
            )
            log.append(known)
        return wire.Accepted(
            ref=frame.ref, id=frame.id, conversation=conversation, seq=known.seq, time=known.time
        )


@asynccontextmanager
async def fake_relay() -> AsyncIterator[FakeRelay]:
    """A fake relay on a free port of the loopback."""
    relay = FakeRelay()
    protocols = [wire.MSGPACK]
    async with serve(
        relay._serve, "127.0.0.1", 0, subprotocols=protocols, compression=None, ping_interval=None
    ) as server:
        relay.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        yield relay


def now() -> int:
    return time.time_ns() // 1_000_000
