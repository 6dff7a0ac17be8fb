"""Asking another process by HTTP, for no longer than is said.

What may live here: one request and its answer, with limits. What may not: what is asked, or what
an answer means.

The bytes travel on the event loop, so that a peer that drips, or stops in the middle of a TLS
handshake, holds no thread and is let go at the deadline. ``http.client`` reads what they say.
"""

from __future__ import annotations

import asyncio
import http.client
import ssl
from collections.abc import Mapping
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from crypto_modes.errors import BadConfig, ConnectionLost

# So many ask at once; the others wait for one of these, within their own time.
AT_ONCE = 4
_HEAD_LIMIT = 64 * 1024  # of an answer's first line and headers, bytes


class TooLong(ConnectionLost):
    """The answer has more bytes than it may have."""


class Caller:
    """Who asks ``address``, ``http(s)://HOST:PORT[/PATH]``.

    ``authority`` is the PEM file of who signed its certificate, empty: those of the system;
    ``seconds`` how long all of an exchange may take, ``limit`` how many bytes an answer may have.
    Raises ``BadConfig``. ``close`` when done.
    """

    def __init__(self, address: str, authority: str = "", *, seconds: float, limit: int) -> None:
        parts = urlsplit(address)
        secure = parts.scheme == "https"
        self.address = address
        self._host, self._port = parts.hostname or "", parts.port or (443 if secure else 80)
        self._path = parts.path.rstrip("/")
        self._context = _context(authority) if secure else None
        self._seconds = seconds
        self._limit = limit
        self._room = asyncio.Semaphore(AT_ONCE)
        self._closed = False

    def close(self) -> None:
        """Ask nothing more; what is under way ends by its time limit."""
        self._closed = True

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body of the answer. Raises ``ConnectionLost``: asked or not, nobody knows."""
        if self._closed:
            raise ConnectionLost("is not asked any more")
        request = _Request(self._host, self._port)
        # The end of the connection is the end of the answer.
        all_headers = {**(headers or {}), "Connection": "close"}
        try:
            request.request(method, self._path + path, body, all_headers)
            async with asyncio.timeout(self._seconds), self._room:
                status, answer = _read(method, await self._exchange(request.written))
        except TimeoutError:
            raise ConnectionLost(f"has not answered within {self._seconds} s") from None
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            raise ConnectionLost(f"cannot be asked ({why})") from error
        if len(answer) > self._limit:
            raise TooLong("answers without an end")
        return status, answer

    async def _exchange(self, request: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        transport, arriving = await loop.create_connection(
            lambda: _Arriving(loop.create_future(), self._limit + _HEAD_LIMIT),
            self._host,
            self._port,
            ssl=self._context,
        )
        try:
            transport.write(request)
            return await arriving.all
        finally:
            # Not ``close``, which would wait for a peer that takes nothing.
            transport.abort()


class _Arriving(asyncio.Protocol):
    """What comes until the end of the connection; ``all`` is then all of it.

    Also of one that was reset: who refuses a request may close before all of it was read.
    """

    def __init__(self, all_: asyncio.Future[bytes], limit: int) -> None:
        self.all = all_
        self._limit = limit
        self._came = bytearray()

    def data_received(self, data: bytes) -> None:
        """Keep what came, up to the limit."""
        self._came += data
        if len(self._came) > self._limit and not self.all.done():
            self.all.set_exception(TooLong("answers without an end"))

    def connection_lost(self, exc: Exception | None) -> None:
        """That is all."""
        if self.all.done():
            return
        if exc is not None and not self._came:
            self.all.set_exception(exc)
        else:
            self.all.set_result(bytes(self._came))


class _Request(http.client.HTTPConnection):
    """A request as bytes, held to the rules of that module: nothing in it begins a second one."""

    written = b""

    def connect(self) -> None:
        """There is nothing to connect to."""

    def send(self, data: Any) -> None:
        """Keep what would be sent."""
        self.written += data


class _Received:
    """What ``HTTPResponse`` needs of a socket."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, mode: str) -> BytesIO:
        """All that came."""
        return BytesIO(self._raw)


def _read(method: str, raw: bytes) -> tuple[int, bytes]:
    received: Any = _Received(raw)
    response = http.client.HTTPResponse(received, method=method)
    response.begin()
    # An answer that was cut off is no answer, so that it must say where it ends.
    if response.length is None and not response.chunked:
        raise http.client.IncompleteRead(b"")
    return response.status, response.read()


def _context(authority: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=authority or None)
    except (OSError, ssl.SSLError) as error:
        raise BadConfig(f"the authority {authority} cannot be used: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
