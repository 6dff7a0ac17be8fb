"""The drill's arithmetic: what counts as read, as proven, as forged."""

from __future__ import annotations

import msgspec
import pytest

from client import Message
from client.compare import drill, reporting
from client.compare.desk import Judged
from client.compare.drill import Line, Revealed
from client.compare.load import Log, SentRow
from client.compare.results import Access, Span
from client.compare.trace import Row, Trace
from crypto_modes.contract import Evidence
from crypto_modes.keys import TeamKey
from crypto_modes.reports import Context, Item, Report
from crypto_modes.verdicts import Finding, State

A, B = b"a" * 16, b"b" * 16
MARKS = ("text", "sender", "reporter", "place", "proof", "key")


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


def _report(message: Message) -> Report:
    evidence = message.evidence or Evidence(message=message.content)
    place = {name: getattr(message, name) for name in Context.__struct_fields__}
    proof = b"s" * 32 if evidence.key else b""
    item = Item(**place, message=evidence.message, key=evidence.key, commitment=proof, stamp=proof)
    return Report(
        relay=A,
        reporter=message.recipient,
        reported=message.sender,
        category="spam",
        words="",
        created=1,
        items=(item,),
    )


def _judged(
    message: Message, state: State = "verified", text: bytes = b"", at: float = 7.0
) -> Judged:
    finding = Finding(id=message.id, state=state, content=text or message.content)
    return Judged(at, _report(message), [finding])


def _drilled(
    messages: list[Message], genuine: list[Judged], forged: list[Judged] | None = None
) -> Access:
    return drill.user_report(messages, genuine, [], {"text": forged or []}, 5.0, len(messages))


@pytest.mark.parametrize(("state", "basis"), [("verified", "commitment"), ("confirmed", "record")])
def test_genuine_reports_count_and_refused_forgeries_do_not(state: State, basis: str) -> None:
    messages = [_message(1, franked=True), _message(2, franked=True)]
    genuine = [_judged(message, state) for message in messages]
    forged = [_judged(messages[0], "refused"), Judged(8.0, None)]
    got = _drilled(messages, genuine, forged)
    assert (got.verifiable, got.forged_submitted, got.forged_accepted) == (1.0, 2, 0)
    assert (got.over_collection, got.basis, got.labels) == (1.0, basis, {state: 2})
    assert got.time_to_evidence_ms == Span(p50=2000.0, p99=2000.0)
    assert got.forged_by == {"text": 2}


@pytest.mark.parametrize("state", ["verified", "confirmed", "claim"])
def test_any_forgery_that_is_not_refused_counts(state: State) -> None:
    messages = [_message(1, franked=True)]
    got = _drilled(messages, [_judged(messages[0])], [_judged(messages[0], state)])
    assert got.forged_accepted == 1


@pytest.mark.parametrize(("state", "text"), [("verified", b"no"), ("claim", b""), ("refused", b"")])
def test_a_report_that_proves_nothing_or_another_text_is_not_verified(
    state: State, text: bytes
) -> None:
    messages = [_message(1, franked=True)]
    got = _drilled(messages, [_judged(messages[0], state, text)])
    assert (got.verifiable, got.labels) == (0.0, {state: 1})


def test_what_a_team_can_say_alone_stands_apart() -> None:
    messages = [_message(1, franked=False)]
    alone = [_judged(messages[0], "claim")]
    got = drill.user_report(messages, [_judged(messages[0], "confirmed")], alone, {}, 0.0, 1)
    assert (got.labels, got.labels_alone) == ({"confirmed": 1}, {"claim": 1})


@pytest.mark.parametrize("franked", [True, False])
def test_forgeries_are_distinct_untrue_and_can_be_sealed(franked: bool) -> None:
    honest = [_report(_message(seq, franked=franked)) for seq in range(1, 6)]
    forged = reporting.forgeries(honest, 300, 7)
    every = [report for some in forged.values() for report in some]
    assert list(forged) == list(MARKS if franked else MARKS[:5])
    assert {len(some) for some in forged.values()} == {300 // len(forged)}
    assert len(set(every)) == 300
    assert not set(every) & set(honest)
    assert forged == reporting.forgeries(honest, 300, 7)
    team = TeamKey(b"the secret key of the team, 32 B")
    for report in every[::10]:
        assert reporting.sealed(report, team.public, 1).open(team) == report


def test_one_kind_of_forgery_alters_what_it_says() -> None:
    honest = [_report(_message(seq, franked=True)) for seq in range(1, 6)]
    may = {
        "text": {"message"},
        "sender": {"sender"},
        "reporter": {"recipient"},
        "place": {"conversation", "seq", "id", "time", "device"},
        "proof": {"message", "key", "commitment", "stamp", "mode"},
        "key": {"key", "message"},
    }
    for what, some in reporting.forgeries(honest, 300, 7).items():
        for report in some:
            (item,) = report.items
            assert any(
                {
                    name
                    for name in Item.__struct_fields__
                    if getattr(item, name) != getattr(real, name)
                }
                <= may[what]
                for (real,) in (one.items for one in honest)
            )


def test_one_report_is_enough_to_forge_and_none_makes_no_forgeries() -> None:
    honest = [_report(_message(1, franked=False))]
    assert sum(map(len, reporting.forgeries(honest, 300, 1).values())) == 300
    assert reporting.forgeries([], 300, 1) == {}


def test_a_report_about_several_messages_is_forged_one_by_one() -> None:
    one, other = (_report(_message(seq, franked=True)) for seq in (1, 2))
    both = msgspec.structs.replace(one, items=one.items + other.items)
    assert reporting.single(both) == [one, other]


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
