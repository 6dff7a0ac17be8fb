"""The relay's way to its vault: entering steps in the access log, and reading what it publishes.

What may live here: HTTP to the vault, its time limit, and what its answers mean. What may not:
which step is entered when. Nobody waits longer than ``SECONDS``. Where no answer came the step
may be in the log or not; then it does not happen, and the log says more than was done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import TypeVar

import msgspec

from crypto_modes.errors import ConnectionLost, LogUnavailable, VaultUnavailable
from crypto_modes.transparency.access_log import Entry
from crypto_modes.transparency.note import NOTE_LIMIT
from crypto_modes.transparency.tiles import LEAF_LIMIT, WIDTH, Tile
from server.access_log import CountedLog, Receipt
from server.access_log.counts import Counted
from server.access_log.exchange import DayKeys, DaysAsked, Entered, Span
from server.calls import Caller

SECONDS = 5.0
ANSWER_LIMIT = WIDTH * (LEAF_LIMIT + 2)
_UNAVAILABLE = "the vault does not answer now; nothing was opened and nothing was done; try again"

T = TypeVar("T")


class _Problem(msgspec.Struct):
    detail: str = "no reason given"


class VaultLog:
    """``CountedLog`` at the vault of ``address``, ``http(s)://HOST:PORT``.

    ``authority`` is the PEM file of who signed its certificate; empty: those of the system.
    Raises ``BadConfig``. ``close`` when done.
    """

    def __init__(
        self, address: str, token: str, authority: str = "", seconds: float = SECONDS
    ) -> None:
        self._caller = Caller(address, authority, seconds=seconds, limit=ANSWER_LIMIT)
        self._headers = {"Authorization": f"Bearer {token}"}

    def close(self) -> None:
        """Ask nothing more; what is under way ends by its time limit."""
        self._caller.close()

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

    async def counts(self, first: int, end: int) -> Counted:
        raw = await self._ask("POST", "counts", msgspec.json.encode(Span(first, end)))
        return self._answer(raw, lambda: msgspec.json.decode(raw, type=Counted))

    async def _ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        try:
            status, answer = await self._caller.ask(method, f"/log/v1/{path}", body, self._headers)
        except ConnectionLost as error:
            raise self._unavailable(str(error)) from error
        if status != HTTPStatus.OK:
            raise self._unavailable(f"refused with {status}: {_detail(answer)}")
        return answer

    def _answer(self, raw: bytes, read: Callable[[], T]) -> T:
        try:
            return read()
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise LogUnavailable(
                _UNAVAILABLE, advice=f"{self._caller.address} is no vault"
            ) from error

    def _unavailable(self, why: str) -> VaultUnavailable:
        advice = (
            f"the vault at {self._caller.address} {why}: is it running, and are its token and"
            " ours one?"
        )
        return VaultUnavailable(_UNAVAILABLE, retry_after=1.0, advice=advice)


def _detail(answer: bytes) -> str:
    try:
        return msgspec.json.decode(answer, type=_Problem).detail
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "no reason that is understood"


_conforms: type[CountedLog] = VaultLog
