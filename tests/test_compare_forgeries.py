"""Forged reports against the code that judges them: all are refused, and a gullible one is caught.

Only the store is made up here; sealing, the relay's answers and the verdicts are the real ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from client import Message
from client.compare import campaign, desk, drill, plan, reporting
from client.compare.lab import Team
from client.compare.results import Access
from crypto_modes import e2ee, franking, policy, reports, tls, verdicts
from crypto_modes.contract import Evidence, Meta, ServerTools, Stored
from crypto_modes.e2ee import body
from crypto_modes.keys import TeamKey
from crypto_modes.reports import Item, Report
from crypto_modes.verdicts import Answer
from server import confirming
from tests.mode_ends import ReadyKeys

FRANKING_KEY = b"s" * 32
A, B = b"a" * 16, b"b" * 16
TALK = policy.conversation_id(A, B)
SECRET = b"the secret key of the team, 32 B"
EACH = {"tls": 60, "e2ee": 50}


class _Shelf:
    """What the relay's store would give."""

    def __init__(self, stored: list[Stored]) -> None:
        self.stored = stored

    async def after(self, conversation: bytes, seq: int, limit: int) -> list[Stored]:
        found = [s for s in self.stored if s.meta.conversation == conversation]
        return [s for s in found if s.meta.seq > seq][:limit]


class _FrankingKeys:
    def find(self, month: int) -> bytes:
        return FRANKING_KEY


TOOLS = ServerTools(
    deployment=b"d" * 32, random=bytes, data_keys=ReadyKeys(), franking_keys=_FrankingKeys()
)


class _Asking:
    """The relay's internal listener without its socket."""

    def __init__(self, stored: list[Stored]) -> None:
        shelf: Any = _Shelf(stored)
        keys: Any = _FrankingKeys()
        nothing: Any = None
        modes = {"tls": tls.MODE.server(TOOLS), "e2ee": e2ee.MODE.server(TOOLS)}
        self._confirming = confirming.Confirming(shelf, modes, nothing, keys)

    def answers(self, report: Report) -> list[Answer]:
        asked = {"questions": [verdicts.question(item) for item in report.items]}
        told = asyncio.run(self._confirming.answers_to(msgspec.json.encode(asked)))
        return msgspec.json.decode(told, type=list[Answer])


def _message(seq: int, mode: str) -> Message:
    text = b"HARM-%04d" % seq
    padded = body.encode(body.Body("text", text, b"", seq, bytes(32), 0))
    sender, recipient = (A, B) if seq % 2 else (B, A)
    evidence = Evidence(reporter=recipient, message=padded, key=bytes([seq]) * 32)
    return Message(
        conversation=TALK,
        seq=seq,
        id=bytes([seq]) * 16,
        sender=sender,
        device=b"x" * 16,
        recipient=recipient,
        kind="text",
        mode=mode,
        epoch=1,
        time=1_790_000_000_000,
        content=text,
        evidence=evidence if mode == "e2ee" else None,
    )


def _stored(message: Message) -> Stored:
    names = Meta.__struct_fields__
    meta = Meta(**{name: getattr(message, name) for name in names})
    if (evidence := message.evidence) is None:
        return Stored(meta, message.content)
    committed = franking.commitment(evidence.key, meta.conversation, meta.id, evidence.message)
    stamp = franking.stamp(FRANKING_KEY, meta, committed)
    return Stored(meta, b"", commitment=committed, stamp=stamp)


def _report(message: Message, stored: Stored) -> Report:
    evidence = message.evidence or Evidence(message=message.content)
    place = {name: getattr(message, name) for name in reports.Context.__struct_fields__}
    proof = {"commitment": stored.commitment, "stamp": stored.stamp}
    return Report(
        relay=b"r" * 16,
        reporter=message.recipient,
        reported=message.sender,
        category="spam",
        words="",
        created=message.time,
        items=(Item(**place, message=evidence.message, key=evidence.key, **proof),),
    )


def _drilled(mode: str, home: Path) -> Access:
    """The drill on seven messages, as the moderation team would judge them."""
    team = Team(home)
    (home / "team.key").write_bytes(SECRET)
    (home / "team.key").chmod(0o600)
    (home / "team.pub").write_bytes(TeamKey(SECRET).public)
    messages = [_message(seq, mode) for seq in range(1, 8)]
    stored = [_stored(message) for message in messages]
    honest = [_report(m, s) for m, s in zip(messages, stored, strict=True)]
    relay: Any = _Asking(stored)

    def judged(name: str, some: list[Report], platform: Any) -> list[desk.Judged]:
        return desk.judge(desk.lay(home / name, some, team), team.secret, platform)

    made = reporting.forgeries(honest, plan.QUICK.forgeries, 1)
    forged = {what: judged(what, some, relay) for what, some in made.items()}
    alone = judged("alone", honest, desk.Platform())
    genuine = judged("genuine", honest, relay)
    return drill.user_report(messages, genuine, alone, forged, 0.0, len(messages))


@pytest.mark.parametrize(("mode", "label"), [("tls", "confirmed"), ("e2ee", "verified")])
def test_every_genuine_report_holds_and_every_forgery_is_refused(
    mode: str, label: str, tmp_path: Path
) -> None:
    got = _drilled(mode, tmp_path)
    assert (got.verifiable, got.forged_submitted, got.forged_accepted) == (1.0, 300, 0)
    assert got.labels == {label: 7}
    assert got.labels_alone == {"claim": 7}
    assert set(got.forged_by.values()) == {EACH[mode]}
    assert campaign.report_problems("x", got) == []


def _open_anything(item: Item) -> Mapping[str, Any]:
    """As ``verdicts._open``, without the comparison with the commitment."""
    return {"content": body.decode(item.message).content}


async def _any_stamp(keys: Any, question: Any) -> Answer:
    return Answer("yes")


def _yes(*_: Any) -> bool:
    return True


# The mode, where the fault is, the faulty part, and how many forgeries are then believed at least.
FAULTS: Mapping[str, tuple[str, Any, str, Callable[..., Any], int]] = {
    "any commitment": ("e2ee", verdicts, "_open", _open_anything, 25),
    "any stamp": ("e2ee", confirming, "stamped", _any_stamp, 10),
    "any reporter": ("e2ee", verdicts, "_check_place", _yes, 10),
    "any reporter of a record": ("tls", verdicts, "_check_place", _yes, 10),
    "any text": ("tls", confirming, "equal", _yes, 60),
    "any place": ("tls", verdicts, "asks_about", _yes, 10),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_judge_who_accepts_a_forgery_is_caught(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mode, where, name, faulty, at_least = FAULTS[fault]
    monkeypatch.setattr(where, name, faulty)
    got = _drilled(mode, tmp_path)
    assert got.forged_accepted is not None
    assert got.forged_accepted >= at_least
    (problem,) = campaign.report_problems("x", got)
    assert problem == f"x: {got.forged_accepted} forged reports were not refused"
