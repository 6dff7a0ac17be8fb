"""Delivered against planned: lost, duplicated, reordered, altered must all be zero.

Pure: logs in, samples and verdicts out. Messages are matched by their id, which the sender's
process learnt when it sent and the recipient's when it opened.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from client.compare.load import FIRST, Log, OpenedRow, SentRow, digest, introduction
from client.compare.record import NEVER, Sample
from client.compare.trace import Trace


@dataclass
class Verdict:
    """How many messages arrived, and how many did not arrive as planned; ``examples`` in words."""

    delivered: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    altered: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def flawless(self) -> bool:
        """Whether everything arrived once, in order, unaltered."""
        return not (self.lost or self.duplicated or self.reordered or self.altered)

    def add(self, other: Verdict) -> None:
        """Add another round's."""
        for name in ("delivered", "lost", "duplicated", "reordered", "altered"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.examples += other.examples

    def note(self, what: str, row: int, why: str = "") -> None:
        """Count one flaw, and keep the first few in words."""
        setattr(self, what, getattr(self, what) + 1)
        if len(self.examples) < 5:
            self.examples.append(f"row {row} {what}{f' ({why})' if why else ''}")


def verify(trace: Trace, logs: Sequence[Log]) -> Verdict:
    """Compare what was opened with the trace (and the first messages that precede it)."""
    verdict = Verdict()
    sent = {row.id: row for log in logs for row in log.sent if row.id}
    refused = {row.row: row.error for log in logs for row in log.sent if not row.id}
    contents, recipients = _planned(trace)
    seen: set[bytes] = set()
    last: dict[tuple[int, bytes], int] = defaultdict(lambda: -(2**60))
    for log in logs:
        for opened in log.opened:
            row = _row(sent, opened)
            if row is None or opened.user != recipients[row]:
                verdict.note("altered", NEVER if row is None else row, "nobody sent this")
                continue
            if opened.id in seen:
                verdict.note("duplicated", row)
                continue
            seen.add(opened.id)
            verdict.delivered += 1
            if opened.digest != contents[row]:
                verdict.note("altered", row)
            key = (opened.user, opened.sender)
            # First messages have negative numbers and precede every row of their conversation.
            if row < last[key]:
                verdict.note("reordered", row, ", ".join(opened.warnings))
            last[key] = max(last[key], row)
    arrived = {sent[id_].row for id_ in seen}
    for row in contents.keys() - arrived:
        verdict.note("lost", row, refused.get(row, ""))
    return verdict


def samples(
    trace: Trace, logs: Sequence[Log], *, mode: str, number: int, start_ns: int, warmup: float
) -> list[Sample]:
    """One sample per message, times relative to the start of the trace."""
    opened = {row.id: row.opened_ns for log in logs for row in log.opened}
    made = []
    for log in logs:
        for sent in log.sent:
            size, phase = _kind(trace, sent, warmup)
            made.append(
                Sample(
                    mode,
                    number,
                    phase,
                    sent.row,
                    size,
                    (sent.planned_ns - start_ns) // 1000,
                    (sent.sent_ns - start_ns) // 1000,
                    (sent.accepted_ns - start_ns) // 1000 if sent.accepted_ns else NEVER,
                    (opened[sent.id] - start_ns) // 1000 if sent.id in opened else NEVER,
                )
            )
    return sorted(made, key=lambda sample: sample.row)


def _kind(trace: Trace, sent: SentRow, warmup: float) -> tuple[int, str]:
    if sent.row <= FIRST:
        return len(introduction(FIRST - sent.row)), "first"
    row = trace.rows[sent.row]
    return len(row.content), "steady" if row.at_us >= warmup * 1e6 else "warmup"


def _row(sent: dict[bytes, SentRow], opened: OpenedRow) -> int | None:
    found = sent.get(opened.id)
    return None if found is None else found.row


def _planned(trace: Trace) -> tuple[dict[int, bytes], dict[int, int]]:
    """Digest and recipient of every row, first messages included."""
    contents = {number: digest(row.content) for number, row in enumerate(trace.rows)}
    recipients = {number: row.recipient for number, row in enumerate(trace.rows)}
    for number, (pair, first) in enumerate(trace.pairs.items()):
        contents[FIRST - number] = digest(introduction(number))
        recipients[FIRST - number] = pair[0] if pair[1] == first else pair[1]
    return contents, recipients
