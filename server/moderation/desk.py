"""What every use case of moderation has at hand, and the order in which each step happens.

What may live here: the Protocols of what the relay does for moderation, the one lock, entering into
the access log, refusing with a trace. What may not: any rule of cases, reports or actions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NoReturn, Protocol, TypeVar

import msgspec

from crypto_modes.errors import Forbidden, LogUnavailable, LouverError, VaultUnavailable
from crypto_modes.grants import Person, Role
from crypto_modes.transparency.access_log import Entry, Kind
from server.access_log import CountedLog, Receipt
from server.access_log.counts import Counted
from server.moderation.records import Action, Event, Hold, Notice, Record, Stale, Unknown
from server.moderation.store import ModerationStore
from server.store import SealedReport

T = TypeVar("T", bound=Record)
Staff = Callable[[], Mapping[str, Person]]
# Who may look at cases, reports and actions. Not operators: a request names whom it is about.
LOOKERS: tuple[Role, ...] = ("moderator", "senior", "legal", "auditor", "admin")
_DETAIL_LIMIT = 500


class Hooks(Protocol):
    """What the relay does for moderation. Each may raise ``StoreUnavailable``, and doing one of
    them twice is doing it once.
    """

    async def name(self, account: bytes) -> str:
        """The name of an account; empty where there is none."""

    async def account(self, name: str) -> bytes:
        """The account of that name; empty where there is none."""

    async def parties(self, conversation: bytes) -> tuple[bytes, bytes] | None:
        """The two accounts of a conversation that has messages."""

    async def times(self, conversation: bytes, first: int, last: int) -> tuple[int, int]:
        """When the first and the last of these messages were sent, milliseconds; zeros where there
        are none."""

    async def authors(self, conversation: bytes, seqs: Sequence[int]) -> set[bytes]:
        """Who wrote these messages; of those that are there."""

    async def reports(self, after: int, limit: int) -> Sequence[SealedReport]:
        """Reports that came in, with a higher number, ascending."""

    async def apply(self, action: Action, *, on: bool) -> None:
        """Make the relay act so, or no longer."""

    async def release(self, report: int) -> bytes:
        """Let pass what a list held under this report; who sent it, empty where nothing was."""

    async def hold(self, hold: Hold, *, on: bool) -> None:
        """Keep from being destroyed what this is about, or no longer."""

    def tell(self, notice: Notice) -> bool:
        """Hand a notice to the account's devices that are connected; whether there are any."""


class NoLog:
    """Of a relay without a vault: nothing is entered, so nothing may be done."""

    async def append(self, entries: Sequence[Entry]) -> Receipt:
        raise LogUnavailable(
            "this relay has no vault that keeps an access log, so nothing can be decided here; the"
            " operator's key is moderation.vault"
        )

    async def counts(self, first: int, end: int) -> Counted:
        raise VaultUnavailable("this relay has no vault that keeps an access log")


_: type[CountedLog] = NoLog


class Desk:
    """Shared by all use cases of one relay. ``now()`` gives milliseconds, ``random(n)`` n bytes;
    ``heard`` is told of what other programs may want to know.
    """

    def __init__(
        self,
        *,
        store: ModerationStore,
        log: CountedLog,
        hooks: Hooks,
        staff: Staff,
        now: Callable[[], int],
        random: Callable[[int], bytes],
        heard: Callable[[Event], None] = lambda _: None,
    ) -> None:
        self.store = store
        self.log = log
        self.hooks = hooks
        self.staff = staff
        self.now = now
        self.random = random
        self.heard = heard
        # One step at a time: what was checked still holds when it is entered, kept and felt. These
        # are steps of people, some a minute, and each is a transaction in the log anyway.
        self.lock = asyncio.Lock()

    async def find(self, kind: type[T], key: bytes | int, version: int = 0) -> T:
        """A record as it was looked at (0: as it is). Raises ``Unknown`` or ``Stale``."""
        found = await self.store.get(kind, key)
        if found is None:
            raise Unknown(f"there is no such {kind.__name__.lower()}")
        if version and found.version != version:
            raise Stale(
                f"this {kind.__name__.lower()} was changed since you looked at it (version"
                f" {found.version}, not {version}); look at it again"
            )
        return found

    def entry(self, kind: Kind, who: str, **fields: object) -> Entry:
        """An entry of now."""
        return msgspec.convert({"kind": kind, "time": self.now(), "actor": who, **fields}, Entry)

    async def enter(self, kind: Kind, who: str, **fields: object) -> None:
        """Write one entry; once this returns it is inside a signed checkpoint. Raises
        ``LogUnavailable``: then the step does not happen.
        """
        await self.log.append([self.entry(kind, who, **fields)])

    async def refuse(self, who: Person, error: LouverError, **fields: object) -> NoReturn:
        """Raise ``error``, entered in the log where that is possible: a refusal changes nothing, so
        it needs no log to be one.
        """
        detail = {"reason": str(error)[:_DETAIL_LIMIT], "role": who.role}
        with suppress(LogUnavailable):
            await self.enter("refused", who.name, detail=detail, **fields)
        raise error

    async def allow(self, who: Person, roles: Sequence[Role], what: str, **fields: object) -> None:
        """Raises ``Forbidden``, entered in the log, unless ``who`` is of one of these roles and
        still of the staff: a session may be older than a dismissal.
        """
        if self.staff().get(who.name) != who:
            await self.refuse(who, Forbidden(f"{who.name} is not of the staff"), **fields)
        if who.role not in roles:
            error = Forbidden(f"a {who.role} may not {what}; this is for {' or '.join(roles)}")
            await self.refuse(who, error, **fields)

    def look(self, who: Person) -> None:
        """Raises ``Forbidden`` unless ``who`` may look at cases, reports and actions."""
        if self.staff().get(who.name) != who or who.role not in LOOKERS:
            raise Forbidden(f"a {who.role} may not look at cases and reports")


def changed(record: T, **fields: object) -> T:
    """The next version of a record."""
    return msgspec.structs.replace(record, version=record.version + 1, **fields)
