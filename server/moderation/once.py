"""Answers that are kept for a day under the key of their request, so that a request that is sent
twice is carried out once (draft-ietf-httpapi-idempotency-key-header).

What may live here: keeping and finding them. What may not: HTTP, or what was asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from crypto_modes.encoding import enc
from crypto_modes.errors import BadArgument, LouverError
from crypto_modes.primitives import H
from server.moderation.desk import changed
from server.moderation.records import Record, Stale, WrongState
from server.moderation.store import PAGE_LIMIT, ModerationStore

LIFE = 24 * 3_600_000  # milliseconds
KEY_LIMIT = 64  # characters


class Answered(NamedTuple):
    """What is given again: the status, the version that was answered (or empty), the body."""

    status: int
    etag: str
    body: bytes


class Kept(Record, frozen=True, kw_only=True):
    """An answer, or, while ``status`` is 0, that the request is being carried out."""

    id: bytes
    time: int
    request: bytes
    status: int = 0
    etag: str = ""
    body: bytes = b""


class OtherRequest(BadArgument):
    """The key was used for another request (422)."""


class Once:
    """``now()`` gives milliseconds."""

    def __init__(self, store: ModerationStore, now: Callable[[], int]) -> None:
        self._store = store
        self._now = now

    async def do(
        self,
        name: str,
        key: str,
        request: bytes,
        work: Callable[[], Awaitable[Answered]],
        *harmless: type[Exception],
    ) -> tuple[Answered, bool]:
        """What ``work`` answers, or has answered to ``name`` before under ``key``; whether the
        latter. ``request`` is a digest of all that was asked; what ``work`` raises of ``harmless``,
        it raises before it has done anything.

        What fails is not kept: it changed nothing, and may be tried again. Raises ``OtherRequest``;
        ``WrongState`` while the first is under way, or where it was cut off and nobody knows.
        """
        if not 0 < len(key) <= KEY_LIMIT:
            raise BadArgument(f"an Idempotency-Key has 1 to {KEY_LIMIT} characters")
        kept = Kept(id=place_of(name, key), time=self._now(), request=request)
        found = await self._store.get(Kept, kept.id)
        if found is not None:
            return _again(found, request), True
        try:
            await self._store.put(kept)
        except Stale:
            raise WrongState("this request is being carried out") from None
        nothing_done: tuple[type[Exception], ...] = (LouverError, *harmless)
        try:
            answered = await work()
        except nothing_done:
            await self._store.drop(Kept, kept.id)
            raise
        if answered.status >= 300:
            await self._store.drop(Kept, kept.id)
        else:
            await self._store.put(changed(kept, **answered._asdict()))
        return answered, False

    async def forget(self) -> None:
        """Drop what is older than a day; call it every minute."""
        page = await self._store.find(Kept, 0, PAGE_LIMIT)
        old = [each.id for each in page if each.time <= self._now() - LIFE]
        if old:
            await self._store.drop(Kept, *old)


def _again(kept: Kept, request: bytes) -> Answered:
    if kept.request != request:
        raise OtherRequest("this Idempotency-Key was used for another request; take a new one")
    if not kept.status:
        raise WrongState(
            "this request is being carried out, or was cut off: look at what it is about, and take"
            " a new Idempotency-Key if it was not done"
        )
    return Answered(kept.status, kept.etag, kept.body)


def place_of(name: str, key: str) -> bytes:
    """Where the answer to a person's request with this key is kept, 16 bytes."""
    return H(enc("louver/v1/staff/once", name, key))[:16]
