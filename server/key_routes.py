"""The internal listener's routes about the platform's keys; the listener adds their guard.

======  ==========================  ===================================================
GET     /admin/v1/keys              the generation in force, and how many keys there are
POST    /admin/v1/keys/rotate       a new key-encryption key; stored keys are wrapped anew
POST    /admin/v1/keys/shred        ``{"account": NAME, "with": NAME?}``
======  ==========================  ===================================================
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from crypto_modes import wire
from crypto_modes.errors import BadArgument

Route = Callable[[Request], Awaitable[Response]]


class Kept(Protocol):
    """What the listener may ask about keys."""

    async def status(self) -> Mapping[str, object]:
        """Provider, generation, and counts; no key and no name of a user."""

    async def rotate(self) -> Mapping[str, object]:
        """Begin a rotation; the status then. Raises ``BadArgument`` while one is under way,
        ``KeyServiceUnavailable`` where the provider does not play along."""

    async def shred(self, account: str, peer: str) -> Mapping[str, object]:
        """Destroy the data keys of all that ``account`` sent or, where ``peer`` is given, of what
        the two sent each other; how many. Raises ``Forbidden`` for an account that is none, and
        where something of this must be kept."""


class Shredding(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``/admin/v1/keys/shred``."""

    account: wire.Name
    peer: wire.Name | None = msgspec.field(default=None, name="with")


def routes(
    keys: Kept, body: Callable[[Request], Awaitable[bytes]]
) -> tuple[tuple[str, str, Route], ...]:
    """Path, method and route of each; ``body`` reads a request's, within its limit."""

    async def status(request: Request) -> Response:
        return JSONResponse(await keys.status())

    async def rotate(request: Request) -> Response:
        return JSONResponse(await keys.rotate())

    async def shred(request: Request) -> Response:
        try:
            asked = msgspec.json.decode(await body(request), type=Shredding)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise BadArgument(
                f'the body must be {{"account": name, "with": name}}: {error}'
            ) from None
        return JSONResponse(await keys.shred(asked.account, asked.peer or ""))

    return ("keys", "GET", status), ("keys/rotate", "POST", rotate), ("keys/shred", "POST", shred)
