"""Credentials: passwords, bearer tokens, and whom an external identity provider vouches for.

What may live here: making and checking them; the only use of Argon2 in the relay. What may
not: accounts themselves (the store) and who may register (``directory``). Nothing here logs
or keeps a password or a token; errors never repeat one.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from crypto_modes.encoding import enc
from crypto_modes.errors import FrameRefused, RateLimited, TokenExpired, Unauthorized
from server.secrets_file import new_token
from server.store import Device

TOKEN_PREFIX = "lvr_"  # noqa: S105 - public, so that leaked tokens can be recognised
PASSWORD_CHARACTERS = (8, 1024)

# OWASP's second choice for Argon2id: 19 MiB, two passes, one lane; about 25 ms of one core.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_UNBOUND = bytes(32)

T = TypeVar("T")


class Passwords:
    """Argon2id in threads of its own: at most ``workers`` hashes at a time, so at most
    ``workers`` x 19 MiB, and at most ``waiting`` callers in the queue.
    """

    def __init__(self, workers: int = 2, waiting: int = 100) -> None:
        self._executor = ThreadPoolExecutor(workers, "louver-password")
        self._free = workers + waiting
        self._nobody = _HASHER.hash("the password of nobody")

    async def hash(self, password: str) -> str:
        """The Argon2id string to store.

        Raises:
            FrameRefused: too short or too long.
            RateLimited: too many callers wait already.
        """
        low, high = PASSWORD_CHARACTERS
        if not low <= len(password) <= high:
            raise FrameRefused(f"a password must have {low} to {high} characters")
        return await self._run(_HASHER.hash, password)

    async def verify(self, stored: str, password: str) -> bool:
        """Whether ``password`` is the one. ``stored`` is empty where the account is unknown or
        has none: the same work is done, so the time taken tells nobody which names exist.
        """
        right = await self._run(_matches, stored or self._nobody, password)
        return right and bool(stored)

    async def _run(self, work: Callable[..., T], *texts: str) -> T:
        if self._free == 0:
            raise RateLimited("too many logins wait already; try again", retry_after=2.0)
        self._free -= 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, work, *texts)
        finally:
            self._free += 1

    def close(self) -> None:
        """Let go of the threads; running hashes end by themselves."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _matches(stored: str, password: str) -> bool:
    try:
        return _HASHER.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False


class Tokens:
    """Bearer tokens: 32 random bytes after ``lvr_``; kept only as HMAC-SHA256 under ``pepper``,
    a secret outside the database, so that a stolen database logs nobody in.
    """

    def __init__(self, pepper: bytes) -> None:
        self._pepper = pepper

    def new(self) -> tuple[str, bytes]:
        """A fresh token, and the 32-byte digest to store."""
        token = new_token(TOKEN_PREFIX)
        return token, self.digest(token)

    def digest(self, token: str) -> bytes:
        """What the store keeps of ``token``."""
        return hmac.digest(self._pepper, enc("louver/v1/token", token), "sha256")

    def check(self, token: str, device: Device | None, now: int) -> Device:
        """The device, if ``token`` is its own and ``now`` (ms) is before its expiry. Unknown
        devices and wrong tokens take the same path and the same words.

        Raises:
            Unauthorized: not this device's token.
            TokenExpired: it was, once.
        """
        stored = device.token if device is not None else _UNBOUND
        if not hmac.compare_digest(self.digest(token), stored) or device is None:
            raise Unauthorized("this token does not open this device; log in again")
        # Only who holds the right token learns that it has expired.
        if now >= device.expires:
            raise TokenExpired("this token has expired; log in again")
        return device
