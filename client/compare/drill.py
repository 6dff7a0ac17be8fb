"""The moderation drill: can labelled messages be read, and can a report of them be proven.

What may live here: asking ``louverd reveal`` with the operator's own powers, and counting. What
may not: making reports (``reporting``), or deciding what is readable; the relay's own code
decides.

Measured paths are ``insider`` and ``user_report``. ``scan`` and ``legal_request`` belong to the
moderation vault, which this version does not have: not measured, never a number.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from client import Message
from client.compare.lab import COMMAND_SECONDS, LabFailure, Relay, environment
from client.compare.load import Log
from client.compare.reporting import Report
from client.compare.results import Access, Span
from client.compare.trace import Trace

FORGERIES = 300
LATER = Access(measured=False, note="Belongs to the moderation vault, not part of this version.")
_LINE_LIMIT = 4 * 1024 * 1024


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
        note="The operator reads with the relay's own files and keys: no case, no log entry.",
    )


def user_report(
    messages: Sequence[Message],
    forged: Mapping[str, Sequence[Report]],
    lines: Sequence[Line],
    labelled: int,
) -> Access:
    """What the relay said of the genuine reports of ``messages`` (first in the file) and of
    forged ones (after them). Every forgery is untrue, so any that is verified was accepted."""
    truth = {(m.conversation, m.seq): (m.sender, m.text) for m in messages}
    franked = any(message.evidence is not None for message in messages)
    told = [line for line in lines if line.got.verified]
    verified = [
        line
        for line in told
        if line.got.line <= len(messages)
        and truth.get((line.got.conversation, line.got.seq)) == (line.got.sender, line.got.text)
    ]
    accepted = [line for line in told if line.got.line > len(messages)]
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
        forged_submitted=sum(map(len, forged.values())),
        forged_accepted=len(accepted),
        forged_by={what: len(some) for what, some in forged.items()},
        note=how,
    )


def _span(lines: Sequence[Line]) -> Span | None:
    if not lines:
        return None
    p50, p99 = np.percentile([line.at_ms for line in lines], [50, 99])
    return Span(p50=round(float(p50), 1), p99=round(float(p99), 1))
