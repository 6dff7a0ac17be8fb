"""Delivered against planned: each kind of flaw is seen, and a flawless run is flawless."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from client.compare.load import FIRST, Log, OpenedRow, SentRow, digest, introduction
from client.compare.record import NEVER
from client.compare.trace import Row, Trace
from client.compare.verify import samples, verify

TRACE = Trace(
    "t",
    1,
    2,
    (
        Row(0, 0, 1, "text", "one"),
        Row(10, 0, 1, "text", "two"),
        Row(20, 1, 0, "text", "three"),
        Row(2_000_000, 0, 1, "text", "four"),
    ),
)
SECOND = 1_000_000_000


def _logs() -> list[Log]:
    contents = {FIRST: (0, introduction(0))}
    contents |= {i: (row.sender, row.content) for i, row in enumerate(TRACE.rows)}
    sent, opened = Log(), Log()
    for row, (sender, content) in contents.items():
        id_ = bytes([row + 10]) * 16
        planned = SECOND + (TRACE.rows[row].at_us * 1000 if row >= 0 else -5_000_000)
        sent.sent.append(SentRow(row, id_, planned, planned + 1000, planned + 2_000_000))
        account = bytes([sender]) * 16
        opened.opened.append(
            OpenedRow(1 - sender, id_, account, planned + 3_000_000, digest(content))
        )
    return [sent, opened]


def _with(index: int, **change: object) -> Callable[[list[OpenedRow]], None]:
    def spoil(opened: list[OpenedRow]) -> None:
        opened[index] = msgspec.structs.replace(opened[index], **change)

    return spoil


def test_a_flawless_run() -> None:
    verdict = verify(TRACE, _logs())
    assert verdict.flawless
    assert verdict.delivered == 5


@pytest.mark.parametrize(
    ("spoil", "flaw"),
    [
        (lambda opened: opened.pop(2), "lost"),
        (lambda opened: opened.append(opened[1]), "duplicated"),
        (lambda opened: opened.insert(1, opened.pop(2)), "reordered"),
        (lambda opened: opened.append(opened.pop(0)), "reordered"),
        (_with(1, digest=digest(b"other")), "altered"),
        (_with(1, user=0), "altered"),
        (_with(1, id=b"?" * 16), "altered"),
    ],
)
def test_each_flaw_is_counted(spoil: Callable[[list[OpenedRow]], object], flaw: str) -> None:
    logs = _logs()
    spoil(logs[1].opened)
    verdict = verify(TRACE, logs)
    assert getattr(verdict, flaw) == 1
    assert not verdict.flawless
    assert flaw in verdict.examples[0]


def test_order_counts_only_between_the_same_two_people() -> None:
    logs = _logs()
    opened = logs[1].opened
    opened.insert(0, opened.pop(3))  # "three" goes the other way
    assert verify(TRACE, logs).flawless


def test_a_refused_message_is_lost_and_says_why() -> None:
    logs = _logs()
    logs[0].sent[1] = SentRow(0, b"", SECOND, SECOND, 0, "Forbidden('no')")
    del logs[1].opened[1]
    verdict = verify(TRACE, logs)
    assert verdict.lost == 1
    assert "Forbidden" in verdict.examples[0]


def test_samples_tell_phases_and_times() -> None:
    logs = _logs()
    del logs[1].opened[-1]
    made = samples(TRACE, logs, mode="tls", number=2, start_ns=SECOND, warmup=1.0)
    assert [s.phase for s in made] == ["first", "warmup", "warmup", "warmup", "steady"]
    one = made[1]
    assert (one.planned_us, one.sent_us, one.accepted_us, one.opened_us) == (0, 1, 2000, 3000)
    assert made[-1].opened_us == NEVER
    assert made[-1].planned_us == 2_000_000
