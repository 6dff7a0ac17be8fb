"""A vault's access log behind its routes, on a real socket, for whoever asks by HTTP.

What may live here: starting it, and asking it as one of the staff. What may not: assertions.
"""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request

from crypto_modes import grants
from crypto_modes.grants import Person
from server.access_log.durable import DurableLog
from server.access_log.routes import routes
from server.hosting import Host
from server.problems import handlers
from tests.access_entries import TIME
from tests.test_grants import STAFF

TOKEN = "lvv_" + "t" * 43
NOTICE_DAYS = 7


class VaultLogServer(NamedTuple):
    """The log, where it is served, and its clock: ``now[0]`` in milliseconds."""

    log: DurableLog
    url: str
    now: list[int]


@asynccontextmanager
async def serving(
    data: Path, context: ssl.SSLContext | None = None
) -> AsyncIterator[VaultLogServer]:
    """The log in ``data`` at work; its clock stands at ``TIME``."""
    log, now = DurableLog(data), [TIME]
    await log.open()

    async def asked(request: Request, place: str, body: bytes) -> Person:
        raw = urlsafe_b64decode(request.headers["louver-request"])
        signed = msgspec.json.decode(raw, type=grants.Request)
        return grants.check_signed(signed, place, body, STAFF, now[0])

    mounted = routes(log, asked, TOKEN, notice_days=NOTICE_DAYS, now=lambda: now[0])
    app = Starlette(routes=mounted, exception_handlers=handlers("vault", advise=True))
    host = Host(app, "127.0.0.1", 0, section="vault", context=context)
    await host.start()
    try:
        scheme = "https" if context else "http"
        yield VaultLogServer(log, f"{scheme}://127.0.0.1:{host.port}", now)
    finally:
        await host.stop()
        await log.close()


def fetch(
    url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> tuple[int, bytes]:
    """Status and body of what is answered."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers or {})) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
