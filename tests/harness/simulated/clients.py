"""The talkers on the simulated network: several devices of an account, each with so much to say.

What may live here: a socket for ``RawClient`` and how the talkers of a seed come to be. What may
not: how a talker talks; that is ``tests.harness.talkers``, the same as over real sockets.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import Any, cast

from crypto_modes import wire
from tests.gateway_rig import BINARY, CLOSE, PING, PONG, frame, request
from tests.harness.history import History
from tests.harness.simulated.network import Network, Stream
from tests.harness.talkers import Company, Talker
from tests.raw_client import RawClient

_REQUEST = request(wire.MSGPACK)
_NO_MASK = bytes(4)  # legal, and cheap


class SimulatedSocket:
    """A WebSocket client as far as ``RawClient`` uses one. The relay's frames are whole."""

    def __init__(self) -> None:
        self._stream: Stream
        self._buffer = b""
        self._open = False
        self._messages: deque[bytes] = deque()
        self._ended = False
        self._news: asyncio.Future[None] | None = None

    @classmethod
    async def dial(cls, network: Network) -> SimulatedSocket:
        """Connect and shake hands. Raises ``OSError``."""
        made = cls()
        made._stream = await network.dial(made._arrived, made._end)
        made._stream.up.write(_REQUEST)
        while not made._open:
            await made._wait()
        return made

    @property
    def transport(self) -> SimulatedSocket:
        """It is its own."""
        return self

    @property
    def stream(self) -> Stream:
        """The connection below."""
        return self._stream

    def abort(self) -> None:
        """Hang up."""
        self._stream.cut()

    async def send(self, data: bytes) -> None:
        self._write(BINARY, data)

    async def recv(self, *, decode: bool) -> bytes:
        while not self._messages:
            await self._wait()
        return self._messages.popleft()

    async def close(self) -> None:
        self._write(CLOSE, b"\x03\xe8")

    def _write(self, opcode: int, data: bytes) -> None:
        if self._ended:
            raise ConnectionResetError("the connection is gone")
        size = len(data)
        if size < 126:
            head = bytes((0x80 | opcode, 0x80 | size))
        else:
            head = bytes((0x80 | opcode, 0x80 | 126, size >> 8, size & 0xFF))
        self._stream.up.write(head + _NO_MASK + data)

    async def _wait(self) -> None:
        if self._ended:
            raise ConnectionResetError("the connection is gone")
        self._news = asyncio.get_running_loop().create_future()
        await self._news

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _end(self) -> None:
        self._ended = True
        self._wake()

    def _arrived(self, data: bytes) -> None:
        self._buffer += data
        if not self._open:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            self._open, self._buffer = head.startswith(b"HTTP/1.1 101 "), rest
            if not self._open:
                self._end()
        while self._take():
            pass
        self._wake()

    def _take(self) -> bool:
        """One whole frame of the buffer, if there is one."""
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        size, start = buffer[1], 2
        if size == 126:
            size, start = int.from_bytes(buffer[2:4]), 4
        elif size == 127:
            size, start = int.from_bytes(buffer[2:10]), 10
        if len(buffer) < start + size:
            return False
        payload, self._buffer = buffer[start : start + size], buffer[start + size :]
        opcode = buffer[0] & 0x0F
        if opcode == BINARY:
            self._messages.append(payload)
        elif opcode == PING and not self._ended:
            self._stream.up.write(frame(PONG, payload, mask=_NO_MASK))
        elif opcode == CLOSE:
            self._end()
        return True


class SimulatedTalker(Talker):
    """Says ``left`` things. ``sibling`` is an earlier device of the same account."""

    def __init__(
        self,
        network: Network,
        name: str,
        history: History,
        chance: random.Random,
        sibling: SimulatedTalker | None = None,
    ) -> None:
        super().__init__(name, lambda: "", history, chance, chance.choice((1, 2, 8)))
        self.left = chance.choice((0, 3, 12, 30))
        self.quiet = not self.left
        self.sibling = sibling
        self._pause = chance.choice((0.0, 0.1, 0.5))
        self._network = network

    async def enter(self) -> None:
        client = await self._dial()
        client.device = self.device
        await client.register(self.name, login=self.sibling is not None)
        self.account, self._token = client.account, client.token
        await client.close()

    async def _dial(self) -> RawClient:
        socket = await SimulatedSocket.dial(self._network)
        return RawClient(cast("Any", socket), wire.CODECS[wire.MSGPACK])

    def join(self, sibling: Talker) -> None:
        """Take part in the conversation of another device of this account."""
        self.peer, self.conversation = sibling.peer, sibling.conversation
        self._mode, self._epoch = sibling._mode, sibling._epoch
        self._history.parties[self.conversation] += (self.device,)

    async def _converse(self, client: RawClient) -> None:
        if self._network.troubled:
            self._history.muddled(self.conversation, self._pending)
        await super()._converse(client)

    async def _send(self, client: RawClient, id_: bytes) -> None:
        if self._pause:
            await asyncio.sleep(self._chance.random() ** 3 * self._pause)
        await super()._send(client, id_)

    def _invoke(self) -> bytes:
        self.left -= 1
        self.quiet = self.quiet or self.left <= 0
        return super()._invoke()


class SimulatedCompany(Company):
    """One or two pairs of accounts; some have a second device."""

    def __init__(self, network: Network, chance: random.Random) -> None:
        self.history = History()
        self.talkers: list[Any] = []
        for number in range(2 * chance.randint(1, 2)):
            name = f"talker{number}"
            first = SimulatedTalker(network, name, self.history, chance)
            self.talkers.append(first)
            if chance.random() < 0.3:
                second = SimulatedTalker(network, name, self.history, chance, first)
                self.talkers.append(second)

    async def enter(self) -> None:
        for talker in self.talkers:
            await talker.enter()
        firsts = [talker for talker in self.talkers if talker.sibling is None]
        for first, second in zip(firsts[::2], firsts[1::2], strict=True):
            await first.pair(second)
        for talker in self.talkers:
            if talker.sibling is not None:
                talker.join(talker.sibling)
