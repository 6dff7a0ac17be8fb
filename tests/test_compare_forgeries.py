"""Forged reports against the relay's own code: all are refused, and a gullible mode is caught.

Only the store is made up here; ``louverd reveal``'s judgement and the modes are the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from client import Message
from client.compare import campaign, drill, reporting
from client.compare.drill import Line, Revealed
from client.compare.results import Access
from crypto_modes import e2ee, franking, tls
from crypto_modes.contract import Evidence, Meta, ServerTools, Stored
from crypto_modes.e2ee import body
from crypto_modes.errors import ReportRefused
from server import reveal
from tests.mode_ends import ReadyKeys

FRANKING_KEY = b"s" * 32
TALK = b"c" * 16


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


class _BelievesAnyKey(e2ee.E2eeServer):
    """Checks all of a report but that its key opens the commitment."""

    def reveal(self, stored: Stored, evidence: Evidence) -> bytes:
        if evidence.reporter != stored.meta.recipient:
            return super().reveal(stored, evidence)
        return body.decode(evidence.message).content


class _BelievesOneKey(e2ee.E2eeServer):
    """Believes a report whose key is all zeros: one kind of forgery among very many."""

    def reveal(self, stored: Stored, evidence: Evidence) -> bytes:
        if evidence.key == bytes(32):
            return body.decode(evidence.message).content
        return super().reveal(stored, evidence)


def _message(seq: int, mode: str) -> Message:
    text = b"HARM-%04d" % seq
    padded = body.encode(body.Body("text", text, b"", seq, bytes(32), 0))
    recipient = b"b" * 16 if seq % 2 else b"a" * 16
    evidence = Evidence(reporter=recipient, message=padded, key=bytes([seq]) * 32)
    return Message(
        conversation=TALK,
        seq=seq,
        id=bytes([seq]) * 16,
        sender=b"a" * 16 if seq % 2 else b"b" * 16,
        device=b"x" * 16,
        recipient=recipient,
        kind="text",
        mode=mode,
        epoch=1,
        time=1,
        content=text,
        evidence=evidence if mode == "e2ee" else None,
    )


def _stored(message: Message) -> Stored:
    meta = Meta(
        *(message.conversation, message.seq, message.id, message.sender, message.device),
        *(message.recipient, "text", message.mode, 1, 1),
    )
    if (evidence := message.evidence) is None:
        return Stored(meta, message.content)
    committed = franking.commitment(evidence.key, meta.conversation, meta.id, evidence.message)
    stamp = franking.stamp(FRANKING_KEY, meta, committed)
    return Stored(meta, b"", commitment=committed, stamp=stamp)


async def _drilled(mode: str, server: Any) -> Access:
    """The drill on seven messages, judged by ``louverd reveal`` with this server's half."""
    messages = [_message(seq, mode) for seq in range(1, 8)]
    genuine = reporting.genuine(messages)
    forged = reporting.forgeries(genuine, drill.FORGERIES, 1)
    every = [*genuine, *(report for some in forged.values() for report in some)]
    shelf: Any = _Shelf([_stored(message) for message in messages])
    nothing: Any = None
    archive = reveal.Archive(shelf, {mode: server}, nothing, nothing)
    decoder = msgspec.json.Decoder(Revealed)
    told = [
        Line(1.0, decoder.decode(msgspec.json.encode(verdict)))
        async for verdict in archive.verdicts(map(msgspec.json.encode, every))
    ]
    assert len(told) == len(every)
    return drill.user_report(messages, forged, told, len(messages))


SERVERS: Mapping[str, Callable[[], Any]] = {
    "tls": lambda: tls.MODE.server(TOOLS),
    "e2ee": lambda: e2ee.MODE.server(TOOLS),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", SERVERS)
async def test_every_genuine_report_holds_and_every_forgery_is_refused(mode: str) -> None:
    got = await _drilled(mode, SERVERS[mode]())
    assert (got.verifiable, got.forged_submitted, got.forged_accepted) == (1.0, 300, 0)


@pytest.mark.asyncio
@pytest.mark.parametrize(("gullible", "at_least"), [(_BelievesAnyKey, 75), (_BelievesOneKey, 1)])
async def test_a_mode_that_accepts_a_forgery_is_caught(
    gullible: Callable[[ServerTools], Any], at_least: int
) -> None:
    got = await _drilled("e2ee", gullible(TOOLS))
    assert got.forged_accepted is not None
    assert got.forged_accepted >= at_least
    _assert_reported(got)


@pytest.mark.asyncio
@pytest.mark.parametrize("check", ["text", "reporter"])
async def test_a_relay_that_does_not_check_a_claim_is_caught(
    check: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def found(archive: Any, report: reveal.Report) -> Stored:
        near: list[Stored] = await archive._store.after(report.conversation, report.seq - 1, 1)
        for stored in near:
            if stored.meta.seq == report.seq:
                return stored
        raise ReportRefused("none")

    if check == "text":
        monkeypatch.setattr(reveal, "_check_claim", lambda *_: None)
    else:
        monkeypatch.setattr(reveal.Archive, "_find", found)
    got = await _drilled("tls", SERVERS["tls"]())
    assert got.forged_accepted is not None
    assert got.forged_accepted >= got.forged_by[check]
    _assert_reported(got)


def _assert_reported(got: Access) -> None:
    (problem,) = campaign.report_problems("x", got)
    assert problem == f"x: {got.forged_accepted} forged reports were accepted"
