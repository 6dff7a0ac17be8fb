"""What the vault asks of the relay: stored records, sealed reports, and what the relay can confirm.

What may live here: these use cases, and their routes, which the internal listener adds. What may
not: opening anything. The relay hands over what lies in its store, to whoever has the token of the
file ``vault.token``: that is one vault, which keeps its own account of what it does with it.

======  ==============================  ===========================================================
GET     /vault/v1/records               ``?conversation=HEX&first=N&last=N&known=N&case=HEX``, see
                                        ``scope``; 403 where the case was closed
GET     /vault/v1/links                 ``?conversation=HEX&after=N&last=N&case=HEX``: of records
                                        beside the scope only digests, see ``scope``
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
from crypto_modes.scope import DoorKey, Handed, Link, Links
from server.confirming import Confirming
from server.problems import authorize, body_of
from server.store import Store

PAGE = 500  # records that are read from the store at once for their links
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

    async def links(self, conversation: bytes, after: int, last: int) -> Links:
        """The links of the messages behind ``after`` up to ``last``. Raises ``BadArgument`` for
        more than 4,096 messages."""
        if not 0 <= after < last <= after + scope.LINKS_LIMIT:
            raise BadArgument(f"ask for the links of 1 to {scope.LINKS_LIMIT} messages")
        found: list[Link] = []
        while after < last:
            page = await self._store.after(conversation, after, min(PAGE, last - after))
            inside = [each for each in page if each.meta.seq <= last]
            found += [scope.link_of(each) for each in inside if each.meta.mode == at_rest.NAME]
            after = inside[-1].meta.seq if inside else last
        return Links(tuple(found))

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
            Route("/vault/v1/links", self._get_links, methods=["GET"]),
            Route("/vault/v1/reports/{id}", self._get_report, methods=["GET"]),
            Route("/vault/v1/confirm", self._confirm, methods=["POST"]),
        ]

    async def _get_records(self, request: Request) -> Response:
        conversation, first, last = await self._asked(request, "first", "last")
        known = _number(request.query_params.get("known", "0"))
        handed = await self.records(conversation, first, last, known)
        return Response(handed.to_json(), media_type="application/json")

    async def _get_links(self, request: Request) -> Response:
        conversation, after, last = await self._asked(request, "after", "last")
        links = await self.links(conversation, after, last)
        return Response(links.to_json(), media_type="application/json")

    async def _asked(self, request: Request, begin: str, end: str) -> tuple[bytes, int, int]:
        """The conversation and two numbers, of a vault that may ask, for a case that stands."""
        self._authorize(request)
        asked = request.query_params
        try:
            conversation = bytes.fromhex(asked["conversation"])
            case = bytes.fromhex(asked.get("case", ""))
            numbers = _number(asked[begin]), _number(asked[end])
        except (KeyError, ValueError):
            raise BadArgument(f"name conversation (hexadecimal), {begin} and {end}") from None
        if len(conversation) != ID_SIZE or len(case) not in (0, ID_SIZE):
            raise BadArgument("a conversation and a case have 32 hexadecimal digits each")
        await self._standing(case)
        return conversation, *numbers

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
