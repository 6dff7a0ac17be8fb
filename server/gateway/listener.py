"""The gateway itself: it listens, counts connections, and closes them all in the end.

What may live here: what all connections share. What may not: the life of one connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable

from server.gateway import descriptors
from server.gateway.connection import Connection
from server.gateway.handshake import Answer, Policy
from server.gateway.security import Negotiated, negotiated
from server.gateway.settings import GatewaySettings, Observer
from server.gateway.stalls import Stalls
from server.limits import network_of
from server.link import Handler, Link
from server.outbox import Flusher
from server.wheel import Wheel

# So many connections over the limit are still told that it is reached; more are cut off.
_DOORWAY = 256
_BACKLOG = 1024
# Bytes per read, and per loop turn of a connection that sends without pause: most frames come
# whole, and the few hundred small ones that fit hold the loop for about a millisecond.
_READ = 16 * 1024


class Gateway:
    """Accepts WebSocket connections and gives each a handler made by ``handler_factory``."""

    loop: asyncio.AbstractEventLoop
    policy: Policy
    wheel: Wheel
    stalls: Stalls
    flusher: Flusher

    def __init__(
        self,
        settings: GatewaySettings,
        handler_factory: Callable[[Link], Handler],
        observer: Observer,
    ) -> None:
        self.settings = settings
        self.handler_factory = handler_factory
        self.observer = observer
        # A memoryview: asyncio's TLS reads into slices of it, and a bytearray's slice is a copy.
        self.buffer = memoryview(bytearray(_READ))
        self._connections: set[Connection] = set()
        self._addresses: dict[str, int] = {}
        self.negotiated: dict[Negotiated, int] = {}
        self._entered = 0
        self._server: asyncio.Server | None = None
        self._closing = False
        self._empty: asyncio.Event = asyncio.Event()

    async def start(self, context: ssl.SSLContext | None) -> None:
        """Listen. Raises ``OSError`` where the address cannot be bound."""
        loop = self.loop = asyncio.get_running_loop()
        settings = self.settings
        self.policy = Policy(frozenset(settings.origins), context is not None)
        self.wheel = Wheel(loop)
        self.stalls = Stalls(self.wheel)
        self.flusher = Flusher(loop)
        self._allow_files()
        self._server = await loop.create_server(
            lambda: Connection(self),
            settings.address,
            settings.port,
            ssl=context,
            backlog=_BACKLOG,
            ssl_handshake_timeout=settings.header_seconds if context else None,
            ssl_shutdown_timeout=settings.close_seconds if context else None,
        )

    @property
    def port(self) -> int:
        """The port in use, also where 0 was asked for."""
        if self._server is None or not self._server.sockets:
            raise RuntimeError("the gateway does not listen")
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def connections(self) -> int:
        """How many connections there are, in any phase."""
        return len(self._connections)

    def reload(self, settings: GatewaySettings) -> None:
        """Take new limits and origins; where it listens stays as it is."""
        self.settings = settings
        self.policy = Policy(frozenset(settings.origins), self.policy.secure)
        self._allow_files()

    def _allow_files(self) -> None:
        advice = descriptors.allow(self.settings.connections + _DOORWAY)
        if advice:
            self.observer.limited(advice)

    async def drain(self) -> None:
        """Accept no more connections; those that exist go on."""
        if self._server is None:
            return
        # What asyncio has accepted it brings a turn later, and a server that is closed by then
        # leaves the socket open for good. So nothing more is accepted, and what was comes first.
        for each in self._server.sockets:
            with contextlib.suppress(NotImplementedError):  # loops that accept in another way
                self.loop.remove_reader(each.fileno())
        await asyncio.sleep(0)
        self._server.close()

    async def close(self, code: int = 4001) -> None:
        """Close every connection with ``code``, flushed; cut off those that do not answer within
        the closing deadline. May be called again.
        """
        await self.drain()
        if self._server is None:
            return
        self._closing = True
        for connection in list(self._connections):
            connection.abandon(code)
        if self._connections:
            self._empty.clear()
            # The closing deadline of each connection is what ends this wait.
            await self._empty.wait()
        await self._server.wait_closed()
        self.wheel.stop()

    # What connections ask for.

    def enter(self, connection: Connection) -> int:
        """Count a connection in; its number, or 0 where it is to be cut off at once."""
        if self._closing:
            # Accepted before listening ended, and told of only now: nobody would close it.
            return 0
        network = network_of(connection.address)
        count = self._addresses.get(network, 0)
        settings = self.settings
        if len(self._connections) >= settings.connections + _DOORWAY:
            self.observer.refused(0, connection.address)
            return 0
        if count >= settings.connections_per_address + _DOORWAY:
            self.observer.refused(0, connection.address)
            return 0
        self._addresses[network] = count + 1
        self._connections.add(connection)
        self._entered += 1
        return self._entered

    def leave(self, connection: Connection) -> None:
        """Count it out; nothing happens where it was not counted in."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        network = network_of(connection.address)
        left = self._addresses[network] - 1
        if left:
            self._addresses[network] = left
        else:
            del self._addresses[network]
        if not self._connections:
            self._empty.set()

    def full(self, connection: Connection) -> str:
        """The limit that this connection is over, in words; empty if none."""
        if len(self._connections) > self.settings.connections:
            return "limits.connections"
        if self._addresses[network_of(connection.address)] > self.settings.connections_per_address:
            return "limits.connections_per_address"
        return ""

    def opened(self, transport: asyncio.BaseTransport) -> None:
        """Count what TLS negotiated for a connection that opened."""
        agreed = negotiated(transport)
        if agreed is not None:
            self.negotiated[agreed] = self.negotiated.get(agreed, 0) + 1

    def refused(self, answer: Answer, address: str) -> None:
        """Tell the observer about a refused handshake."""
        if answer.origin:
            self.observer.refused_origin(answer.origin, address)
        self.observer.refused(answer.status, address)
