"""The drill's arithmetic: what counts as read, as proven, as forged."""

from __future__ import annotations

import pytest

from client import Message
from client.compare import drill, reporting
from client.compare.drill import Line, Revealed
from client.compare.load import Log, SentRow
from client.compare.reporting import Report
from client.compare.trace import Row, Trace
from crypto_modes.contract import Evidence

A, B = b"a" * 16, b"b" * 16


def _message(seq: int, *, franked: bool) -> Message:
    evidence = Evidence(reporter=B, message=b"M%d" % seq, key=bytes([seq]) * 32)
    return Message(
        conversation=b"c" * 16,
        seq=seq,
        id=bytes([seq]) * 16,
        sender=A,
        device=A,
        recipient=B,
        kind="text",
        mode="e2ee" if franked else "tls",
        epoch=1,
        time=1,
        content=b"HARM-%04d" % seq,
        evidence=evidence if franked else None,
    )


def _verdict(line: int, message: Message, *, verified: bool = True, text: str = "") -> Line:
    got = Revealed(
        line=line,
        verified=verified,
        conversation=message.conversation,
        seq=message.seq,
        sender=message.sender,
        text=text or message.text,
    )
    return Line(10.0 * line, got)


MARKS = ("text", "reporter", "place", "key")


def _forged(messages: list[Message], number: int = 5) -> dict[str, list[Report]]:
    return reporting.forgeries(reporting.genuine(messages), number, 1)


def test_genuine_reports_count_and_refused_forgeries_do_not() -> None:
    messages = [_message(1, franked=True), _message(2, franked=True)]
    lines = [_verdict(1, messages[0]), _verdict(2, messages[1])]
    lines += [_verdict(3 + i, messages[0], verified=False) for i in range(5)]
    got = drill.user_report(messages, _forged(messages), lines, 2)
    assert (got.verifiable, got.forged_submitted, got.forged_accepted) == (1.0, 5, 0)
    assert (got.over_collection, got.basis) == (1.0, "commitment")
    assert got.forged_by == {"text": 2, "reporter": 1, "place": 1, "key": 1}


@pytest.mark.parametrize("franked", [True, False])
def test_any_verified_forgery_counts_in_every_mode(franked: bool) -> None:
    messages = [_message(1, franked=franked)]
    lines = [_verdict(1, messages[0]), _verdict(2, messages[0])]
    got = drill.user_report(messages, _forged(messages, 1), lines, 1)
    assert got.forged_accepted == 1


def test_a_report_confirmed_with_another_text_is_not_verified() -> None:
    messages = [_message(1, franked=True)]
    got = drill.user_report(messages, {}, [_verdict(1, messages[0], text="no")], 1)
    assert got.verifiable == 0.0


@pytest.mark.parametrize("franked", [True, False])
def test_forgeries_are_distinct_untrue_and_of_what_the_mode_checks(franked: bool) -> None:
    honest = reporting.genuine([_message(seq, franked=franked) for seq in range(1, 6)])
    forged = reporting.forgeries(honest, 300, 7)
    every = [report for some in forged.values() for report in some]
    assert list(forged) == list(MARKS if franked else MARKS[:3])
    assert {len(some) for some in forged.values()} == {300 // len(forged)}
    assert len(set(every)) == 300
    assert not set(every) & set(honest)
    assert forged == reporting.forgeries(honest, 300, 7)
    if not franked:
        assert all(report.key == b"" and report.message for report in every)


def test_one_kind_of_forgery_alters_one_thing() -> None:
    honest = reporting.genuine([_message(seq, franked=True) for seq in range(1, 6)])
    forged = reporting.forgeries(honest, 300, 7)
    parts = {"text": "message", "reporter": "reporter", "key": "key"}
    for what, some in forged.items():
        for report in some:
            others = [part for name, part in parts.items() if name not in (what, "text")]
            assert any(
                all(getattr(report, part) == getattr(real, part) for part in others)
                for real in honest
            )


def test_one_report_is_enough_to_forge_and_none_makes_no_forgeries() -> None:
    honest = reporting.genuine([_message(1, franked=False)])
    assert sum(map(len, reporting.forgeries(honest, 300, 1).values())) == 300
    assert reporting.forgeries([], 300, 1) == {}


def _archive(text: str | None) -> list[Line]:
    return [
        Line(5.0, Revealed(id=b"1" * 16, readable=text is not None, text=text)),
        Line(7.0, Revealed(id=b"2" * 16, readable=text is not None, text=text and "x" * 90)),
    ]


@pytest.mark.parametrize(
    ("text", "readable", "over"),
    [("HARM-0001!", 1.0, 10.0), ("altered", 0.0, None), (None, 0.0, None)],
)
def test_an_insider_reads_only_what_is_right(
    text: str | None, readable: float, over: float | None
) -> None:
    trace = Trace("t", 1, 2, (Row(0, 0, 1, "text", "HARM-0001!", "severe"),
                              Row(1, 0, 1, "text", "x" * 90)))  # fmt: skip
    log = Log(sent=[SentRow(0, b"1" * 16, 0, 0, 1), SentRow(1, b"2" * 16, 0, 0, 1)])
    got = drill.insider(trace, [log], _archive(text))
    assert (got.readable, got.over_collection, got.labelled) == (readable, over, 1)
