"""A legal request in the drill: named conversations, two approvals, the vault, the log.

What may live here: the steps of this path and what they gave. What may not: who works in the
office (``office``), and the other paths (``drill``).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from client import Message
from client.compare.lab import LabFailure
from client.compare.office import Desk, Staff
from client.moderation.asking import part
from crypto_modes import disclosure, grants
from crypto_modes.disclosure import Disclosure, OpenCall
from crypto_modes.errors import GrantRefused
from crypto_modes.grants import RECORDS_LIMIT, Approval, Grant

# As the moderation API takes them.
CONVERSATIONS_OF_A_CASE = 20
APPROVERS = ("luis", "sven")
_HOUR = 3_600_000


@dataclass
class Answered:
    """What came of it: the vault's answers as they came, texts by message id and when each was
    there (milliseconds after its grant was asked for), bytes of text disclosed, readings, and of
    those how many are in the log."""

    answers: list[bytes] = field(default_factory=list)
    texts: dict[bytes, bytes] = field(default_factory=dict)
    at_ms: dict[bytes, float] = field(default_factory=dict)
    disclosed: int = 0
    readings: int = 0
    logged: int = 0
    refused: int = 0


def answer(staff: Staff, labelled: Sequence[Message]) -> Answered:
    """Everything a court could ask about ``labelled``: each conversation from its first to its
    last labelled message. Raises ``LabFailure`` where the vault opens what was not approved, or
    refuses without an entry.
    """
    scopes = _scopes(labelled)
    found, granted = Answered(), set[bytes]()
    lena = staff.desks["lena"]
    for conversations in _parts(sorted(scopes), CONVERSATIONS_OF_A_CASE):
        case = _case(lena, conversations)
        for conversation in conversations:
            for first, last in _spans(*scopes[conversation]):
                begun = time.monotonic()
                asked = _ask(lena, case, conversation, first, last)
                _try_without(staff, asked, found)
                grant = _approved(staff, asked)
                found.answers.append(lena.vault.ask(disclosure.OPEN, grant))
                opened = disclosure.decode(found.answers[-1], Disclosure)
                _take(opened, (time.monotonic() - begun) * 1000, found)
                granted.add(grant.grant.id)
    log = staff.log()
    found.logged = len({each.grant for each in log if each.kind == "read"} & granted)
    refused = sum(each.kind == "refused" and each.grant != b"" for each in log)
    if refused < found.refused:
        raise LabFailure(f"the vault refused {found.refused} calls, and its log has {refused}")
    return found


def _scopes(labelled: Sequence[Message]) -> dict[bytes, tuple[int, int]]:
    """The first and the last place in each conversation."""
    scopes: dict[bytes, tuple[int, int]] = {}
    for message in labelled:
        first, last = scopes.get(message.conversation, (message.seq, message.seq))
        scopes[message.conversation] = min(first, message.seq), max(last, message.seq)
    return scopes


def _spans(first: int, last: int) -> Iterator[tuple[int, int]]:
    for start in range(first, last + 1, RECORDS_LIMIT):
        yield start, min(last, start + RECORDS_LIMIT - 1)


def _parts(all_of_them: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(all_of_them), size):
        yield all_of_them[start : start + size]


def _case(lena: Desk, conversations: Sequence[bytes]) -> str:
    now = time.time_ns() // 1_000_000
    body = {
        "basis": "legal_request",
        "reason": "an order of the drill",
        "authority": "Court of the drill",
        "reference": "1 D 1/26",
        "country": "DE",
        "served": now,
        "due": now + _HOUR,
        "conversations": [each.hex() for each in conversations],
    }
    case: str = lena.office.post("/cases", body).json["id"]
    lena.office.step(f"/cases/{part(case)}", "assign", {"to": lena.name})
    return case


def _ask(lena: Desk, case: str, conversation: bytes, first: int, last: int) -> Mapping[str, Any]:
    body = {
        "case": case,
        "basis": "legal_request",
        "conversation": conversation.hex(),
        "first": first,
        "last": last,
        "expires": time.time_ns() // 1_000_000 + _HOUR - 60_000,
        "reason": "what the order names",
    }
    asked: Mapping[str, Any] = lena.office.post("/grants", body).json
    return asked


def _try_without(staff: Staff, asked: Mapping[str, Any], found: Answered) -> None:
    """Once: what somebody inside gets of the vault with nobody's approval, with his own, and with
    one other person's, alone or twice."""
    if found.refused:
        return
    grant, lena, luis = _grant(asked), staff.desks["lena"], staff.desks["luis"]
    own, other = (grants.approve(grant, each.name, each.post.key()) for each in (lena, luis))
    for approvals in ((), (own,), (own, other), (other,), (other, other)):
        try:
            lena.vault.call(disclosure.OPEN, OpenCall(grant, approvals), Disclosure)
        except GrantRefused:
            found.refused += 1
        else:
            raise LabFailure("the vault opened messages that two others had not approved")


def _approved(staff: Staff, asked: Mapping[str, Any]) -> OpenCall:
    grant, path = _grant(asked), f"/grants/{part(asked['id'])}"
    approvals: list[Approval] = []
    for name in APPROVERS:
        desk = staff.desks[name]
        approval = grants.approve(grant, name, desk.post.key())
        desk.office.step(path, "approve", {"signature": approval.signature.hex()})
        approvals.append(approval)
    return OpenCall(grant, tuple(approvals))


def _grant(asked: Mapping[str, Any]) -> Grant:
    told = asked["grant"]
    return Grant(
        case=bytes.fromhex(told["case"]),
        basis=told["basis"],
        conversation=bytes.fromhex(told["conversation"]),
        first=told["first"],
        last=told["last"],
        expires=told["expires"],
        requester=told["requester"],
        reason=told["reason"],
    )


def _take(opened: Disclosure, at_ms: float, found: Answered) -> None:
    found.readings += 1
    for record in opened.records:
        if record.readable:
            text = record.content if record.text is None else record.text.encode()
            found.texts[record.id] = text or b""
            found.at_ms[record.id] = at_ms
            found.disclosed += len(text or b"")
