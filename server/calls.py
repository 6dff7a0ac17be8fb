"""Asking another process by HTTP, for no longer than is said.

What may live here: one request and its answer, with limits. What may not: what is asked, or what
an answer means.
"""

from __future__ import annotations

import asyncio
import http.client
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from crypto_modes.errors import BadConfig, ConnectionLost

# So many ask at once; the others wait for one of these, within their own time.
THREADS = 4


class Caller:
    """Who asks ``address``, ``http(s)://HOST:PORT[/PATH]``.

    ``authority`` is the PEM file of who signed its certificate, empty: those of the system;
    ``limit`` how many bytes an answer may have. Raises ``BadConfig``. ``close`` when done.
    """

    def __init__(self, address: str, authority: str = "", *, seconds: float, limit: int) -> None:
        parts = urlsplit(address)
        self.address = address
        self._host, self._port = parts.hostname or "", parts.port
        self._path = parts.path.rstrip("/")
        self._context = _context(authority) if parts.scheme == "https" else None
        self._seconds = seconds
        self._limit = limit
        self._threads = ThreadPoolExecutor(THREADS, "calls")

    def close(self) -> None:
        """Ask nothing more; what is under way ends by its time limit."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body of the answer. Raises ``ConnectionLost``: asked or not, nobody knows."""
        loop = asyncio.get_running_loop()
        try:
            # The sockets' own limit is for one read; a peer that drips is cut off here.
            async with asyncio.timeout(self._seconds):
                return await loop.run_in_executor(
                    self._threads, self._exchange, method, path, body, headers or {}
                )
        except TimeoutError:
            raise ConnectionLost(f"has not answered within {self._seconds} s") from None
        except (OSError, http.client.HTTPException, RuntimeError) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            raise ConnectionLost(f"cannot be asked ({why})") from error

    def _exchange(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        there = (
            http.client.HTTPSConnection(
                self._host, self._port, timeout=self._seconds, context=self._context
            )
            if self._context
            else http.client.HTTPConnection(self._host, self._port, timeout=self._seconds)
        )
        try:
            there.request(method, self._path + path, body, headers)
            response = there.getresponse()
            answer = response.read(self._limit + 1)
        finally:
            there.close()
        if len(answer) > self._limit:
            raise http.client.HTTPException("an answer over the limit")
        return response.status, answer


def _context(authority: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=authority or None)
    except (OSError, ssl.SSLError) as error:
        raise BadConfig(f"the authority {authority} cannot be used: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
