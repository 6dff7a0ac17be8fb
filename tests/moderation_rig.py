"""Moderation for tests: staff with keys, a log in memory that can be down, a relay that notes.

Only doubles and builders live here; what they are for is asserted elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from crypto_modes import grants, holds
from crypto_modes.errors import LogUnavailable, VaultUnavailable
from crypto_modes.grants import Approval, Grant, Person, Role
from crypto_modes.keys import SigningKey
from crypto_modes.policy import conversation_id
from crypto_modes.transparency.access_log import Entry
from server.access_log import CountedLog, Receipt
from server.access_log.counts import Counted, count
from server.moderation.cases import Opening
from server.moderation.desk import Desk, Hooks
from server.moderation.records import Action, Case, Event, Hold, Notice
from server.moderation.service import Moderation
from server.moderation.sqlite import SqliteModeration
from server.store import SealedReport

NOW = 1_800_000_000_000
MINUTE, DAY = 60_000, 86_400_000
ALICE, BOB, CAROL = b"a" * 16, b"b" * 16, b"c" * 16
TALK = conversation_id(ALICE, BOB)
OTHER = conversation_id(BOB, CAROL)

STAFF: dict[str, tuple[str, Role]] = {
    "mara": ("mara m.", "moderator"),
    "milo": ("milo m.", "moderator"),
    "sven": ("sven s.", "senior"),
    "sara": ("sara s.", "senior"),
    "saul": ("saul s.", "senior"),
    "lena": ("lena l.", "legal"),
    "luca": ("luca l.", "legal"),
    "anna": ("anna a.", "auditor"),
    "otto": ("otto o.", "operator"),
    "adam": ("adam a.", "admin"),
    # the second accounts of humans who have one already
    "sven2": ("sven s.", "legal"),
    "lena2": ("lena l.", "senior"),
    "anna2": ("anna a.", "senior"),
    "mara2": ("mara m.", "senior"),
    "sven3": ("sven s.", "auditor"),
}
KEYS = {name: SigningKey(name.encode().ljust(32, b".")) for name in STAFF}
PEOPLE = {
    name: Person(name=name, subject=subject, role=role, key=KEYS[name].public)
    for name, (subject, role) in STAFF.items()
}


class MemoryLog:
    """Entries in a list; while ``down`` nothing can be entered."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.down = False

    async def append(self, entries: Sequence[Entry]) -> Receipt:
        if self.down:
            raise LogUnavailable("the log is down")
        self.entries += entries
        return Receipt(len(self.entries) - len(entries), b"")

    async def counts(self, first: int, end: int) -> Counted:
        if self.down:
            raise VaultUnavailable("the vault does not answer")
        rows = tuple(count(self.entries, first, end))
        size = len(self.entries)
        return Counted(first=first, end=end, log="log", size=size, root="", erased=0, rows=rows)

    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.entries]


class Relay:
    """Notes what it was told to do. ``online`` accounts can be told at once."""

    def __init__(self) -> None:
        self.names = {ALICE: "alice", BOB: "bob", CAROL: "carol"}
        self.incoming: list[SealedReport] = []
        self.applied: list[tuple[str, bytes, bool]] = []
        self.held: list[tuple[bytes, bool]] = []
        self.released: dict[int, bytes] = {}
        self.online: set[bytes] = set()
        self.told: list[Notice] = []
        self.broken: Exception | None = None

    async def name(self, account: bytes) -> str:
        return self.names.get(account, "")

    async def account(self, name: str) -> bytes:
        return next((one for one, each in self.names.items() if each == name), b"")

    async def parties(self, conversation: bytes) -> tuple[bytes, bytes] | None:
        return {TALK: (ALICE, BOB), OTHER: (BOB, CAROL)}.get(conversation)

    async def times(self, conversation: bytes, first: int, last: int) -> tuple[int, int]:
        return NOW - DAY + first, NOW - DAY + last

    async def authors(self, conversation: bytes, seqs: Sequence[int]) -> set[bytes]:
        return {(ALICE, BOB)[seq % 2] for seq in seqs}

    async def reports(self, after: int, limit: int) -> Sequence[SealedReport]:
        return [each for each in self.incoming if each.number > after][:limit]

    async def apply(self, action: Action, *, on: bool) -> None:
        if self.broken is not None:
            raise self.broken
        self.applied.append((action.kind, action.account, on))

    async def release(self, report: int) -> bytes:
        if self.broken is not None:
            raise self.broken
        return self.released.get(report, b"")

    async def hold(self, hold: Hold, *, on: bool) -> None:
        self.held.append((hold.place, on))

    def tell(self, notice: Notice) -> bool:
        self.told.append(notice)
        return notice.account in self.online


_HOOKS: type[Hooks] = Relay
_LOG: type[CountedLog] = MemoryLog


class Rig:
    """Everything of one relay's moderation. ``now`` is set by the test."""

    def __init__(self, data: Path) -> None:
        self.now = NOW
        self.log = MemoryLog()
        self.relay = Relay()
        self.events: list[Event] = []
        self.staff = dict(PEOPLE)
        self.store = SqliteModeration(data, on_fatal=print)
        self.desk = Desk(
            store=self.store,
            log=self.log,
            hooks=self.relay,
            staff=lambda: self.staff,
            now=lambda: self.now,
            random=os.urandom,
            heard=self.events.append,
        )
        self.moderation = Moderation(self.desk)

    async def opened(self, who: str = "lena", opening: Opening | None = None) -> Case:
        """A case, assigned to who opened it."""
        cases = self.moderation.cases
        case = await cases.open(PEOPLE[who], opening or legal_request())
        return await cases.assign(PEOPLE[who], case.id, who)

    def grant(self, case: Case, **fields: object) -> Grant:
        """A grant of this case, whose assignee asks."""
        given = {
            "case": case.id,
            "basis": case.basis,
            "conversation": TALK,
            "first": 1,
            "last": 10,
            "expires": self.now + 30 * MINUTE,
            "requester": case.assignee,
            "reason": "what was said that day",
        }
        return Grant(**(given | fields))  # type: ignore[arg-type] - a test may give wrong ones


@asynccontextmanager
async def rig(data: Path) -> AsyncIterator[Rig]:
    """A rig whose store is open."""
    made = Rig(data)
    await made.store.open()
    try:
        yield made
    finally:
        await made.store.close()


def legal_request(**fields: object) -> Opening:
    """A legal request about Bob's account."""
    given = {
        "basis": "legal_request",
        "reason": "order of a court",
        "authority": "Amtsgericht Musterstadt",
        "reference": "12 Gs 34/26",
        "country": "DE",
        "served": NOW - DAY,
        "due": NOW + DAY,
        "accounts": (BOB,),
    }
    return Opening(**(given | fields))  # type: ignore[arg-type] - a test may give wrong ones


def emergency(**fields: object) -> Opening:
    """Somebody is about to be hurt."""
    given = {"basis": "emergency", "reason": "announced for tonight", "accounts": (BOB,)}
    return Opening(**(given | fields))  # type: ignore[arg-type] - a test may give wrong ones


def preservation(**fields: object) -> Opening:
    """Keep what Bob sent."""
    return legal_request(basis="preservation", **fields)


def approval(who: str, asked: Grant | holds.Order) -> Approval:
    """``who`` signs."""
    return grants.approve(asked, who, KEYS[who])


def sealed(number: int, reporter: bytes = ALICE, time: int = NOW) -> SealedReport:
    """A report as the relay has it."""
    id_ = number.to_bytes(16, "big")
    tag = number.to_bytes(32, "big")
    return SealedReport(
        id=id_, reporter=reporter, time=time, tags=(tag,), sealed=b"sealed", number=number
    )
