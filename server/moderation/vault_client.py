"""The relay's way to its vault: entering steps in the access log, and reading what it publishes.

What may live here: HTTP to the vault, its time limit, and what its answers mean. What may not:
which step is entered when. Nobody waits longer than ``SECONDS``. Where no answer came the step
may be in the log or not; then it does not happen, and the log says more than was done.
"""

from __future__ import annotations

import asyncio
import http.client
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from crypto_modes.errors import BadConfig, LogUnavailable, VaultUnavailable
from crypto_modes.transparency.access_log import Entry
from crypto_modes.transparency.note import NOTE_LIMIT
from crypto_modes.transparency.tiles import LEAF_LIMIT, WIDTH, Tile
from server.access_log import AccessLog, Receipt
from server.access_log.exchange import DayKeys, DaysAsked, Entered

SECONDS = 5.0
# So many ask at once; the others wait for one of these, within their own time.
THREADS = 4
ANSWER_LIMIT = WIDTH * (LEAF_LIMIT + 2)
_UNAVAILABLE = "the vault does not answer now; nothing was opened and nothing was done; try again"

T = TypeVar("T")


class _Problem(msgspec.Struct):
    detail: str = "no reason given"


class VaultLog:
    """``AccessLog`` at the vault of ``address``, ``http(s)://HOST:PORT``.

    ``authority`` is the PEM file of who signed its certificate; empty: those of the system.
    Raises ``BadConfig``. ``close`` when done.
    """

    def __init__(
        self, address: str, token: str, authority: str = "", seconds: float = SECONDS
    ) -> None:
        parts = urlsplit(address)
        self._host, self._port = parts.hostname or "", parts.port
        self._context = _context(authority) if parts.scheme == "https" else None
        self._token = token
        self._address = address
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(THREADS, "vault")

    def close(self) -> None:
        """Ask nothing more; what is under way ends by its time limit."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def append(self, entries: Sequence[Entry]) -> Receipt:
        try:
            raw = await self._ask("POST", "append", msgspec.json.encode(Entered(tuple(entries))))
        except VaultUnavailable as error:
            raise LogUnavailable(str(error), retry_after=1.0, advice=error.advice) from error
        return self._answer(raw, lambda: msgspec.json.decode(raw, type=Receipt))

    async def checkpoint(self) -> bytes:
        """The log's newest checkpoint, a signed note; not verified. Raises ``VaultUnavailable``."""
        return (await self._ask("GET", "checkpoint"))[:NOTE_LIMIT]

    async def tile(self, tile: Tile) -> bytes:
        """A tile of the log; not verified. Raises ``VaultUnavailable``."""
        return await self._ask("GET", tile.path)

    async def day_keys(self, conversation: bytes, first: int) -> DayKeys:
        """The keys by which the users of ``conversation`` find its leaves, from the day ``first``
        on, as far as the vault lets them out. Raises ``VaultUnavailable``."""
        asked = msgspec.json.encode(DaysAsked(conversation, first))
        raw = await self._ask("POST", "day-keys", asked)
        return self._answer(raw, lambda: msgspec.json.decode(raw, type=DayKeys))

    async def _ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        loop = asyncio.get_running_loop()
        try:
            # The sockets' own limit is for one read; a peer that drips is cut off here.
            async with asyncio.timeout(self._seconds):
                answering = loop.run_in_executor(
                    self._threads, self._exchange, method, f"/log/v1/{path}", body
                )
                status, answer = await answering
        except TimeoutError:
            raise self._unavailable(f"has not answered within {self._seconds} s") from None
        except (OSError, http.client.HTTPException, RuntimeError) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            raise self._unavailable(f"cannot be asked ({why})") from error
        if status != HTTPStatus.OK:
            raise self._unavailable(f"refused with {status}: {_detail(answer)}")
        return answer

    def _exchange(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self._token}"}
        connection = (
            http.client.HTTPSConnection(
                self._host, self._port, timeout=self._seconds, context=self._context
            )
            if self._context
            else http.client.HTTPConnection(self._host, self._port, timeout=self._seconds)
        )
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            answer = response.read(ANSWER_LIMIT + 1)
        finally:
            connection.close()
        if len(answer) > ANSWER_LIMIT:
            raise http.client.HTTPException("an answer over the limit")
        return response.status, answer

    def _answer(self, raw: bytes, read: Callable[[], T]) -> T:
        try:
            return read()
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise LogUnavailable(_UNAVAILABLE, advice=f"{self._address} is no vault") from error

    def _unavailable(self, why: str) -> VaultUnavailable:
        advice = (
            f"the vault at {self._address} {why}: is it running, and are its token and ours one?"
        )
        return VaultUnavailable(_UNAVAILABLE, retry_after=1.0, advice=advice)


def _context(authority: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=authority or None)
    except (OSError, ssl.SSLError) as error:
        raise BadConfig(f"moderation.vault_authority {authority} cannot be used: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _detail(answer: bytes) -> str:
    try:
        return msgspec.json.decode(answer, type=_Problem).detail
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "no reason that is understood"


_conforms: type[AccessLog] = VaultLog
