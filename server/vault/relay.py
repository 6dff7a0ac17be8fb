"""What the vault asks of the relay, by HTTP with the token that the two share.

What may live here: the requests. What may not: belief in the answers (``crypto_modes.scope``).
"""

from __future__ import annotations

import asyncio
import http.client
import ssl
from http import HTTPStatus
from urllib.parse import urlencode, urlsplit

import msgspec

from crypto_modes.errors import (
    BadArgument,
    BadConfig,
    CannotOpen,
    Forbidden,
    GrantRefused,
    StoreUnavailable,
)
from crypto_modes.reports import Sealed
from crypto_modes.scope import Handed
from crypto_modes.verdicts import Answer, Question
from server.vault.settings import Relay as RelaySettings

ANSWER_LIMIT = 24 * 1024 * 1024  # 500 records of the largest size, in base64, have 14 MiB
AWAY = "the relay does not answer, so that nothing can be opened; try again"


class Problem(msgspec.Struct):
    """A refusal (RFC 9457)."""

    detail: str = "no reason given"


class Relay:
    """One relay. Every method raises ``StoreUnavailable`` where it does not answer."""

    def __init__(self, settings: RelaySettings, token: str) -> None:
        self._place = urlsplit(settings.address)
        self._seconds = settings.seconds
        self._headers = {"Authorization": f"Bearer {token}"}
        self._context = _context(settings) if self._place.scheme == "https" else None

    async def records(
        self, conversation: bytes, first: int, last: int, known: int, case: bytes
    ) -> Handed:
        """The messages ``first`` to ``last`` for ``case``; ``known`` is one that the vault was
        shown before, or 0. Raises ``CannotOpen`` for an answer that is none, ``GrantRefused`` where
        the case was closed."""
        asked = {
            "conversation": conversation.hex(),
            "first": first,
            "last": last,
            "known": known,
            "case": case.hex(),
        }
        return Handed.from_json(await self._ask("GET", f"records?{urlencode(asked)}"))

    async def report(self, id: bytes) -> Sealed:
        """The sealed report ``id``. Raises ``Forbidden`` where there is none, ``ReportRefused``."""
        sealed = Sealed.from_json(await self._ask("GET", f"reports/{id.hex()}"))
        if sealed.id != id:
            raise CannotOpen("nothing was opened: the relay shows another report")
        return sealed

    async def confirm(self, questions: list[Question]) -> list[Answer]:
        """What it says about reported messages, one answer for each question."""
        body = msgspec.json.encode({"questions": questions})
        raw = await self._ask("POST", "confirm", body)
        try:
            answers = msgspec.json.decode(raw, type=list[Answer])
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            raise CannotOpen("the relay's answer is not understood") from None
        if len(answers) != len(questions):
            raise CannotOpen("the relay does not answer what it was asked")
        return answers

    async def _ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        return await asyncio.to_thread(self._request, method, f"/vault/v1/{path}", body)

    def _request(self, method: str, path: str, body: bytes) -> bytes:
        connection = self._connection()
        try:
            connection.request(method, path, body, self._headers)
            response = connection.getresponse()
            answer = response.read(ANSWER_LIMIT + 1)
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or error
            advice = f"no relay answers at {self._place.geturl()} ({why}): relay.address"
            raise StoreUnavailable(AWAY, advice=advice) from None
        finally:
            connection.close()
        if len(answer) > ANSWER_LIMIT:
            raise CannotOpen("nothing was opened: the relay's answer has no end")
        if response.status != HTTPStatus.OK:
            raise _refusal(response.status, answer)
        return answer

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._place.hostname or "", self._place.port
        if self._context is None:
            return http.client.HTTPConnection(host, port, timeout=self._seconds)
        return http.client.HTTPSConnection(host, port, timeout=self._seconds, context=self._context)


def _refusal(status: int, answer: bytes) -> Exception:
    try:
        detail = msgspec.json.decode(answer, type=Problem).detail
    except (msgspec.MsgspecError, UnicodeDecodeError):
        detail = "its answer is not understood"
    if status == HTTPStatus.NOT_FOUND:
        return Forbidden(detail)
    if status == HTTPStatus.FORBIDDEN:
        return GrantRefused(f"the relay refused: {detail}")
    if status == HTTPStatus.BAD_REQUEST:
        return BadArgument(f"the relay refused: {detail}")
    return StoreUnavailable(AWAY, advice=f"the relay refused ({status}): {detail}")


def _context(settings: RelaySettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.authority or None)
    except (OSError, ssl.SSLError):
        raise BadConfig(
            f"relay.authority: {settings.authority} is no certificate (PEM) that can be read"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
