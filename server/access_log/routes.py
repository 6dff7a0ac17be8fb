"""The access log by HTTP: for everybody who checks it, for the staff, and for the relay.

======  ============================  ==========================================================
GET     /log/v1/checkpoint            the newest signed checkpoint, with witnesses' signatures
GET     /log/v1/tile/<L>/<N>[.p/<W>]  C2SP tlog-tiles; ``entries`` for ``<L>`` gives the leaves
GET     /log/v1/opened                entries with their salts: ``start``, ``limit``; signed by one
                                      of ``READERS``
POST    /log/v1/append                ``exchange.Entered``, with the relay's token → ``Receipt``
POST    /log/v1/day-keys              ``exchange.DaysAsked``, with the token → ``DayKeys``
POST    /log/v1/counts                ``exchange.Span``, with the token → ``counts.Counted``
======  ============================  ==========================================================

The first two are for everybody: leaves tell nothing but when something happened. Keys are given
only of days that ended more than ``notice_days`` ago, whatever the relay asks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crypto_modes.errors import BadArgument, GrantRefused
from crypto_modes.grants import Person, Role
from crypto_modes.transparency.access_log import DAY, Entry
from crypto_modes.transparency.note import Checkpoint
from crypto_modes.transparency.tiles import WIDTH, Tile
from server.access_log import counts, exchange
from server.access_log.durable import PAGE, DurableLog
from server.access_log.exchange import DayKeys, DaysAsked, Entered, Span
from server.problems import authorize, body_of

READERS: tuple[Role, ...] = ("auditor", "legal", "senior", "admin")
TOKEN_FILE = "vault.token"  # noqa: S105 - a file's name
_FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}

T = TypeVar("T")


class Asked(Protocol):
    """Who of the staff signed this request for this place, just now and once.

    Raises ``GrantRefused``.
    """

    async def __call__(self, request: Request, place: str, body: bytes) -> Person: ...


def routes(
    log: DurableLog,
    asked: Asked,
    token: str,
    *,
    notice_days: int,
    now: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> list[Route]:
    """The routes; ``token`` is the relay's, ``now`` gives milliseconds."""
    for_relay = _ForRelay(log, token, notice_days, now)

    async def checkpoint(request: Request) -> Response:
        return Response(log.checkpoint, media_type="text/plain; charset=utf-8")

    async def tile(request: Request) -> Response:
        wanted = Tile.decode(f"tile/{request.path_params['path']}")
        headers = _FOREVER if wanted.width == WIDTH else None
        content = await log.tile(wanted)
        return Response(content, media_type="application/octet-stream", headers=headers)

    async def opened(request: Request) -> Response:
        place = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        person = await asked(request, place, b"")
        if person.role not in READERS:
            raise GrantRefused(f"a {person.role} may not read the access log's entries")
        start, limit = _number(request, "start", 0), _number(request, "limit", PAGE)
        return _json(await log.opened(start, limit))

    return [
        Route("/log/v1/checkpoint", checkpoint),
        Route("/log/v1/tile/{path:path}", tile),
        Route("/log/v1/opened", opened),
        Route("/log/v1/append", for_relay.append, methods=["POST"]),
        Route("/log/v1/day-keys", for_relay.day_keys, methods=["POST"]),
        Route("/log/v1/counts", for_relay.counts, methods=["POST"]),
    ]


class _ForRelay:
    """What only the relay's token opens."""

    def __init__(
        self, log: DurableLog, token: str, notice_days: int, now: Callable[[], int]
    ) -> None:
        self._log = log
        self._token = token
        self._notice_days = notice_days
        self._now = now
        # One at a time: each reads the whole log.
        self._counting = asyncio.Lock()

    async def append(self, request: Request) -> Response:
        entries = (await self._body(request, Entered)).entries
        for entry in entries:
            if entry.kind not in exchange.BY_RELAY:
                raise BadArgument(f"the relay may not enter {entry.kind!r}: it opens nothing")
            if abs(entry.time - self._now()) > exchange.SKEW:
                raise BadArgument("the clocks of relay and vault differ by minutes; set them right")
        return _json(await self._log.append(entries))

    async def day_keys(self, request: Request) -> Response:
        asked = await self._body(request, DaysAsked)
        # A day's key tells of that whole day, so the delay counts from its end.
        last = self._now() // DAY - self._notice_days - 1
        last = min(last, asked.first + exchange.DAYS_LIMIT - 1)
        keys = self._log.day_keys(asked.conversation, asked.first, last)
        signature = self._log.sign_days(asked.conversation, asked.first, keys)
        return _json(DayKeys(self._log.verifier.key, asked.first, tuple(keys), signature))

    async def counts(self, request: Request) -> Response:
        asked = await self._body(request, Span)
        async with self._counting:
            return _json(await _counted(self._log, asked.first, asked.end))

    async def _body(self, request: Request, kind: type[T]) -> T:
        authorize(request, self._token, TOKEN_FILE)
        try:
            return msgspec.json.decode(await body_of(request, exchange.BODY_LIMIT), type=kind)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise BadArgument(f"the body is not what the log's route takes: {error}") from None


async def _counted(log: DurableLog, first: int, end: int) -> counts.Counted:
    """What the entries under the newest checkpoint count, a page in memory beside those of the
    time that is asked about."""
    head = Checkpoint.decode(log.head.text)
    kept: list[Entry] = []
    start = erased = 0
    while start < head.size:
        page = (await log.opened(start))[: head.size - start]
        start += len(page)
        entries = [each.entry for each in page if each.entry is not None]
        erased += len(page) - len(entries)
        kept += [each for each in entries if counts.matters(each, first, end)]
    rows = await asyncio.to_thread(lambda: tuple(counts.count(kept, first, end)))
    return counts.Counted(
        first=first,
        end=end,
        log=log.verifier.name,
        size=head.size,
        root=head.root.hex(),
        erased=erased,
        rows=rows,
    )


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise BadArgument(f"{name} is a number from 0 on")
    return int(text)


def _json(answer: object) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")
