"""Verifying: how a moderator opens a sealed report and learns what in it is proven.

What may live here: reading the files, asking the platform, putting verdicts into words. What may
not: the verdict itself (``crypto_modes.verdicts``). Needs no account and no chat: the team's secret
key opens the report, and the platform's franking keys or its internal listener tell true stamps.
Who has the franking keys can forge stamps, so a team that can ask the relay should not have them.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from client import wording
from client.keyfile import key_file
from client.trust import now_ms
from crypto_modes import franking, reports, verdicts
from crypto_modes.content import describe
from crypto_modes.errors import BadArgument, BadConfig, CannotOpen, ConnectionLost
from crypto_modes.keys import TeamKey
from crypto_modes.reports import Item, Report
from crypto_modes.verdicts import UNKNOWN, Answer, Finding, Note

FILE_LIMIT = 128 * 1024
TIMEOUT = 10.0

_STATES = {
    "verified": "the relay stamped this message, and this is what its sender committed to",
    "confirmed": "the relay keeps exactly this message; nobody outside the relay can check that",
    "claim": "nothing but the reporter's word supports this",
    "refused": "not what it says to be; its text is not shown",
}
_NOTES = {
    "omitted": "{n} message(s) of the same device before number {at} were left out",
    "earlier": "{n} message(s) of the same device came before number {at}, the first one shown",
    "between": "{n} message(s) of either user lie before number {at}",
    "reordered": "number {at} was written later than one that the relay numbered after it",
    "fork": "number {at} contradicts another message of the same device: one conversation has"
    " two histories",
}


class Verified(msgspec.Struct, frozen=True):
    """An opened report with a finding for each of its messages, and notes on their order."""

    sealed: reports.Sealed
    report: Report
    findings: list[Finding]
    notes: list[Note]

    @property
    def proven(self) -> bool:
        """Whether every message is."""
        return all(each.state in ("verified", "confirmed") for each in self.findings)


class Platform:
    """Who can tell true stamps: a directory of franking keys, or a relay's internal listener.

    With neither nothing is asked, and everything stays a claim.
    """

    def __init__(
        self, franking_keys: Path | None = None, confirm: str = "", token: Path | None = None
    ) -> None:
        self._keys = franking_keys
        self._confirm = confirm
        self._token = token

    def answers(self, report: Report) -> list[Answer]:
        """What the platform says of each message.

        Raises ``ConnectionLost`` where no relay answers, ``BadConfig`` for unusable keys.
        """
        if self._confirm:
            return _ask(self._confirm, _token(self._token), report)
        return [self._answer(item) for item in report.items]

    def _answer(self, item: Item) -> Answer:
        if self._keys is None:
            return UNKNOWN
        if not verdicts.franked(item):
            return Answer("unknown", "only the relay's own records could confirm it")
        month = franking.month_of(item.time)
        if now_ms() >= franking.end_of_window(month):
            return Answer("no", f"reports on messages of {month} have expired")
        file = self._keys / f"{month:06}.key"
        if not file.exists():
            return Answer("unknown", f"the franking key of {month} is not among those given")
        return verdicts.answer(key_file(file, make=False), verdicts.question(item))


def verify(file: Path, team: Path, platform: Platform) -> Verified:
    """Open a sealed report and judge it.

    Raises ``CannotOpen`` where it was sealed to another team or was altered, ``ReportRefused``
    where it is malformed, ``BadConfig`` where a file cannot be read.
    """
    try:
        with file.open("rb") as opened:
            raw = opened.read(FILE_LIMIT)
    except OSError as error:
        raise BadConfig(f"cannot read {file}: {error.strerror}") from None
    sealed = reports.Sealed.from_json(raw)
    try:
        report = sealed.open(TeamKey(key_file(team, make=False)))
    except CannotOpen:
        raise CannotOpen(
            f"{file} does not open: it was sealed to another key, handed in by another account, or"
            " altered"
        ) from None
    findings = verdicts.judge(report, platform.answers(report))
    return Verified(sealed, report, findings, verdicts.notes(findings))


def _ask(url: str, token: str, report: Report) -> list[Answer]:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise BadArgument("--confirm takes the address of the internal listener: http://HOST:PORT")
    body = msgspec.json.encode({"questions": [verdicts.question(each) for each in report.items]})
    there = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=TIMEOUT)
    try:
        headers = {"Authorization": f"Bearer {token}"}
        there.request("POST", "/admin/v1/confirm", body, headers)
        answer = there.getresponse()
        read = answer.read(FILE_LIMIT)
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionLost(f"no relay answers at {url}: {error}") from None
    finally:
        there.close()
    if answer.status != http.HTTPStatus.OK:
        raise ConnectionLost(f"the relay at {url} did not answer the question: {answer.status}")
    try:
        answers = msgspec.json.decode(read, type=list[Answer])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConnectionLost(f"what answers at {url} is no relay: {error}") from None
    if len(answers) != len(report.items):
        raise ConnectionLost(f"the relay at {url} answered another question")
    return answers


def _token(file: Path | None) -> str:
    if file is None:
        raise BadArgument("--confirm needs the relay's token: --token FILE")
    try:
        return file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"cannot read the token in {file}: {error}") from None


# --- in words ---


def lines(found: Verified) -> Iterator[str]:
    """A verified report for people."""
    report = found.report
    yield f"Report {found.sealed.id.hex()}, handed in {clock(found.sealed.time)}"
    yield f"  by account   {report.reporter.hex()}"
    yield f"  about        {report.reported.hex()}, for {report.category}"
    if report.words:
        yield f"  in the reporter's words: {wording.plain(report.words)}"
    for at, (item, finding) in enumerate(zip(report.items, found.findings, strict=True), 1):
        yield f"{at}. {finding.state.upper()}: {finding.reason or _STATES[finding.state]}"
        yield f"   message {item.id.hex()}, number {item.seq}, {clock(item.time)}, mode {item.mode}"
        if finding.state != "refused":
            yield f"   {_shown(item, finding)}"
    if found.notes:
        yield "Order and omissions, as the proven messages tell:"
    seqs = {finding.id: finding.seq for finding in found.findings}
    for note in found.notes:
        yield f"  {_NOTES[note.kind].format(n=note.count, at=seqs[note.id])}"


def objects(found: Verified) -> Iterator[str]:
    """The same for programs: one JSON object for the report, then one for each message."""
    report = found.report
    yield wording.as_json(
        {
            "report": found.sealed.id,
            "time": found.sealed.time,
            "relay": report.relay,
            "reporter": report.reporter,
            "reported": report.reported,
            "category": report.category,
            "words": report.words,
            "proven": found.proven,
            "notes": [[note.kind, note.id.hex(), note.count] for note in found.notes],
        }
    )
    for item, finding in zip(report.items, found.findings, strict=True):
        told = {"message": item.id, "seq": item.seq, "time": item.time, "mode": item.mode}
        verdict = {"verdict": finding.state, "reason": finding.reason, "kind": item.kind}
        text = "" if finding.state == "refused" else _text(finding.content)
        yield wording.as_json({**told, **verdict, "text": text})


def preview(report: Report) -> Iterator[str]:
    """What a report reveals, for its reporter to read before it is sent: read from the report
    itself, as the team will.
    """
    yield f"This report is about {len(report.items)} message(s), for {report.category}:"
    for item, finding in zip(
        report.items, verdicts.judge(report, [UNKNOWN] * len(report.items)), strict=True
    ):
        yield f"  {clock(item.time)}  {_shown(item, finding)}"
    if report.words:
        yield f"  your words: {wording.plain(report.words)}"
    proofs = sum(map(verdicts.franked, report.items))
    if proofs:
        yield "It contains the proof that these texts were sent to you by this user."
    yield "The moderation team reads all of that and who you are. The operator sees that you report"
    yield "something, not what or whom. The reported user is not told."


def clock(moment: int) -> str:
    """A time in UTC, for people in several places."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(moment / 1000))


def _text(content: bytes) -> str:
    words = describe(content)
    return content.decode("utf-8", "replace") if words is None else words


def _shown(item: Item, finding: Finding) -> str:
    if item.kind == "text" or describe(finding.content) is not None:
        return json.dumps(wording.plain(_text(finding.content)), ensure_ascii=False)
    return f"[{item.kind}, {len(finding.content)} bytes]"
