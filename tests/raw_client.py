"""A client of bare frames for tests: it sends what it is told and believes nothing.

Only this helper lives here; the client library has tests of its own.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from crypto_modes import wire

PASSWORD = "correct horse battery"
PATIENCE = 30.0

F = TypeVar("F")


class Refused(AssertionError):
    """An ``error`` frame where another answer was expected."""

    def __init__(self, error: wire.Error) -> None:
        super().__init__(repr(error))
        self.error = error


class RawClient:
    """One connection. ``pushed`` holds frames that nobody has asked for yet."""

    opened: ClassVar[list[RawClient]] = []

    def __init__(self, socket: ClientConnection, codec: wire.Codec) -> None:
        self.socket = socket
        self.codec = codec
        self.account = b""
        self.name = ""
        self.device = b""
        self.token = ""
        self.welcome: wire.Welcome | None = None
        self.pushed: deque[wire.ServerFrame] = deque()
        self._ref = 0

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        protocol: str = wire.MSGPACK,
        ssl: Any = None,
        unread: int | None = 16,
    ) -> RawClient:
        """Connect, without saying hello. Reads on while fewer than ``unread`` frames wait."""
        socket = await connect(
            url,
            subprotocols=[Subprotocol(protocol)],
            compression=None,
            ssl=ssl,
            proxy=None,
            max_queue=unread,
        )
        client = cls(socket, wire.CODECS[protocol])
        cls.opened.append(client)
        return client

    @classmethod
    async def cut_all(cls) -> None:
        """Cut every connection that was ever opened; for the end of a test."""
        while cls.opened:
            socket = cls.opened.pop().socket
            socket.transport.abort()
            await socket.wait_closed()

    @classmethod
    async def enter(cls, url: str, name: str, **options: Any) -> RawClient:
        """Connect, register ``name`` with a new device, say hello."""
        client = await cls.open(url, **options)
        await client.register(name)
        await client.hello()
        return client

    async def register(self, name: str, *, login: bool = False) -> wire.Token:
        """Register, or log in, with a new device and the common password."""
        self.device = self.device or os.urandom(16)
        frame = (wire.Login if login else wire.Register)(
            ref=self.ref(), name=name, device=self.device, password=PASSWORD
        )
        token = await self.ask(frame, wire.Token)
        self.account, self.token, self.name = token.account, token.token, name
        return token

    async def hello(self, **fields: Any) -> wire.Welcome:
        """Open the session."""
        frame = wire.Hello(ref=self.ref(), token=self.token, device=self.device, **fields)
        self.welcome = await self.ask(frame, wire.Welcome)
        return self.welcome

    async def again(self, url: str, **options: Any) -> RawClient:
        """A new connection of the same device."""
        other = await RawClient.open(url, **options)
        other.account, other.device, other.token = self.account, self.device, self.token
        other.name = self.name
        await other.hello()
        return other

    def ref(self) -> int:
        """A fresh request number."""
        self._ref += 1
        return self._ref

    async def send(self, frame: wire.ClientFrame | bytes | str) -> None:
        """Send a frame, or raw bytes or text."""
        data: bytes | str
        if isinstance(frame, bytes | str):
            data = frame
        else:
            encoded = self.codec.encode(frame)
            data = encoded.decode() if self.codec.text else encoded
        await self.socket.send(data)

    async def next(self) -> wire.ServerFrame:
        """The next frame, pushed ones first."""
        if self.pushed:
            return self.pushed.popleft()
        return await self._read()

    async def expect(self, kind: type[F], where: Callable[[F], bool] = lambda frame: True) -> F:
        """The next frame of this type for which ``where`` holds; others stay queued."""
        for position, frame in enumerate(self.pushed):
            if isinstance(frame, kind) and where(frame):
                del self.pushed[position]
                return frame
        while True:
            frame = await self._read()
            if isinstance(frame, kind) and where(frame):
                return frame
            if isinstance(frame, wire.Error) and frame.ref and frame.ref == self._ref:
                raise Refused(frame)
            self.pushed.append(frame)

    async def ask(self, frame: Any, kind: type[F]) -> F:
        """Send a request and wait for its answer. Raises ``Refused``."""
        await self.send(frame)
        return await self.expect(kind, lambda answer: getattr(answer, "ref", 0) == frame.ref)

    async def refusal(self, frame: Any) -> wire.Error:
        """Send a request that must be refused."""
        await self.send(frame)
        return await self.answer_to(frame)

    async def answer_to(self, request: Any) -> wire.Error:
        """The refusal of a request that was sent before."""
        while True:
            frame = await self._read()
            if isinstance(frame, wire.Error) and frame.ref == request.ref:
                return frame
            self.pushed.append(frame)

    async def policy(self, peer: RawClient) -> wire.Policy:
        """The policy in force with a peer."""
        return await self.ask(wire.SetPolicy(ref=self.ref(), peer=peer.account), wire.Policy)

    async def say(self, peer: RawClient, text: str, **fields: Any) -> wire.Accepted:
        """Send a text in the mode in force, and wait until it is durable."""
        return await self.ask(await self.draft(peer, text, **fields), wire.Accepted)

    async def draft(self, peer: RawClient, text: str, **fields: Any) -> wire.Send:
        """A ``send`` frame with the policy in force, unless ``fields`` say otherwise."""
        policy = await self.policy(peer)
        given: dict[str, Any] = {
            "ref": self.ref(),
            "id": os.urandom(16),
            "to": peer.account,
            "mode": policy.modes["text"],
            "epoch": policy.epoch,
            "body": text.encode(),
        }
        return wire.Send(**(given | fields))

    async def hear(self, count: int = 1, *, ack: bool = True) -> list[wire.Deliver]:
        """The next ``count`` messages; acknowledged."""
        heard = [await self.expect(wire.Deliver) for _ in range(count)]
        for message in heard if ack else ():
            await self.send(wire.Ack(conversation=message.conversation, seq=message.seq))
        return heard

    async def silent(self, kind: type[Any], seconds: float = 0.2) -> bool:
        """Whether no frame of this type arrives; a ping to the relay bounds the waiting."""
        try:
            async with asyncio.timeout(seconds):
                await self.expect(kind)
        except TimeoutError:
            return True
        return False

    async def close(self) -> None:
        """Close the connection."""
        await self.socket.close()

    async def _read(self) -> wire.ServerFrame:
        async with asyncio.timeout(PATIENCE):
            data = await self.socket.recv(decode=False)
        return self.codec.decode_server(data)
