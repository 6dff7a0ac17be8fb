"""Grants: leave to read some messages of one conversation, and who may ask for it and give it.

What may live here: the grant to the byte, its rules as a table, the approvals under it, and the
requests that staff sign with their own keys. Pure functions only, so that the relay, the vault
and an auditor judge alike. What may not: cases and their states, storage, the log. From
moderation.md. ::

    grant    = enc("louver/v1/grant", case, basis, conversation, seq_lo, seq_hi, expires,
                   requester, reason)
    approval = Ed25519(an approver's key, grant)
    id       = H(enc("louver/v1/grant/id", grant))[0:16]
    request  = Ed25519(a person's key, enc("louver/v1/staff/request", place, name, time, nonce,
                                           H(body)))

An approver signs the whole grant, so that nobody can stretch it afterwards. Two accounts of one
human count once: people are told apart by the ``subject`` that the identity provider gives them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NamedTuple, Protocol, get_args

import msgspec

from crypto_modes import wire
from crypto_modes.encoding import enc
from crypto_modes.errors import GrantRefused, KeyRefused
from crypto_modes.keys import SigningKey
from crypto_modes.primitives import H, ed25519_verify

Role = Literal["moderator", "senior", "legal", "auditor", "operator", "admin"]
Basis = Literal["user_report", "legal_request", "emergency", "preservation"]
ROLES: tuple[Role, ...] = get_args(Role)
BASES: tuple[Basis, ...] = get_args(Basis)

RECORDS_LIMIT = 500
APPROVALS_LIMIT = 8
REASON_LIMIT = 500  # characters
# How far the clocks of a person's machine and of the vault may differ.
REQUEST_SECONDS = 60

_MINUTE = 60_000
_DAY = 24 * 60 * _MINUTE


class Rule(NamedTuple):
    """``requesters`` may ask; ``approvals`` by other people are needed; ``life`` in milliseconds
    is the longest from the first approval's day to ``expires``; ``reads`` whether text is shown.
    """

    requesters: tuple[Role, ...]
    approvals: int
    life: int
    reads: bool


# What a reporter revealed needs no grant; what lies around it does, with the basis `user_report`.
# An emergency opens on one approval; the second is asked for afterwards (`review`).
RULES: dict[Basis, Rule] = {
    "user_report": Rule(("moderator", "senior"), 1, 30 * _DAY, reads=True),
    "legal_request": Rule(("legal",), 2, 60 * _MINUTE, reads=True),
    "emergency": Rule(("senior",), 1, 60 * _MINUTE, reads=True),
    "preservation": Rule(("legal",), 2, 30 * _DAY, reads=False),
}
APPROVERS: tuple[Role, ...] = ("senior", "legal")
REVIEW_MILLISECONDS = _DAY  # in which an emergency needs its second approval, or an alert goes out


class Person(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One account of the staff. ``subject`` is the human behind it, ``key`` Ed25519, 32 bytes."""

    name: wire.Name
    subject: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    role: Role
    key: wire.Key


class Grant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Leave to read the messages ``first`` to ``last`` of one conversation under one case.

    Ids are 16 bytes, ``expires`` is milliseconds since 1970.
    """

    case: wire.Id
    basis: Basis
    conversation: wire.Id
    first: Annotated[int, msgspec.Meta(ge=1, lt=1 << 53)]
    last: Annotated[int, msgspec.Meta(ge=1, lt=1 << 53)]
    expires: wire.Count
    requester: wire.Name
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=REASON_LIMIT)]

    def encode(self) -> bytes:
        """What approvers sign."""
        return enc(
            "louver/v1/grant",
            self.case,
            self.basis,
            self.conversation,
            self.first,
            self.last,
            self.expires,
            self.requester,
            self.reason,
        )

    @property
    def id(self) -> bytes:
        """16 bytes by which the log names it."""
        return H(enc("louver/v1/grant/id", self.encode()))[:16]


class Asked(Protocol):
    """What approvals are given to: a ``Grant``, or an ``Order`` of ``holds``."""

    @property
    def requester(self) -> str: ...
    def encode(self) -> bytes: ...


class Approval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The name of who approves and the signature, 64 bytes."""

    approver: wire.Name
    signature: wire.Signature


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who asks, when (milliseconds), and with which 16 random bytes, so that it works once."""

    name: wire.Name
    time: wire.Count
    nonce: wire.Id
    signature: wire.Signature


def approve(grant: Asked, approver: str, key: SigningKey) -> Approval:
    """Sign what was asked for; whether it may be is ``check``'s to say."""
    return Approval(approver, key.sign(grant.encode()))


def check_request(grant: Grant, staff: Mapping[str, Person], now: int) -> Person:
    """The person who may ask for this grant at ``now``, milliseconds. Raises ``GrantRefused``."""
    rule = RULES[grant.basis]
    person = staff.get(grant.requester)
    if person is None:
        raise GrantRefused(f"{grant.requester} is not of the staff")
    if person.role not in rule.requesters:
        raise GrantRefused(
            f"a {person.role} may not ask for a grant on the basis {grant.basis}; this is for"
            f" {' or '.join(rule.requesters)}"
        )
    if not grant.first <= grant.last < grant.first + RECORDS_LIMIT:
        raise GrantRefused(f"a grant is for 1 to {RECORDS_LIMIT} messages; ask for several grants")
    if grant.expires <= now:
        raise GrantRefused("this grant has expired; ask for another")
    if grant.expires > now + rule.life:
        raise GrantRefused(
            f"a grant on the basis {grant.basis} ends after {rule.life // _MINUTE} minutes at most"
        )
    return person


def check_approval(grant: Asked, approval: Approval, staff: Mapping[str, Person]) -> Person:
    """The person who gave this approval, and could. Raises ``GrantRefused``."""
    person, requester = staff.get(approval.approver), staff.get(grant.requester)
    if person is None or requester is None:
        raise GrantRefused(f"{approval.approver} is not of the staff")
    if person.role not in APPROVERS:
        raise GrantRefused(f"{person.name} is {person.role}, who approves nothing")
    if person.subject == requester.subject:
        raise GrantRefused(f"{person.name} is the person who asked; somebody else must approve")
    try:
        ed25519_verify(person.key, approval.signature, grant.encode())
    except KeyRefused:
        raise GrantRefused(f"the approval of {person.name} is not for this grant") from None
    return person


def check(
    grant: Grant, approvals: Sequence[Approval], staff: Mapping[str, Person], now: int
) -> tuple[Person, ...]:
    """Whether ``grant`` is in force at ``now``, in milliseconds: the people who approved it.

    Every approval must hold, also one more than is needed. Raises ``GrantRefused``.
    """
    check_request(grant, staff, now)
    if len(approvals) > APPROVALS_LIMIT:
        raise GrantRefused(f"a grant has at most {APPROVALS_LIMIT} approvals")
    people = tuple(check_approval(grant, each, staff) for each in approvals)
    needed = RULES[grant.basis].approvals
    if len({person.subject for person in people}) < needed:
        raise GrantRefused(
            f"the basis {grant.basis} needs the approval of {needed} different people beside the"
            f" requester, and this grant has {len({person.subject for person in people})}"
        )
    return people


def sign_request(
    key: SigningKey, place: str, body: bytes, name: str, time: int, nonce: bytes
) -> Request:
    """What a person sends beside ``body`` to ``place``, a path such as ``/vault/v1/open``."""
    signed = _request(place, body, name, time, nonce)
    return Request(name=name, time=time, nonce=nonce, signature=key.sign(signed))


def check_signed(
    request: Request, place: str, body: bytes, staff: Mapping[str, Person], now: int
) -> Person:
    """The person who sent ``body`` to ``place`` just now. Raises ``GrantRefused``.

    Whether the nonce was used before is the caller's to know, for ``2 * REQUEST_SECONDS``.
    """
    person = staff.get(request.name)
    if person is None:
        raise GrantRefused(f"{request.name} is not of the staff")
    try:
        ed25519_verify(
            person.key,
            request.signature,
            _request(place, body, request.name, request.time, request.nonce),
        )
    except KeyRefused:
        raise GrantRefused("this request is not signed by who it names") from None
    if abs(request.time - now) > REQUEST_SECONDS * 1000:
        raise GrantRefused("this request is too old, or the two clocks differ; set them right")
    return person


def _request(place: str, body: bytes, name: str, time: int, nonce: bytes) -> bytes:
    return enc("louver/v1/staff/request", place, name, time, nonce, H(body))
