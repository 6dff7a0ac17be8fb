"""The moderation drill: can labelled messages be read, and can a report of them be proven.

What may live here: asking ``louverd reveal`` with the operator's own powers, and counting, path by
path: ``scan``, ``user_report``, ``legal_request``, ``insider``. What may not: making or judging
reports (``reporting``, ``desk``), working a legal request (``court``), or deciding what is
readable; relay and vault decide.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from client import Message
from client.compare.court import APPROVERS, Answered
from client.compare.desk import Judged
from client.compare.lab import COMMAND_SECONDS, LabFailure, Relay, environment, section
from client.compare.load import Log
from client.compare.results import Access, Span
from client.compare.trace import Trace
from crypto_modes.reports import Item
from crypto_modes.verdicts import Finding

# What a list is given of a labelled message: its first words, as such lists have them.
PHRASE_WORDS, PHRASE_LIMIT = 12, 200
PROVEN = ("verified", "confirmed")
_BASIS = {
    "commitment": "Proven by the sender's commitment and the relay's stamp.",
    "record": "Confirmed by the relay's own record: whoever may write the database is believed.",
}
_LINE_LIMIT = 4 * 1024 * 1024


class Revealed(msgspec.Struct, frozen=True, kw_only=True):
    """What the drill reads of a line of ``louverd reveal``."""

    id: bytes = b""
    readable: bool = False
    text: str | None = None


@dataclass(frozen=True)
class Line:
    """A line and when it came, in milliseconds after the command started."""

    at_ms: float
    got: Revealed


def phrases(trace: Trace) -> list[str]:
    """What the operator's list knows: how each labelled message begins."""
    texts = (row.content.decode(errors="replace") for row in trace.rows if row.label)
    return sorted({" ".join(text.split()[:PHRASE_WORDS])[:PHRASE_LIMIT] for text in texts})


def thief(relay: Relay) -> Path:
    """The settings of somebody inside who has a copy of the databases and of nothing else: where
    the platform's key would be, he has one of his own making.
    """
    home = relay.home / "insider"
    home.mkdir(mode=0o700)
    for source in relay.data.glob("*.db"):
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as database,
            closing(sqlite3.connect(home / source.name)) as copy,
        ):
            database.backup(copy)
        (home / source.name).chmod(0o600)
    (home / "kek").touch(mode=0o600)
    (home / "kek").write_bytes(os.urandom((relay.data / "kek").stat().st_size))
    settings = home / "louver.toml"
    settings.write_text(section("", {"data": str(home)}) + section("log", {"level": "error"}))
    return settings


async def reveal(config: Path) -> tuple[list[Line], bytes]:
    """Run ``louverd reveal`` with these settings: parsed lines, and all of its output.

    Raises:
        LabFailure: the command failed.
    """
    begin = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server", "reveal", "--config", str(config)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
        limit=_LINE_LIMIT,
    )
    assert process.stdout is not None  # noqa: S101  pipes, as asked for above
    assert process.stderr is not None  # noqa: S101  a pipe, as asked for above
    complaints = asyncio.create_task(process.stderr.read())
    lines: list[Line] = []
    raw = bytearray()
    decoder = msgspec.json.Decoder(Revealed)
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            async for line in process.stdout:
                raw += line
                lines.append(Line((time.monotonic() - begin) * 1000, decoder.decode(line)))
            await process.wait()
    except TimeoutError:
        process.kill()
        raise LabFailure(f"louverd reveal took over {COMMAND_SECONDS:.0f} s") from None
    if process.returncode:
        raise LabFailure(f"louverd reveal failed: {(await complaints).decode(errors='replace')}")
    return lines, bytes(raw)


def insider(trace: Trace, logs: Sequence[Log], lines: Sequence[Line]) -> Access:
    """What somebody with the databases read without anybody's leave. ``lines`` is every stored
    message."""
    labelled = {
        sent.id: trace.rows[sent.row].content
        for log in logs
        for sent in log.sent
        if sent.id and sent.row >= 0 and trace.rows[sent.row].label
    }
    hits = [line for line in lines if line.got.readable and line.got.id in labelled]
    right = [line for line in hits if (line.got.text or "").encode() == labelled[line.got.id]]
    disclosed = sum(len((line.got.text or "").encode()) for line in lines if line.got.readable)
    needed = sum(map(len, labelled.values()))
    return Access(
        measured=True,
        labelled=len(labelled),
        readable=len(right) / len(labelled) if labelled else None,
        time_to_evidence_ms=_span(right),
        over_collection=round(disclosed / needed, 2) if right and needed else None,
        approvals=0,
        logged=0.0 if right else None,
        note="A copy of the databases and no key: no case, no approval, and no trace in any log.",
    )


def scan(messages: Sequence[Message], found: Sequence[Judged], labelled: int) -> Access:
    """What the operator's list found while messages passed, as it was reported and judged."""
    truth = {message.id: message for message in messages}
    hits = [pair for one in found for pair in one.pairs if pair[0].id in truth]
    right = [item for item, got in hits if got.content == truth[item.id].content]
    proven = [
        item for item, got in hits if got.state in PROVEN and _true(truth[item.id], item, got)
    ]
    disclosed = sum(len(got.content) for one in found for _, got in one.pairs)
    needed = sum(len(message.content) for message in messages)
    return Access(
        measured=True,
        labelled=labelled,
        readable=len({item.id for item in right}) / labelled if labelled else None,
        verifiable=len({item.id for item in proven}) / labelled if labelled else None,
        basis="record" if proven else "",
        over_collection=round(disclosed / needed, 2) if right and needed else None,
        labels=dict(_states(found)),
        approvals=0,
        note="The relay looks into each message before it seals it, where it can.",
    )


def legal_request(messages: Sequence[Message], got: Answered, labelled: int) -> Access:
    """What a court's order brought to light, and whether the log has it."""
    right = [each for each in messages if got.texts.get(each.id) == each.content]
    needed = sum(len(message.content) for message in messages)
    return Access(
        measured=True,
        labelled=labelled,
        readable=len(right) / labelled if labelled else None,
        time_to_evidence_ms=_spread([got.at_ms[each.id] for each in right]),
        over_collection=round(got.disclosed / needed, 2) if right and needed else None,
        approvals=len(APPROVERS),
        logged=got.logged / got.readings if got.readings else None,
        refused=got.refused,
        note="Named conversations, from the first labelled message to the last; two approvals.",
    )


def user_report(
    messages: Sequence[Message],
    genuine: Sequence[Judged],
    alone: Sequence[Judged],
    forged: Mapping[str, Sequence[Judged]],
    begun: float,
    labelled: int,
) -> Access:
    """What the team found of the reports of ``messages``: with the relay's answers, ``alone``
    without them, and of forged ones.

    Every forgery is untrue, so any that is not refused was accepted. ``begun`` is when reporting
    began, by ``time.monotonic()``; ``labelled`` how many messages there were to report.
    """
    truth = {message.id: message for message in messages}
    proven = [
        (one.at, item, finding)
        for one in genuine
        for item, finding in one.pairs
        if finding.state in PROVEN and _true(truth.get(item.id), item, finding)
    ]
    states = _states(genuine)
    disclosed = sum(len(finding.content) for _, _, finding in proven)
    needed = sum(len(m.content) for m in messages)
    basis: Literal["commitment", "record"] = "commitment" if states["verified"] else "record"
    return Access(
        measured=True,
        labelled=labelled,
        readable=len(proven) / labelled if labelled else None,
        verifiable=len(proven) / labelled if labelled else None,
        basis=basis,
        time_to_evidence_ms=_spread([(at - begun) * 1000 for at, _, _ in proven]),
        over_collection=round(disclosed / needed, 2) if proven and needed else None,
        forged_submitted=sum(map(len, forged.values())),
        forged_accepted=sum(
            finding.state != "refused"
            for some in forged.values()
            for one in some
            for finding in one.findings
        ),
        forged_by={what: len(some) for what, some in forged.items()},
        labels=dict(states),
        labels_alone=dict(_states(alone)),
        approvals=0,
        note=_BASIS[basis],
    )


def _true(message: Message | None, item: Item, finding: Finding) -> bool:
    """Whether the verdict is about the message that was received."""
    return message is not None and (
        (message.conversation, message.seq, message.sender, message.recipient, message.content)
        == (item.conversation, item.seq, item.sender, item.recipient, finding.content)
    )


def _states(judged: Sequence[Judged]) -> Counter[str]:
    return Counter(finding.state for one in judged for finding in one.findings)


def _span(lines: Sequence[Line]) -> Span | None:
    return _spread([line.at_ms for line in lines])


def _spread(times_ms: Sequence[float]) -> Span | None:
    if not times_ms:
        return None
    p50, p99 = np.percentile(times_ms, [50, 99])
    return Span(p50=round(float(p50), 1), p99=round(float(p99), 1))
