"""What the vault asks of the relay: stored records, sealed reports, and what the relay can confirm.

What may live here: these use cases, and their routes, which the internal listener adds. What may
not: opening anything. The relay hands over what lies in its store, to whoever has the token of the
file ``vault.token``: that is one vault, which keeps its own account of what it does with it.

======  ==============================  ===========================================================
GET     /vault/v1/records               ``?conversation=HEX&first=N&last=N&known=N&case=HEX``, see
                                        ``scope``; 403 where the case was closed
GET     /vault/v1/reports/{id}          a sealed report; the id in hexadecimal
POST    /vault/v1/confirm               ``{"questions": […]}`` about a report, as for the operator
======  ==============================  ===========================================================
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crypto_modes import at_rest, scope
from crypto_modes.contract import ID_SIZE, NO_DIGEST, Stored
from crypto_modes.errors import BadArgument, Forbidden
from crypto_modes.reports import Sealed
from crypto_modes.scope import DoorKey, Handed
from server.confirming import Confirming
from server.problems import authorize, body_of
from server.store import Store

NUMBERS = 1 << 53  # messages have smaller ones, and SQLite's largest is not much further
TOKEN_PREFIX = "lvv_"  # noqa: S105 - public, so that leaked tokens can be recognised
TOKEN_FILE = "vault.token"  # noqa: S105 - a file's name
QUESTIONS_LIMIT = 32 * 1024  # twenty of them have 12 KiB


# Raises ``GrantRefused`` for a case under which nothing is read any more. The vault knows no cases:
# a grant that was signed stands by itself, so it is the relay that must say when one is over.
Standing = Callable[[bytes], Awaitable[None]]


class VaultRecords:
    """For one vault, which shows ``token``. Every method may raise ``StoreUnavailable``."""

    def __init__(
        self, store: Store, confirming: Confirming, token: str, standing: Standing
    ) -> None:
        self._store = store
        self._standing = standing
        self._confirming = confirming
        self._token = token

    async def records(self, conversation: bytes, first: int, last: int, known: int) -> Handed:
        """The messages ``first`` to ``last`` as they are stored, with the data keys behind the door
        that they need. Raises ``BadArgument`` for more than 500.
        """
        scope.check_range(first, last)
        store = self._store
        found = await store.after(conversation, first - 1, last - first + 1)
        inside = [each for each in found if each.meta.seq <= last]
        newest = await store.before(conversation, 0, 1)
        return Handed(
            relay=store.deployment,
            before=await self._head(conversation, first - 1) or NO_DIGEST,
            newest=newest[0].meta.seq if newest else 0,
            head=newest[0].chain if newest else NO_DIGEST,
            known=await self._head(conversation, known),
            records=tuple(map(scope.record_of, inside)),
            keys=await self._keys(inside),
        )

    async def report(self, id: bytes) -> Sealed:
        """The first report under this id. Raises ``Forbidden`` where there is none."""
        found = await self._store.report(id)
        if found is None:
            raise Forbidden("there is no such report")
        return Sealed(
            relay=self._store.deployment,
            reporter=found.reporter,
            id=found.id,
            time=found.time,
            tags=found.tags,
            sealed=found.sealed,
        )

    async def _head(self, conversation: bytes, seq: int) -> bytes:
        """The head of the chain after the message ``seq``; empty where there is none."""
        found = await self._store.after(conversation, seq - 1, 1) if seq > 0 else []
        return found[0].chain if found and found[0].meta.seq == seq else b""

    async def _keys(self, stored: list[Stored]) -> tuple[DoorKey, ...]:
        sealed = (each.record for each in stored if each.meta.mode == at_rest.NAME)
        wanted = dict.fromkeys(map(at_rest.data_key_id, sealed))
        found = [await self._store.data_key(dek_id) for dek_id in wanted if dek_id]
        return tuple(
            DoorKey(id=key.dek_id, sender=key.sender, epoch=key.epoch, moderation=key.moderation)
            for key in found
            if key is not None
        )

    # --- routes ---

    def routes(self) -> list[Route]:
        """The routes of the table above."""
        return [
            Route("/vault/v1/records", self._get_records, methods=["GET"]),
            Route("/vault/v1/reports/{id}", self._get_report, methods=["GET"]),
            Route("/vault/v1/confirm", self._confirm, methods=["POST"]),
        ]

    async def _get_records(self, request: Request) -> Response:
        self._authorize(request)
        asked = request.query_params
        try:
            conversation = bytes.fromhex(asked["conversation"])
            case = bytes.fromhex(asked.get("case", ""))
            first, last = _number(asked["first"]), _number(asked["last"])
            known = _number(asked.get("known", "0"))
        except (KeyError, ValueError):
            raise BadArgument("name conversation (hexadecimal), first and last") from None
        if len(conversation) != ID_SIZE or len(case) not in (0, ID_SIZE):
            raise BadArgument("a conversation and a case have 32 hexadecimal digits each")
        await self._standing(case)
        handed = await self.records(conversation, first, last, known)
        return Response(handed.to_json(), media_type="application/json")

    async def _get_report(self, request: Request) -> Response:
        self._authorize(request)
        try:
            id_ = bytes.fromhex(request.path_params["id"])
        except ValueError:
            raise BadArgument("a report's id has 32 hexadecimal digits") from None
        return Response((await self.report(id_)).to_json(), media_type="application/json")

    async def _confirm(self, request: Request) -> Response:
        self._authorize(request)
        answers = await self._confirming.answers_to(await body_of(request, QUESTIONS_LIMIT))
        return Response(answers, media_type="application/json")

    def _authorize(self, request: Request) -> None:
        authorize(request, self._token, TOKEN_FILE)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) < NUMBERS):
        raise BadArgument("messages are numbered from 1 on, in decimal digits, up to 2^53")
    return int(text)
