"""The moderation API for tests: the rig's use cases behind it, its staff with passwords and codes.

Only builders and doubles live here; what they are for is asserted elsewhere.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec

from crypto_modes import grants
from crypto_modes.errors import Unauthorized
from crypto_modes.keys import SigningKey
from server.jwks import External
from server.moderation import second_factor
from server.moderation.api import PREFIX, Api, application
from server.moderation.api.guard import Office
from server.moderation.once import Once
from server.moderation.roster import Member, Roster
from server.moderation.sessions import Sessions
from server.moderation.staff import Hasher, Provider, Staff
from tests.moderation_rig import KEYS, STAFF, Rig, rig

PEPPER = bytes(range(32))
PASSWORD = "correct horse"
PLACE = f"{PREFIX}/join"


class QuickHasher:
    """Keeps passwords as they are; counts the work, which must be the same for everybody."""

    def __init__(self) -> None:
        self.verified: list[str] = []
        self.hashed = 0

    async def hash(self, password: str) -> str:
        self.hashed += 1
        return f"hashed {password}"

    async def verify(self, stored: str, password: str) -> bool:
        self.verified.append(stored)
        return bool(stored) and stored == f"hashed {password}"


class FakeProvider:
    """Vouches for the subject that the token names."""

    async def verify(self, token: str) -> External:
        if not token.startswith("good "):
            raise Unauthorized("this token is refused")
        return External(token.removeprefix("good "), "", 0)


_HASHER: type[Hasher] = QuickHasher
_PROVIDER: type[Provider] = FakeProvider


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    json: Any

    @property
    def etag(self) -> str:
        return self.headers["etag"]


class OfficeRig:
    """The rig, its staff in the roster, and the API over them; ``tokens`` are sessions by name."""

    def __init__(self, made: Rig) -> None:
        self.rig = made
        self.roster = Roster(made.store)
        made.desk.staff = self.roster.people
        self.sessions = Sessions(self.roster, lambda: made.now)
        self.hasher = QuickHasher()
        self.staff = Staff(
            made.desk, self.roster, self.sessions, self.hasher, PEPPER, provider=FakeProvider()
        )
        self.once = Once(made.store, lambda: made.now)
        self.app: Api = application(Office(made.moderation, self.staff, self.sessions, self.once))
        self.tokens: dict[str, str] = {}
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://relay")

    async def hire(self) -> None:
        """Everybody of the rig, as if they had joined; logged in."""
        for number, (name, (subject, role)) in enumerate(STAFF.items(), 1):
            member = Member(
                id=number.to_bytes(16, "big"),
                state="active",
                name=name,
                subject=subject,
                role=role,
                key=KEYS[name].public,
                password=f"hashed {PASSWORD}",
            )
            await self.roster.put(member)
            self.log_in(name)

    def log_in(self, name: str) -> None:
        """A fresh session, without asking anything."""
        self.tokens[name], _ = self.sessions.begin(self.roster.people()[name])

    async def __call__(
        self,
        who: str,
        method: str,
        path: str,
        body: object = None,
        **headers: str,
    ) -> Answer:
        """Ask as ``who`` (empty: nobody); headers as ``match``, ``once``, or by their name."""
        given = {"If-Match": headers.pop("match", ""), "Idempotency-Key": headers.pop("once", "")}
        sent = {name: value for name, value in {**given, **headers}.items() if value}
        if who:
            sent["Authorization"] = f"Bearer {self.tokens[who]}"
        content = b"" if body is None else json.dumps(body).encode()
        sent["Content-Type"] = "application/json"
        answer = await self.http.request(method, path, content=content, headers=sent)
        parsed = answer.json() if answer.content else None
        return Answer(answer.status_code, answer.headers, parsed)

    def code(self, name: str, later: int = 0) -> str:
        """What this person's app shows, ``later`` steps from now."""
        member = self.roster.get(name)
        secret = second_factor.secret_of(PEPPER, member.id, member.generation)
        return second_factor.code_at(secret, self.rig.now // 30_000 + later)

    async def join(self, name: str, invite: str, key: SigningKey, **more: str) -> Answer:
        """Come in by an invitation, signed with ``key``; ``more`` of the body, or ``signer``."""
        body = {"invite": invite, "key": key.public.hex(), "password": PASSWORD, **more}
        return await self(
            "", "POST", "/join", body, **{"Louver-Request": self.proof(name, key, body)}
        )

    def proof(self, name: str, key: SigningKey, body: object) -> str:
        """The header Louver-Request."""
        content = json.dumps(body).encode()
        request = grants.sign_request(key, "/join", content, name, self.rig.now, bytes(16))
        return base64.urlsafe_b64encode(msgspec.json.encode(request)).decode()


@asynccontextmanager
async def office(data: Path) -> AsyncIterator[OfficeRig]:
    """An office with everybody logged in."""
    async with rig(data) as made:
        opened = OfficeRig(made)
        await opened.hire()
        async with opened.http:
            yield opened


def stored(data: Path) -> bytes:
    """Every byte that is on the disk."""
    return b"".join(path.read_bytes() for path in data.iterdir() if path.is_file())
