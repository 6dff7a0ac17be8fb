"""Clients that talk in pairs through whatever happens, and tell a ``History`` of it.

What may live here: a client of bare frames that reconnects, sends again what was not answered, and
acks what it got. What may not: faults, or verdicts. It knows nothing of the client library, so a
fault that the library would hide shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import ClassVar

from websockets.exceptions import WebSocketException

from crypto_modes import wire
from crypto_modes.policy import conversation_id
from tests.harness.history import History
from tests.raw_client import RawClient, Refused

BODY = 64
ACK_EVERY = 8
# Longer than a relay waits before it looks again at what it could not hand over.
STILL = 6.0
SILENCE = 5.0  # an answer that does not come within this many seconds is asked for again
BROKEN = (OSError, WebSocketException, EOFError, asyncio.TimeoutError)


class Talker:
    """One device. ``talk`` runs until ``stop``; ``quiet`` keeps it connected without sending."""

    def __init__(
        self,
        name: str,
        url: Callable[[], str],
        history: History,
        chance: random.Random,
        window: int,
    ) -> None:
        self.name = name
        self.device = os.urandom(16)
        self.account = b""
        self.peer: Talker | None = None
        self.conversation = b""
        self.quiet = False
        self.connections = 0
        self.accepted = 0
        self._token = ""
        self._url = url
        self._history = history
        self._chance = chance
        self._window = window
        self._mode = ""
        self._epoch = 0
        self._pending: OrderedDict[bytes, bytes] = OrderedDict()
        self._refs: dict[int, bytes] = {}
        self._unacked = 0
        self._claims: deque[tuple[int, int]] = deque()
        self._got: dict[int, bytes] = {}
        self._upto = 0
        self._answered = 0.0
        self._crashes = 0
        self._task: asyncio.Task[None] | None = None

    # --- life ---

    async def enter(self) -> None:
        """Make the account."""
        client = await self._dial()
        client.device = self.device
        await client.register(self.name)
        self.account, self._token = client.account, client.token
        await client.close()

    async def pair(self, peer: Talker) -> None:
        """Agree on the conversation with ``peer``; both have entered."""
        self.peer, peer.peer = peer, self
        client = await self._connect()
        policy = await client.ask(wire.SetPolicy(ref=client.ref(), peer=peer.account), wire.Policy)
        await client.close()
        for each in (self, peer):
            each.conversation = conversation_id(self.account, peer.account)
            each._mode, each._epoch = policy.modes["text"], policy.epoch
        self._history.parties[self.conversation] = (self.device, peer.device)

    def start(self) -> None:
        """Talk in the background."""
        self._task = asyncio.create_task(self._talk())

    async def stop(self) -> None:
        """Hang up. Raises what ended it, if it was not this."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    @property
    def settled(self) -> bool:
        """Nothing that was sent waits for an answer."""
        return not self._pending

    # --- talking ---

    async def _talk(self) -> None:
        while True:
            client = None
            self._crashes = self._history.crashes
            try:
                async with asyncio.timeout(SILENCE):
                    client = await self._connect()
                self.connections += 1
                self._history.connected(self.device)
                await self._converse(client)
            except BROKEN:
                pass  # it comes back below
            except Refused as refused:
                if not refused.error.temporary:
                    raise
            finally:
                if client is not None:
                    client.socket.transport.abort()
            await asyncio.sleep(self._chance.uniform(0.01, 0.1))

    async def _connect(self) -> RawClient:
        client = await self._dial()
        client.account, client.device, client.token = self.account, self.device, self._token
        try:
            await client.hello()
        except BaseException:
            client.socket.transport.abort()  # nobody else knows of it
            raise
        return client

    async def _dial(self) -> RawClient:
        # It reads whatever comes: the library's `send` on a connection that the relay closes waits
        # for the end of it, and does not see that while unread frames keep it from reading.
        client = await RawClient.open(self._url(), unread=None)
        RawClient.opened.remove(client)
        return client

    async def _converse(self, client: RawClient) -> None:
        self._refs.clear()
        self._claims.clear()
        for id_ in list(self._pending):
            await self._send(client, id_)
        self._answered = asyncio.get_running_loop().time()
        while True:
            while not self.quiet and len(self._pending) < self._window:
                await self._send(client, self._invoke())
            await self._next(client)

    async def _next(self, client: RawClient) -> None:
        """One frame, if one comes; nothing while an answer is owed is a broken connection."""
        try:
            async with asyncio.timeout(0.2):
                frame = await client.next()
        except TimeoutError:
            await self._ack(client)
            late = asyncio.get_running_loop().time() - self._answered
            if self._pending and late > SILENCE:
                raise
            return
        match frame:
            case wire.Accepted():
                self._accepted(frame)
            case wire.Error() if frame.ref in self._refs:
                await self._refused(client, frame)
            case wire.Error() if not frame.ref:
                # Perhaps an ack of what this connection has not shown yet; it comes again.
                self._claims.clear()
            case wire.Deliver():
                self._delivered(frame)
                if self._unacked >= ACK_EVERY:
                    await self._ack(client)
            case wire.Bye():
                raise ConnectionError("bye")

    # --- frames ---

    def _invoke(self) -> bytes:
        id_, body = os.urandom(16), os.urandom(BODY)
        self._pending[id_] = body
        self._history.invoke(self.conversation, id_, self.device, body)
        return id_

    async def _send(self, client: RawClient, id_: bytes) -> None:
        assert self.peer is not None
        ref = client.ref()
        self._refs[ref] = id_
        await client.send(
            wire.Send(
                ref=ref,
                id=id_,
                to=self.peer.account,
                mode=self._mode,
                epoch=self._epoch,
                body=self._pending[id_],
            )
        )

    def _accepted(self, frame: wire.Accepted) -> None:
        self._answered = asyncio.get_running_loop().time()
        self._refs.pop(frame.ref, None)
        # An ack is not answered. That it arrived shows when something sent after it is.
        while self._claims and self._claims[0][0] < frame.ref:
            _, upto = self._claims.popleft()
            if self._crashes == self._history.crashes:  # else it was read by a relay that is gone
                self._history.acked(self.device, self.conversation, upto)
        self._settle(frame.id, frame.seq)

    def _settle(self, id_: bytes, seq: int) -> None:
        if self._pending.pop(id_, None) is not None:
            self.accepted += 1
            self._history.ok(self.conversation, id_, seq)
        self._keep(seq, id_, None)

    async def _refused(self, client: RawClient, error: wire.Error) -> None:
        id_ = self._refs.pop(error.ref)
        if error.temporary:
            # What is behind it may have been refused too, or not: begin again.
            self._history.muddled(self.conversation, self._pending)
            await asyncio.sleep(min(error.retry_after or 0.05, 0.2))
            raise ConnectionError("again, in order")
        self._pending.pop(id_, None)
        self._history.fail(self.conversation, id_)

    def _delivered(self, frame: wire.Deliver) -> None:
        if frame.device == self.device:  # after a break this stands for the `accepted`
            self._settle(frame.id, frame.seq)
        self._keep(frame.seq, frame.id, frame.body)

    def _keep(self, seq: int, id_: bytes, body: bytes | None) -> None:
        self._history.delivered(self.device, self.conversation, seq, id_, body)
        self._got[seq] = id_
        while self._upto + 1 in self._got:
            self._upto += 1
            del self._got[self._upto]
        self._unacked += 1

    async def _ack(self, client: RawClient) -> None:
        if self._unacked and self._upto:
            self._unacked = 0
            await client.send(wire.Ack(conversation=self.conversation, seq=self._upto))
            self._claims.append((client.ref(), self._upto))


class Company:
    """Pairs of talkers over one relay, from entering to the last delivery."""

    kind: ClassVar[type[Talker]] = Talker

    def __init__(self, pairs: int, url: Callable[[], str], seed: int = 0, window: int = 8) -> None:
        self.history = History()
        chance = random.Random(seed)
        self.talkers = [
            self.kind(f"talker{number}", url, self.history, chance, window)
            for number in range(2 * pairs)
        ]

    async def enter(self) -> None:
        """Accounts and conversations."""
        for talker in self.talkers:
            await talker.enter()
        for first, second in zip(self.talkers[::2], self.talkers[1::2], strict=True):
            await first.pair(second)

    def start(self) -> None:
        """Everybody talks."""
        for talker in self.talkers:
            talker.start()

    async def talks(self) -> None:
        """Until something more is accepted, for a minute at most: before that, a fault hits
        nobody.
        """
        before = self.history.accepted
        async with asyncio.timeout(60.0):
            while self.history.accepted == before:
                await asyncio.sleep(0.01)

    async def finish(self) -> None:
        """Send no more, wait until all that was accepted arrived everywhere, hang up. What has not
        arrived when nothing at all arrived for ``STILL`` seconds is left to the verdict.
        """
        for talker in self.talkers:
            talker.quiet = True
        moved, since = 0, time.monotonic()
        while time.monotonic() - since < STILL:
            if all(talker.settled for talker in self.talkers) and self.history.complete():
                break
            await asyncio.sleep(0.1)
            if self.history.moved > moved:
                moved, since = self.history.moved, time.monotonic()
        for talker in self.talkers:
            await talker.stop()

    @property
    def reconnects(self) -> int:
        """How often a connection was made again."""
        return sum(talker.connections - 1 for talker in self.talkers)
