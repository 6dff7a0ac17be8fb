"""People at their desks for tests: directories, the API by HTTP, and a vault that checks who calls.

Only builders and doubles live here; what they are for is asserted elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from client.commands import Terms
from client.moderation.many import Many
from client.moderation.post import Addresses, Post, Session
from crypto_modes import disclosure, grants
from crypto_modes.disclosure import Disclosure, Entered, Opened, Shown
from crypto_modes.verdicts import Finding
from server.hosting import Host
from server.moderation.api import PREFIX
from tests.moderation_office import OfficeRig, office
from tests.moderation_rig import ALICE, BOB, KEYS, NOW, TALK


class FakeVault:
    """Checks who calls, notes what was asked, and answers with two messages."""

    def __init__(self, api: OfficeRig) -> None:
        self._api = api
        self.calls: list[tuple[str, object]] = []

    def routes(self) -> list[Route]:
        return [
            Route(disclosure.OPEN, self.open, methods=["POST"]),
            Route(disclosure.REPORT, self.report, methods=["POST"]),
        ]

    async def _call(self, request: Request, kind: Any) -> Any:
        body = await request.body()
        header = disclosure.from_header(request.headers[disclosure.HEADER])
        # The clock of these commands is the machine's.
        person = grants.check_signed(
            header, request.url.path, body, self._api.roster.people(), header.time
        )
        call = disclosure.decode(body, kind)
        self.calls.append((person.name, call))
        return call

    async def open(self, request: Request) -> Response:
        call = await self._call(request, disclosure.OpenCall)
        given = {"id": bytes(16), "device": bytes(16), "recipient": BOB, "kind": "text"}
        shown = (
            Shown(
                seq=1, sender=ALICE, mode="tls", time=NOW, readable=True, text="hi\x1b[2J", **given
            ),
            Shown(
                seq=2, sender=BOB, mode="e2ee", time=NOW, readable=False, reason="no key", **given
            ),
        )
        assert call.approvals
        return _json(Disclosure(receipt=Entered(7, b"note"), records=shown))

    async def report(self, request: Request) -> Response:
        call = await self._call(request, disclosure.ReportCall)
        finding = Finding(id=bytes(16), seq=7, state="verified", content=b"HARM-0007")
        return _json(
            Opened(
                receipt=Entered(8, b"note"),
                report=call.report,
                reporter=ALICE,
                reported=BOB,
                conversation=TALK,
                category="threat",
                words="help",
                created=NOW,
                time=NOW,
                findings=(finding, Finding(id=bytes(16), state="claim", content=b"x")),
                notes=(),
            )
        )


def _json(answer: object) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")


class Team:
    """People at their desks: each has a directory, and what was printed there."""

    def __init__(self, api: OfficeRig, vault: FakeVault, url: str, data: Path) -> None:
        self.api, self.vault, self.url, self.data = api, vault, url, data
        self.printed: list[str] = []

    def seat(self, name: str) -> Path:
        """Somebody who has joined and logged in."""
        place = self.data / name
        post = Post(place)
        if post.knows() is None:
            place.mkdir(mode=0o700)
            key = place / "staff.key"
            key.touch(0o600)
            key.write_bytes(KEYS[name].raw)
            post.remember(Addresses(name=name, url=self.url, vault=self.url))
        post.open(Session(token=self.api.tokens[name], expires=1 << 52))
        return place

    async def __call__(
        self, name: str, work: Callable[[Many], None], as_json: bool = True
    ) -> list[str]:
        """What a command of ``name`` prints; the calls block, so they run beside the loop."""
        lines: list[str] = []
        terms = Terms(self.seat(name), as_json, lines.append)
        await asyncio.to_thread(lambda: work(Many(terms)))
        self.printed += lines
        return lines


@asynccontextmanager
async def seated(place: Path) -> AsyncIterator[Team]:
    """The team, its API and its vault on one port."""
    data = place / "data"
    data.mkdir()
    async with office(data) as api:
        vault = FakeVault(api)
        app = Starlette(routes=[Mount(PREFIX, api.app), *vault.routes()])
        host = Host(app, "127.0.0.1", 0, section="internal")
        await host.start()
        yield Team(api, vault, f"http://127.0.0.1:{host.port}", place)
        await host.stop()
