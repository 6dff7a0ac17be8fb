"""What the vault asks of the relay, by HTTP with the token that the two share.

What may live here: the requests. What may not: belief in the answers (``crypto_modes.scope``).
"""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlencode

import msgspec

from crypto_modes.errors import (
    BadArgument,
    BadConfig,
    CannotOpen,
    ConnectionLost,
    Forbidden,
    GrantRefused,
    LouverError,
    StoreUnavailable,
)
from crypto_modes.reports import Sealed
from crypto_modes.scope import Handed, Links
from crypto_modes.verdicts import Answer, Question
from server.calls import Caller, TooLong
from server.vault.settings import Relay as RelaySettings

ANSWER_LIMIT = 24 * 1024 * 1024  # 500 records of the largest size, in base64, have 14 MiB
AWAY = "the relay does not answer, so that nothing can be opened; try again"


class Problem(msgspec.Struct):
    """A refusal (RFC 9457)."""

    detail: str = "no reason given"


class Relay:
    """One relay. Every method raises ``StoreUnavailable`` where it does not answer in time: within
    ``relay.seconds``, whatever it drips."""

    def __init__(self, settings: RelaySettings, token: str) -> None:
        self._headers = {"Authorization": f"Bearer {token}"}
        try:
            self._caller = Caller(
                settings.address, settings.authority, seconds=settings.seconds, limit=ANSWER_LIMIT
            )
        except BadConfig:
            raise BadConfig(
                f"relay.authority: {settings.authority} is no certificate (PEM) that can be read"
            ) from None

    def close(self) -> None:
        """Ask nothing more."""
        self._caller.close()

    @property
    def address(self) -> str:
        """Where it is asked."""
        return self._caller.address

    async def away(self) -> str:
        """Why it does not answer this vault, in words for its operator; empty where it does."""
        try:
            await self._ask("GET", f"reports/{bytes(16).hex()}")
        except Forbidden:
            pass  # there is no such report, says a relay that knows our token
        except StoreUnavailable as error:
            return error.advice
        except LouverError as error:
            return str(error)
        return ""

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

    async def links(self, conversation: bytes, after: int, last: int, case: bytes) -> Links:
        """The chain's links of the messages behind ``after`` up to ``last``. Raises ``CannotOpen``
        for an answer that is none, ``GrantRefused`` where the case was closed."""
        asked = {
            "conversation": conversation.hex(),
            "after": after,
            "last": last,
            "case": case.hex(),
        }
        return Links.from_json(await self._ask("GET", f"links?{urlencode(asked)}"))

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
        try:
            status, answer = await self._caller.ask(
                method, f"/vault/v1/{path}", body, self._headers
            )
        except TooLong:
            raise CannotOpen("nothing was opened: the relay's answer has no end") from None
        except ConnectionLost as error:
            advice = f"the relay at {self._caller.address} {error}: relay.address, relay.seconds"
            raise StoreUnavailable(AWAY, advice=advice) from None
        if status != HTTPStatus.OK:
            raise _refusal(status, answer)
        return answer


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
