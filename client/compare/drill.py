"""The moderation drill: can labelled messages be read, and can a report of them be proven.

What may live here: asking ``louverd reveal`` with the operator's own powers, making reports from
what recipients hold, forging them, and counting. What may not: deciding what is readable; the
relay's own code decides.

Measured paths are ``insider`` and ``user_report``. ``scan`` and ``legal_request`` belong to the
moderation vault, which this version does not have: not measured, never a number.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from client import Message
from client.compare.lab import COMMAND_SECONDS, LabFailure, Relay, environment
from client.compare.load import Log
from client.compare.results import Access, Span
from client.compare.trace import Trace
from client.compare.traffic import seeded

FORGERIES = 300
LATER = Access(measured=False, note="Belongs to the moderation vault, not part of this version.")
_LINE_LIMIT = 4 * 1024 * 1024


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One line for ``louverd reveal --reports``; bytes travel as base64."""

    conversation: bytes
    seq: int
    reporter: bytes
    message: bytes
    key: bytes


class Revealed(msgspec.Struct, frozen=True, kw_only=True):
    """What the drill reads of a line of ``louverd reveal``, of messages and of reports alike."""

    conversation: bytes = b""
    seq: int = 0
    id: bytes = b""
    sender: bytes = b""
    line: int = 0
    readable: bool = False
    verified: bool = False
    text: str | None = None


@dataclass(frozen=True)
class Line:
    """A line and when it came, in milliseconds after the command started."""

    at_ms: float
    got: Revealed


async def reveal(relay: Relay, *arguments: str) -> tuple[list[Line], bytes]:
    """Run ``louverd reveal`` on the relay's data: parsed lines, and all of its output.

    Raises:
        LabFailure: the command failed.
    """
    begin = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server", "reveal", "--config", str(relay.config), *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
        limit=_LINE_LIMIT,
    )
    assert process.stdout is not None  # noqa: S101  pipes, as asked for above
    assert process.stderr is not None  # noqa: S101
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
    # With forged reports among them the command may say so by its exit code; lines tell.
    if process.returncode and not lines:
        raise LabFailure(f"louverd reveal failed: {(await complaints).decode(errors='replace')}")
    return lines, bytes(raw)


def insider(trace: Trace, logs: Sequence[Log], lines: Sequence[Line]) -> Access:
    """What an operator read without any report. ``lines`` is every stored message."""
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
        logged=0.0,
        note="The operator reads with the relay's own files and keys: no case, no log entry.",
    )


def reports(messages: Sequence[Message]) -> list[Report]:
    """What the recipients of labelled messages would report.

    Where the mode franks, the evidence opens the commitment. Elsewhere there is nothing to
    open: the text is a claim, and the relay answers with its own record.
    """
    made = []
    for message in messages:
        evidence = message.evidence
        made.append(
            Report(
                conversation=message.conversation,
                seq=message.seq,
                reporter=message.recipient,
                message=evidence.message if evidence else message.content,
                key=evidence.key if evidence else bytes(32),
            )
        )
    return made


def forgeries(genuine: Sequence[Report], count: int, seed: int) -> list[Report]:
    """``count`` reports, each altered in one place; none equals a genuine one."""
    rng = seeded(seed, "forgeries")
    known = set(genuine)
    forged: list[Report] = []
    while genuine and len(forged) < count:
        fake = _forge(genuine, rng)
        if fake not in known:
            forged.append(fake)
    return forged


def _forge(genuine: Sequence[Report], rng: random.Random) -> Report:
    report = rng.choice(genuine)
    other = rng.choice(genuine)
    ways: tuple[Mapping[str, object], ...] = (
        {"message": _flip(report.message, rng)},
        {"message": report.message + b"\0"},
        {"message": report.message[:-1] or b"x"},
        {"message": other.message},
        {"key": _flip(report.key, rng)},
        {"key": other.key},
        {"key": bytes(32)},
        {"message": other.message, "key": other.key},
        {"seq": report.seq + rng.choice((-1, 1, 1000))},
        {"conversation": _flip(report.conversation, rng)},
        {"conversation": other.conversation, "seq": other.seq},
        {"reporter": _flip(report.reporter, rng)},
        {"reporter": other.reporter},
    )
    way = dict(rng.choice(ways))
    way["seq"] = max(1, int(str(way.get("seq", report.seq))))
    return msgspec.structs.replace(report, **way)


def _flip(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(8 * len(data))
    changed = bytearray(data)
    changed[at // 8] ^= 1 << at % 8
    return bytes(changed)


def user_report(
    messages: Sequence[Message],
    genuine: Sequence[Report],
    forged: Sequence[Report],
    lines: Sequence[Line],
    labelled: int,
) -> Access:
    """What the relay said of genuine reports (first in the file) and of forged ones (after)."""
    truth = {(m.conversation, m.seq): (m.sender, m.text) for m in messages}
    franked = any(message.evidence is not None for message in messages)
    verified = [
        line
        for line in lines
        if line.got.line <= len(genuine)
        and line.got.verified
        and truth.get((line.got.conversation, line.got.seq)) == (line.got.sender, line.got.text)
    ]
    accepted = [
        line
        for line in lines
        if line.got.line > len(genuine) and line.got.verified and (franked or _wrong(line, truth))
    ]
    disclosed = sum(len((line.got.text or "").encode()) for line in verified)
    needed = sum(len(m.content) for m in messages)
    how = (
        "Proven by the sender's commitment and the relay's stamp."
        if franked
        else "Confirmed by the relay's own record: whoever may write the database is believed."
    )
    return Access(
        measured=True,
        labelled=labelled,
        readable=len(verified) / labelled if labelled else None,
        verifiable=len(verified) / labelled if labelled else None,
        basis="commitment" if franked else "record",
        time_to_evidence_ms=_span(verified),
        over_collection=round(disclosed / needed, 2) if verified and needed else None,
        forged_submitted=len(forged),
        forged_accepted=len(accepted),
        note=how,
    )


def _wrong(line: Line, truth: Mapping[tuple[bytes, int], tuple[bytes, str]]) -> bool:
    """Whether a confirmed report shows anything but what its sender wrote. Messages that carry no
    label are not in ``truth``; the relay's record of them is what it is."""
    real = truth.get((line.got.conversation, line.got.seq))
    return real is not None and real != (line.got.sender, line.got.text)


def write(path: Path, lines: Sequence[Report]) -> None:
    """A file for ``--reports``."""
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def _span(lines: Sequence[Line]) -> Span | None:
    if not lines:
        return None
    p50, p99 = np.percentile([line.at_ms for line in lines], [50, 99])
    return Span(p50=round(float(p50), 1), p99=round(float(p99), 1))
