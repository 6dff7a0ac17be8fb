"""What moderation keeps: one struct for each noun, and the refusals that concern them all.

Only structs and exceptions live here. ``number`` is given by the store, rising, for paging; ids are
16 bytes; times are milliseconds; names are those of staff accounts, ``subject`` is the human behind
one. Nothing is ever deleted.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from crypto_modes.errors import Forbidden
from crypto_modes.grants import Approval, Basis, Grant
from crypto_modes.holds import Order, Target
from crypto_modes.reports import Category

CaseState = Literal["open", "assigned", "closed"]
GrantState = Literal[
    "pending", "granted", "unreviewed", "overdue", "declined", "disputed", "withdrawn"
]
ReportState = Literal[
    "open", "in_review", "actioned", "dismissed", "appealed", "upheld", "reversed"
]
ActionKind = Literal["warn", "mute", "suspend", "remove", "none"]
ActionState = Literal["in_force", "appealed", "upheld", "reversed"]
AppealState = Literal["open", "upheld", "reversed"]
HoldState = Literal["asked", "in_force", "lifting", "lifted", "declined"]
# What a report's message was found to be; moderation.md, Reports.
Evidence = Literal["verified", "confirmed", "claim"]
# Why a user is told: an action, a decision about an appeal, a read, what became of his report, and
# that a message of his which a list held may go.
Topic = Literal["action", "decision", "opened", "released", "report"]


class Unknown(Forbidden):
    """There is no such case, report, grant, action, appeal, hold or notice (404)."""


class Stale(Forbidden):
    """It was changed since it was looked at (412); look again, and decide again."""


class WrongState(Forbidden):
    """It is in a state in which this cannot be done (409)."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all. ``version`` is 1 for a new one and one more with each change."""

    KEY: ClassVar[str] = "id"

    version: int = 1
    number: int = 0


class Case(Record, frozen=True, kw_only=True):
    """The only door to what users wrote. Which fields a basis needs is in ``cases``.

    ``since`` to ``until`` is the time range that a request names (0: none); until ``gag`` the users
    concerned are not told.
    """

    id: bytes
    state: CaseState = "open"
    basis: Basis
    opened: int
    opener: str
    subject: str
    reason: str
    assignee: str = ""
    report: int = 0
    authority: str = ""
    reference: str = ""
    country: str = ""
    served: int = 0
    due: int = 0
    gag: int = 0
    since: int = 0
    until: int = 0
    accounts: tuple[bytes, ...] = ()
    conversations: tuple[bytes, ...] = ()
    closed: int = 0
    outcome: str = ""


class Asked(Record, frozen=True, kw_only=True):
    """A grant that was asked for. ``id`` is the grant's; ``approvers`` are the humans who approved.

    ``begun`` is when it came into force, 0 before.
    """

    id: bytes
    state: GrantState = "pending"
    case: bytes
    asked: int
    subject: str
    grant: Grant
    approvals: tuple[Approval, ...] = ()
    approvers: tuple[str, ...] = ()
    begun: int = 0


class Audit(Record, frozen=True, kw_only=True):
    """An auditor has looked at a case, and what was found."""

    id: bytes
    case: bytes
    time: int
    auditor: str
    subject: str
    note: str


class Report(Record, frozen=True, kw_only=True):
    """A sealed report as work. Its ``number`` is the relay's. What it says is known to the vault
    alone; ``account``, ``category`` and ``evidence`` are what the reviewer has noted of it.

    ``reporter`` is never shown to users.
    """

    KEY: ClassVar[str] = "number"

    state: ReportState = "open"
    id: bytes
    reporter: bytes
    time: int
    messages: int
    assignee: str = ""
    case: bytes = b""
    account: bytes = b""
    category: Category | Literal[""] = ""
    evidence: Evidence | Literal[""] = ""
    settled: int = 0


class Statement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The reasons of an action: what happened, which rule that breaks, whether a machine decided,
    and what the user can do against it."""

    facts: str
    rule: str
    automated: bool = False
    redress: str = ""


class Action(Record, frozen=True, kw_only=True):
    """What was done about ``account``. ``until`` ends a mute; ``conversation`` and ``seqs`` are the
    messages that were removed. ``felt`` says whether the relay has made it so: ``owed`` until then.

    For ``none`` the account is the reporter, whose report led to nothing.
    """

    id: bytes
    state: ActionState = "in_force"
    kind: ActionKind
    felt: Literal["owed", "done"] = "owed"
    time: int
    account: bytes
    case: bytes = b""
    report: int = 0
    actor: str
    subject: str
    until: int = 0
    conversation: bytes = b""
    seqs: tuple[int, ...] = ()
    statement: Statement


class Appeal(Record, frozen=True, kw_only=True):
    """What a user says against an action, once for each. ``id`` is the action's."""

    id: bytes
    state: AppealState = "open"
    account: bytes
    time: int
    words: str
    decided: int = 0
    decider: str = ""
    reason: str = ""


class Hold(Record, frozen=True, kw_only=True):
    """A preservation. ``order`` is what the approvals sign; ``lift`` the order that ends it."""

    id: bytes
    state: HoldState = "asked"
    case: bytes
    target: Target
    place: bytes
    time: int
    subject: str
    order: Order
    approvals: tuple[Approval, ...] = ()
    approvers: tuple[str, ...] = ()
    lift: Order | None = None
    lifter: str = ""
    lifts: tuple[Approval, ...] = ()
    lifters: tuple[str, ...] = ()


class Notice(Record, frozen=True, kw_only=True):
    """What a user is told, from ``due`` on. ``told`` is when a device of his first got it, ``read``
    when he said so."""

    id: bytes
    account: bytes
    time: int
    due: int
    topic: Topic
    action: bytes = b""
    kind: ActionKind | Literal[""] = ""
    outcome: str = ""
    basis: str = ""
    conversation: bytes = b""
    until: int = 0
    count: int = 0
    statement: Statement | None = None
    told: int = 0
    read: int = 0


class Flood(msgspec.Struct, frozen=True, kw_only=True):
    """Many reports of one reporter within one hour (``hour`` in hours since 1970)."""

    reporter: bytes
    hour: int
    count: int


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """Unsettled reports in one state with one assignee: how many, and when the oldest came in.

    ``gone``: the assignee is not of the staff any more, so that nobody looks at them.
    """

    state: ReportState
    assignee: str
    count: int
    oldest: int
    gone: bool = False


class Pressed(msgspec.Struct, frozen=True, kw_only=True):
    """An account with unsettled reports about it, as far as reviewers have noted, by how many
    different people, and when the oldest came in."""

    account: bytes
    reports: int
    reporters: int
    oldest: int


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How often an account was reported, by how many different people, and in which states."""

    reports: int
    reporters: int
    states: dict[str, int]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that other programs may want to hear of, such as a webhook."""

    name: str
    time: int
    id: bytes = b""
    case: bytes = b""
    detail: dict[str, str] = {}
