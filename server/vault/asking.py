"""Who calls: a person of the staff, by a signature of his own over this very call, once.

What may live here: the check of signed calls, the memory of used nonces, and the entry of refusals.
What may not: what the call is about.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from crypto_modes import disclosure, grants
from crypto_modes.errors import BadConfig, GrantRefused, LouverError, Unavailable
from crypto_modes.grants import REQUEST_SECONDS, Person
from crypto_modes.transparency.access_log import Entry
from server import logs
from server.access_log import AccessLog
from server.vault.journal import Journal
from server.vault.staff import Staff

# No call's nonce: its line says from when on calls are remembered.
NOBODY = bytes(16)
# A nonce is of use for as long as a call is believed: from as much too early to as much too late.
REMEMBERED = 2 * REQUEST_SECONDS * 1000
NONCES = 100_000
# Whoever reaches the port can send calls that nobody signed: so many a minute are entered.
STRANGERS = 30
REASON = 300  # characters of a reason in the log
PLACE = 100  # of a path, which a stranger chooses with all that he asks for in it


class Signed(Protocol):
    """A request by HTTP, as far as it matters here."""

    @property
    def headers(self) -> Mapping[str, str]: ...


class Nonces:
    """Which nonces were used, also across a restart. ``path`` is their journal."""

    def __init__(self, path: Path, now: Callable[[], int]) -> None:
        self._journal = Journal(path, 24)
        self._now = now
        self._used: dict[bytes, int] = {}
        # Calls from before this were forgotten. A clock that goes back must not make them new.
        self._since = 0

    def open(self) -> None:
        """Raises ``BadConfig``."""
        used = {line[8:]: int.from_bytes(line[:8], "big") for line in self._journal.read()}
        self._since, self._used = used.pop(NOBODY, 0), used
        self._forget()
        kept = {NOBODY: self._since, **self._used}
        self._journal.begin(_line(nonce, time) for nonce, time in kept.items())

    async def use(self, nonce: bytes, time: int) -> None:
        """Returns once it is remembered. Raises ``GrantRefused`` for one that was used."""
        self._forget()
        if nonce in self._used or nonce == NOBODY:
            raise GrantRefused("this call was made before; make another")
        if time < self._since:
            raise GrantRefused(self._too_early())
        if len(self._used) >= NONCES:
            raise GrantRefused("too many calls; wait two minutes")
        self._used[nonce] = time
        await self._journal.add(_line(nonce, time))

    def close(self) -> None:
        self._journal.close()

    def _too_early(self) -> str:
        ahead = self._since - self._now()
        if ahead <= REQUEST_SECONDS * 1000:
            return "this call is from before the vault's clock went back; make another"
        # Started once with a clock that was far ahead, it would be closed until that day comes.
        return (
            f"the vault's clock went back, and for {ahead // 60_000 + 1} minutes it believes no"
            " call. If the clock was ahead before, and is right now, the operator stops the vault,"
            " waits three minutes and removes `nonces` from its directory"
        )

    def _forget(self) -> None:
        """Calls arrive roughly in order, so the oldest are in front; what stays longer does no
        harm."""
        self._since = max(self._since, self._now() - REMEMBERED)
        for nonce in list(self._used):
            if self._used[nonce] >= self._since:
                return
            del self._used[nonce]


class Refusals:
    """Enters in the log what was refused, and why."""

    def __init__(self, log: AccessLog, now: Callable[[], int]) -> None:
        self._log = log
        self._now = now
        self._minute = self._entered = self._left_out = 0

    async def of_stranger(self, error: LouverError, place: str) -> None:
        """A call by nobody knows whom. Over the limit it is counted, and the count is entered with
        the next. Raises ``LogUnavailable``."""
        minute = self._now() // 60_000
        if minute != self._minute:
            self._minute, self._entered = minute, 0
        if self._entered >= STRANGERS:
            self._left_out += 1
            return
        self._entered += 1
        told = {"outcome": "refused", "reason": str(error)[:REASON], "place": place[:PLACE]}
        more, self._left_out = self._left_out, 0
        await self._log.append([Entry(kind="refused", time=self._now(), count=more, detail=told)])

    async def of(self, entry: Entry, error: LouverError) -> None:
        """A call whose ``entry`` says what it was about. Raises ``LogUnavailable``."""
        fields = {name: getattr(entry, name) for name in ("case", "basis", "actor", "grant")}
        told = {"outcome": "refused", "reason": str(error)[:REASON]}
        await self._log.append(
            [
                Entry(
                    kind="refused",
                    time=self._now(),
                    conversation=entry.conversation,
                    records=entry.records,
                    count=len(entry.records),
                    detail=told,
                    **fields,
                )
            ]
        )


class Asking:
    """Every call of a person begins here."""

    def __init__(
        self, staff: Staff, nonces: Nonces, refusals: Refusals, now: Callable[[], int]
    ) -> None:
        self._staff = staff
        self._nonces = nonces
        self._refusals = refusals
        self._now = now

    async def person(self, place: str, header: str, body: bytes) -> Person:
        """Who sent ``body`` to ``place`` just now, and for the first time.

        Raises ``GrantRefused``, and ``Unavailable`` where that cannot be known or written down.
        """
        try:
            request = disclosure.from_header(header)
            person = grants.check_signed(request, place, body, await self.people(), self._now())
            await self._nonces.use(request.nonce, request.time)
        except GrantRefused as error:
            await self._refusals.of_stranger(error, place)
            raise
        return person

    async def of_request(self, request: Signed, place: str, body: bytes) -> Person:
        """The same for a request by HTTP."""
        return await self.person(place, request.headers.get(disclosure.HEADER, ""), body)

    async def people(self) -> dict[str, Person]:
        """The staff as it is now. Raises ``Unavailable``."""
        try:
            return dict(await self._staff.people())
        except BadConfig as error:
            # Whoever asks is not told the names of files.
            logs.logger().error("staff unknown", reason="badconfig")
            raise Unavailable(
                "the vault cannot read its list of the staff, so it knows nobody",
                advice=str(error),
            ) from None


def now_ms() -> int:
    """Wall-clock time in milliseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000


def _line(nonce: bytes, time: int) -> bytes:
    return time.to_bytes(8, "big") + nonce
