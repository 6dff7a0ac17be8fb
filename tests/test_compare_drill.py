"""The drill's arithmetic: what counts as read, as proven, as forged."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from client import Message
from client.compare import drill, reporting
from client.compare.campaign import path_problems
from client.compare.court import Answered
from client.compare.desk import Judged
from client.compare.drill import Line, Revealed
from client.compare.instruments import Exposed
from client.compare.load import Log, SentRow
from client.compare.results import PATHS, Access, Span
from client.compare.trace import Row, Trace
from crypto_modes.contract import Evidence
from crypto_modes.keys import TeamKey
from crypto_modes.reports import Context, Item, Report
from crypto_modes.verdicts import Finding, State
from tests.compare_results import made_up

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


def _scanned(message: Message, state: State, text: bytes = b"") -> Judged:
    return _judged(message, state, text)


def test_a_scan_counts_what_it_found_and_what_the_record_confirms() -> None:
    messages = [_message(seq, franked=False) for seq in (1, 2, 3, 4)]
    found = [
        _scanned(messages[0], "confirmed"),
        _scanned(messages[1], "claim"),
        _scanned(messages[2], "confirmed", b"another text"),
        _scanned(_message(9, franked=False), "confirmed"),
    ]
    got = drill.scan(messages, found, 4)
    assert (got.readable, got.verifiable, got.labels) == (0.5, 0.25, {"confirmed": 3, "claim": 1})
    assert drill.scan(messages, [], 4).readable == 0.0


def _answered(**changed: object) -> Answered:
    texts = {bytes([seq]) * 16: b"HARM-%04d" % seq for seq in (1, 2)}
    given: dict[str, Any] = {
        "texts": texts,
        "at_ms": dict.fromkeys(texts, 250.0),
        "disclosed": 180,
        "readings": 2,
        "logged": 2,
        "refused": 3,
    }
    return Answered(**(given | changed))


def test_a_legal_request_counts_right_texts_and_what_came_along() -> None:
    messages = [_message(seq, franked=False) for seq in (1, 2)]
    got = drill.legal_request(messages, _answered(), 2)
    assert (got.readable, got.over_collection, got.logged, got.approvals) == (1.0, 10.0, 1.0, 2)
    assert got.time_to_evidence_ms == Span(p50=250.0, p99=250.0)
    wrong = _answered(texts={messages[0].id: messages[0].content, messages[1].id: b"no"}, logged=1)
    got = drill.legal_request(messages, wrong, 2)
    assert (got.readable, got.logged) == (0.5, 0.5)
    nothing = drill.legal_request(messages, _answered(texts={}, at_ms={}, disclosed=0), 2)
    assert (nothing.readable, nothing.over_collection) == (0.0, None)


def _exposed(mode: str, **paths: Access) -> Exposed:
    found = made_up().modes[mode]
    given = {path: paths.get(path, found.moderation[path]) for path in PATHS}
    unknown: Any = None
    return Exposed(unknown, 0.0, 0.0, 0.0, 0, "", dict(found.exposure), **given)


def test_a_path_that_reads_other_than_the_mode_declares_fails_the_run() -> None:
    for mode in ("tls", "at_rest", "e2ee"):
        assert path_problems(mode, _exposed(mode)) == []
    half = Access(measured=True, labelled=2, readable=0.5)
    for path, mode in (("scan", "tls"), ("legal_request", "at_rest"), ("insider", "e2ee")):
        (problem,) = path_problems(mode, _exposed(mode, **{path: half}))
        assert problem.startswith(f"{mode}: {path} read 50.0%")
    unlogged = Access(measured=True, labelled=2, readable=1.0, logged=0.5)
    (problem,) = path_problems("at_rest", _exposed("at_rest", legal_request=unlogged))
    assert "lacks readings" in problem


def test_phrases_are_how_labelled_messages_begin() -> None:
    rows = (
        Row(0, 0, 1, "text", "HARM-0001 " + "x " * 40, "severe"),
        Row(1, 0, 1, "text", "nothing"),
        Row(2, 0, 1, "text", "y" * 300, "spam"),
    )
    assert drill.phrases(Trace("t", 1, 2, rows)) == ["HARM-0001" + " x" * 11, "y" * 200]
