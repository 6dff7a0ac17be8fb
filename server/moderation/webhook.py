"""The webhook: another program, such as a review console, hears of each new report.

What may live here: what is sent, its signature, and sending it until it is taken. What may not:
what a report says, which nobody here knows. The queue in ``moderation.db`` is the outbox: kept is
only how far the webhook has come in it, so nothing is lost by a crash, nothing piles up in memory,
and taking reports never waits for a console.

The body has the shape of a report to ROOST Coop (``POST /api/v1/report``; roostorg/coop,
docs/api/report.md). A report is sealed to the team, so it has ids, time and numbers and no text.
The signature is that of Standard Webhooks 1.0.0, whose libraries check it (standard-webhooks.com)::

    webhook-id         the report's id; the same for every try
    webhook-timestamp  seconds since 1970
    webhook-signature  "v1," base64(HMAC-SHA256(secret, id "." timestamp "." body))

and ``X-API-KEY`` has the key that Coop gives to who sends it reports, where there is one.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import ssl
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from crypto_modes.errors import BadConfig, Unavailable
from crypto_modes.primitives import hmac
from server.moderation.desk import changed
from server.moderation.records import Event, Record, Report
from server.moderation.store import ModerationStore

SECRET_PREFIX = "whsec_"  # noqa: S105 - as Standard Webhooks write it
TIMEOUT = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 600.0
# What the console refuses so often is passed over, lest one report stop all others.
REFUSALS = 5
# No refusals of this report: the console asks for patience, or does not know our key, and then all
# reports wait until somebody has looked.
_LATER = frozenset({401, 403, 408, 425, 429})
_PLACE = bytes(16)

Send = Callable[[Mapping[str, str], bytes], Awaitable[int]]
Pause = Callable[[float], Awaitable[object]]


class Told(Record, frozen=True, kw_only=True):
    """How far the webhook has come: the number of the last report that it sent."""

    id: bytes = _PLACE
    report: int


class Types(NamedTuple):
    """What the console calls users and reports (its "item types")."""

    user: str = "user"
    report: str = "report"


TYPES = Types()


class Webhook:
    """``send`` posts headers and a body and tells the status, or raises ``OSError``. ``said`` gets
    a line for the operator when sending begins to fail, and when a report is passed over.
    """

    def __init__(
        self,
        store: ModerationStore,
        send: Send,
        secret: bytes,
        *,
        now: Callable[[], int],
        types: Types = TYPES,
        pause: Pause = asyncio.sleep,
        said: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._send = send
        self._secret = secret
        self._now = now
        self._types = types
        self._pause = pause
        self._said = said
        self._new = asyncio.Event()

    def heard(self, event: Event) -> None:
        """For ``Desk``: returns at once."""
        if event.name == "report.new":
            self._new.set()

    async def run(self) -> None:
        """Send until cancelled. The first time, only what comes in from then on is sent."""
        if await self._store.get(Told, _PLACE) is None:
            await self._store.put(Told(report=await self._store.last_report()))
        while True:
            self._new.clear()
            try:
                while await self.step():
                    pass
            except Unavailable as error:
                self._said(f"the webhook waits: {error}")
                await self._pause(LONGEST_PAUSE)
                continue
            await self._new.wait()

    async def step(self) -> bool:
        """Send the next report, however long it takes; whether there was one."""
        told = await self._store.get(Told, _PLACE)
        if told is None:
            return False
        found = await self._store.find(Report, told.report, 1)
        if not found:
            return False
        await self._deliver(found[0])
        await self._store.put(changed(told, report=found[0].number))
        return True

    async def _deliver(self, report: Report) -> None:
        tries = refused = 0
        body = body_of(report, self._types)
        while True:
            headers = signed(self._secret, report.id.hex(), self._now() // 1000, body)
            try:
                status = await self._send(headers, body)
                why = f"it answers {status}"
            except OSError as error:
                status, why = 0, str(error) or type(error).__name__
            if 200 <= status < 300:
                return
            refused += 400 <= status < 500 and status not in _LATER
            if refused == REFUSALS:
                self._said(f"report {report.number} is passed over by the webhook: {why}")
                return
            if not tries:
                self._said(f"the webhook cannot be reached and is tried again: {why}")
            await self._pause(min(FIRST_PAUSE * 2**tries, LONGEST_PAUSE))
            tries = min(tries + 1, 20)


def body_of(report: Report, types: Types) -> bytes:
    """The body for one report: what the relay knows of it and nothing else."""
    at = datetime.fromtimestamp(report.time / 1000, UTC)
    said = {
        "reporter": {"kind": "user", "typeId": types.user, "id": report.reporter.hex()},
        "reportedAt": at.isoformat(timespec="milliseconds"),
        "reportedForReason": {"reason": "sealed to the moderation team"},
        "reportedItem": {
            "id": report.id.hex(),
            "typeId": types.report,
            "data": {"number": report.number, "messages": report.messages},
        },
        # Which messages were reported is sealed as well.
        "reportedItemThread": [],
    }
    return msgspec.json.encode(said)


def signed(secret: bytes, id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of Standard Webhooks; ``timestamp`` in seconds."""
    stamp = hmac(secret, f"{id}.{timestamp}.".encode() + body)
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(stamp).decode()}",
        "content-type": "application/json",
    }


def poster(url: str, key: str = "", authorities: str = "") -> Send:
    """What posts to ``url``, with ``key`` as ``X-API-KEY`` where there is one; follows no redirect.

    Raises ``BadConfig`` for what is no https:// address; http:// only to this machine.
    """
    parts = urlsplit(url)
    here = parts.hostname in {"127.0.0.1", "::1", "localhost"}
    if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and here)):
        raise BadConfig("moderation.webhook must be https://…; http:// only to this machine")
    context = ssl.create_default_context(cafile=authorities or None)
    more = {"x-api-key": key} if key else {}
    place = parts.path + (f"?{parts.query}" if parts.query else "") or "/"

    def post(headers: Mapping[str, str], body: bytes) -> int:
        host, port = parts.hostname or "", parts.port
        there = (
            http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=context)
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=TIMEOUT)
        )
        try:
            there.request("POST", place, body, {**headers, **more})
            return there.getresponse().status
        except http.client.HTTPException as error:
            raise ConnectionError(f"no HTTP answer ({type(error).__name__})") from None
        finally:
            there.close()

    async def send(headers: Mapping[str, str], body: bytes) -> int:
        return await asyncio.to_thread(post, headers, body)

    return send


def secret_bytes(text: str) -> bytes:
    """The 32 bytes of ``whsec_…``. Raises ``BadConfig``."""
    try:
        secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        secret = b""
    if len(secret) != 32 or not text.startswith(SECRET_PREFIX):
        raise BadConfig("the webhook's secret is whsec_ and 32 bytes in base64")
    return secret


def secret_text(secret: bytes) -> str:
    """As the console's operator enters it."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()
