"""The drill's arithmetic: what counts as read, as proven, as forged."""

from __future__ import annotations

import pytest

from client import Message
from client.compare import drill
from client.compare.drill import Line, Report, Revealed
from client.compare.load import Log, SentRow
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


def test_genuine_reports_count_and_refused_forgeries_do_not() -> None:
    messages = [_message(1, franked=True), _message(2, franked=True)]
    genuine = drill.reports(messages)
    forged = drill.forgeries(genuine, 5, 1)
    lines = [_verdict(1, messages[0]), _verdict(2, messages[1])]
    lines += [_verdict(3 + i, messages[0], verified=False) for i in range(5)]
    got = drill.user_report(messages, genuine, forged, lines, 2)
    assert (got.verifiable, got.forged_submitted, got.forged_accepted) == (1.0, 5, 0)
    assert (got.over_collection, got.basis) == (1.0, "commitment")


def test_any_verified_forgery_counts_where_the_mode_franks() -> None:
    messages = [_message(1, franked=True)]
    genuine = drill.reports(messages)
    lines = [_verdict(1, messages[0]), _verdict(2, messages[0])]
    got = drill.user_report(messages, genuine, drill.forgeries(genuine, 1, 1), lines, 1)
    assert got.forged_accepted == 1


def test_a_record_that_is_confirmed_as_it_is_is_no_forgery() -> None:
    messages = [_message(1, franked=False)]
    genuine = drill.reports(messages)
    forged = drill.forgeries(genuine, 2, 1)
    told = [_verdict(1, messages[0]), _verdict(2, messages[0])]
    honest = drill.user_report(messages, genuine, forged, told, 1)
    assert (honest.forged_accepted, honest.basis) == (0, "record")
    lie = [*told, _verdict(3, messages[0], text="something else")]
    assert drill.user_report(messages, genuine, forged, lie, 1).forged_accepted == 1


def test_a_report_confirmed_with_another_text_is_not_verified() -> None:
    messages = [_message(1, franked=True)]
    genuine = drill.reports(messages)
    got = drill.user_report(messages, genuine, [], [_verdict(1, messages[0], text="no")], 1)
    assert got.verifiable == 0.0


def test_no_forgery_equals_a_genuine_report() -> None:
    genuine = drill.reports([_message(seq, franked=True) for seq in range(1, 6)])
    forged = drill.forgeries(genuine, 300, 7)
    assert len(forged) == 300
    assert not set(forged) & set(genuine)
    assert forged == drill.forgeries(genuine, 300, 7)
    assert all(len(report.key) == 32 and report.seq >= 1 for report in forged)


def test_forgeries_differ_in_every_field() -> None:
    genuine = drill.reports([_message(seq, franked=True) for seq in range(1, 6)])
    forged = drill.forgeries(genuine, 300, 7)

    def known(field: str) -> set[object]:
        return {getattr(report, field) for report in genuine}

    for field in Report.__struct_fields__:
        assert any(getattr(report, field) not in known(field) for report in forged), field


def test_no_reports_make_no_forgeries() -> None:
    assert drill.forgeries([], 300, 1) == []


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
