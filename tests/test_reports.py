"""Reports: the record and its sealing; one encoding, for one team, from one account."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_modes import primitives, reports
from crypto_modes.errors import (
    BadArgument,
    CannotOpen,
    KeyRefused,
    LimitExceeded,
    ReportRefused,
)
from crypto_modes.keys import TeamKey
from crypto_modes.padding import pad
from crypto_modes.reports import Report
from tests import reports_oracle as oracle
from tests.e2ee_relay import ALICE, BOB
from tests.reported import RELAY, TEAM, insults, mutated, plain_item, report_of
from tests.vector_files import expected, raw, vectors

YEAR_10000 = 253_402_300_800_000  # milliseconds


def opened(report: Report) -> Report:
    sealed = reports.seal(TEAM.public, report)
    return reports.unseal(TEAM, RELAY, BOB, reports.tags(report), sealed)


def test_an_honest_report_arrives_as_it_was() -> None:
    _, _, items = insults(b"one", "größe".encode(), b"three")
    report = report_of(*items)
    assert opened(report) == report


@pytest.mark.parametrize("vector", vectors("reports"))
def test_vectors(vector: dict[str, Any]) -> None:
    """Made by an encoder and an HPKE of their own; the sealed bytes are opened, not made again."""
    fields = raw(vector, "secret", "relay", "reporter", "tags", "sealed", "record")
    team = TeamKey(fields["secret"])
    with expected(vector):
        report = reports.unseal(
            team, fields["relay"], fields["reporter"], tuple(fields["tags"]), fields["sealed"]
        )
    if vector["expect"] == "ok":
        assert reports.encode(report) == fields["record"]
        assert reports.fingerprint(team.public) == vector["fingerprint"]
        assert [(each.message.hex(), each.seq) for each in report.items] == [
            (each["message"], each["seq"]) for each in vector["items"]
        ]


def test_an_independent_reading_encodes_and_seals_alike() -> None:
    _, _, items = insults(b"one", b"two")
    report = report_of(*items, plain_item(conversation=items[0].conversation, id=bytes(16)))
    told = {name: getattr(report, name) for name in report.__struct_fields__ if name != "items"} | {
        "items": [
            {name: getattr(item, name) for name in item.__struct_fields__} for item in report.items
        ]
    }
    assert oracle.encode(told) == reports.encode(report)
    assert oracle.tags(told) == list(reports.tags(report))
    sealed = oracle.seal(TEAM.public, told)
    assert reports.unseal(TEAM, RELAY, BOB, reports.tags(report), sealed) == report
    assert oracle.unseal(TEAM.raw, told, reports.seal(TEAM.public, report)) == oracle.encode(told)


def test_what_is_too_much_or_contradicts_itself_is_not_sent() -> None:
    _, _, (item, other) = insults(b"one", b"two")
    for error, words, report in (
        (LimitExceeded, "2000 bytes", report_of(item, words="é" * 1001)),
        (LimitExceeded, "1 to 20", report_of()),
        (LimitExceeded, "1 to 20", report_of(*[item] * 21)),
        (BadArgument, "twice", report_of(item, other, item)),
        (BadArgument, "himself", report_of(item, reporter=ALICE)),
        (BadArgument, "of the account", report_of(item, reported=b"somebody-else-03")),
        (
            BadArgument,
            "one conversation",
            report_of(item, msgspec.structs.replace(other, conversation=bytes(16))),
        ),
        (BadArgument, "16 bytes", report_of(item, relay=b"short")),
        (BadArgument, "category", report_of(item, category="rude")),
        (BadArgument, "proof", report_of(msgspec.structs.replace(item, stamp=b""))),
        (BadArgument, "kind", report_of(msgspec.structs.replace(item, kind="smell"))),
    ):
        with pytest.raises(error, match=words):
            reports.encode(report)


def test_as_much_as_the_limits_name_is_sent() -> None:
    item = plain_item()
    most = [msgspec.structs.replace(item, id=bytes((n,)) * 16) for n in range(20)]
    for report in (
        report_of(item, words="é" * 1000),
        report_of(*most),
        report_of(item, created=YEAR_10000 - 1),
        *(report_of(msgspec.structs.replace(item, mode="m" * size)) for size in (1, 32)),
        report_of(msgspec.structs.replace(item, seq=2**53 - 1, time=YEAR_10000 - 1)),
    ):
        assert reports.decode(reports.encode(report)) == report


def test_what_is_no_number_no_time_and_no_mode_is_refused_by_that_name() -> None:
    item = plain_item()
    for words, report in (
        ("number", report_of(msgspec.structs.replace(item, seq=2**53))),
        ("number", report_of(msgspec.structs.replace(item, seq=2**54 - 1))),
        ("never comes", report_of(item, created=YEAR_10000)),
        ("kind or mode", report_of(msgspec.structs.replace(item, mode=""))),
        ("kind or mode", report_of(msgspec.structs.replace(item, mode="m" * 33))),
    ):
        with pytest.raises(BadArgument, match=words):
            reports.encode(report)


def test_what_fits_no_frame_is_not_sealed() -> None:
    _, _, (item,) = insults(b"x")
    large = [plain_item(id=bytes((n,)) * 16, message=bytes(16_000)) for n in range(3)]
    large = [msgspec.structs.replace(each, conversation=item.conversation) for each in large]
    with pytest.raises(LimitExceeded, match="several"):
        reports.seal(TEAM.public, report_of(*large))
    sealed = reports.seal(TEAM.public, report_of(*large[:2]))
    assert len(sealed) <= reports.SEALED_LIMIT


def test_the_size_of_a_sealed_report_tells_a_class_only() -> None:
    _, _, (item,) = insults(b"x")
    sizes = {
        len(reports.seal(TEAM.public, report_of(item, words="w" * n))) for n in range(0, 200, 7)
    }
    assert len(sizes) <= 4


@given(st.binary(max_size=400))
@settings(max_examples=200)
def test_no_bytes_make_decoding_fail_otherwise(data: bytes) -> None:
    for whole in (data, reports._REPORT + data):
        with pytest.raises(ReportRefused):
            reports.decode(whole)


def test_one_report_has_one_encoding() -> None:
    _, _, items = insults(b"one", b"two")
    record = reports.encode(report_of(*items))
    dice = random.Random(7)
    for _ in range(500):
        changed = mutated(record, dice)
        try:
            report = reports.decode(changed)
        except ReportRefused:
            continue
        assert reports.encode(report) == changed


# --- sealing ---


def handed_on(report: Report, **changed: Any) -> reports.Sealed:
    """A report as the operator gives it to the team."""
    fields = {"relay": RELAY, "reporter": BOB, "id": bytes(16), "time": 1, "sealed": b""}
    if "sealed" not in changed:
        fields["sealed"] = reports.seal(TEAM.public, report)
    return reports.Sealed(**{**fields, "tags": reports.tags(report), **changed})


def test_the_team_opens_what_the_operator_hands_on() -> None:
    report = report_of(plain_item())
    sealed = handed_on(report)
    line = sealed.to_json()
    assert reports.Sealed.from_json(line) == sealed
    assert reports.Sealed.from_json(line).open(TEAM) == report
    assert b"\n" not in line
    for changed in ({"relay": bytes(16)}, {"reporter": ALICE}, {"tags": (bytes(32),)}):
        with pytest.raises(CannotOpen):
            handed_on(report, **changed).open(TEAM)
    with pytest.raises(CannotOpen):
        sealed.open(TeamKey(bytes(32)))


def test_a_file_that_is_no_sealed_report_is_refused() -> None:
    line = handed_on(report_of(plain_item())).to_json()
    padding = 2 * reports.SEALED_LIMIT - len(line)
    assert reports.Sealed.from_json(line + b" " * padding)
    for wrong, words in (
        (line + b" " * (padding + 1), "that large"),
        (b"{}", "no sealed report"),
        (line[:-1], "no sealed report"),
        (line.replace(b"report/1", b"report/2"), "no sealed report"),
        (b'{"louver":"report/1","relay":"\xff"}', "no sealed report"),
        (b"[" * 20_000, "no sealed report"),
    ):
        with pytest.raises(ReportRefused, match=words):
            reports.Sealed.from_json(wrong)


def test_what_is_larger_than_a_report_is_not_even_opened() -> None:
    for size, error in ((0, CannotOpen), (1, ReportRefused)):
        sealed = bytes(reports.SEALED_LIMIT + size)
        with pytest.raises(error):
            reports.unseal(TEAM, RELAY, BOB, (bytes(32),), sealed)


def test_a_report_opens_for_its_team_its_relay_and_its_reporter_only() -> None:
    _, _, (item,) = insults(b"one")
    report = report_of(item)
    sealed, tags = reports.seal(TEAM.public, report), reports.tags(report)
    for team, relay, reporter, given_tags in (
        (TeamKey(bytes(32)), RELAY, BOB, tags),
        (TEAM, b"another-relay-01", BOB, tags),
        (TEAM, RELAY, ALICE, tags),
        (TEAM, RELAY, BOB, (bytes(32),)),
        (TEAM, RELAY, BOB, ()),
    ):
        with pytest.raises(CannotOpen):
            reports.unseal(team, relay, reporter, given_tags, sealed)


@pytest.mark.attack(41)
def test_a_report_cannot_be_passed_on_as_somebody_elses() -> None:
    """Sealed by a client that lies about relay, reporter or tags: what is inside decides."""
    _, _, (item,) = insults(b"one")
    for report, reporter, given_tags, words in (
        (report_of(item), b"somebody-else-03", None, "another account"),
        (report_of(item, relay=bytes(16)), BOB, None, "another relay"),
        (report_of(item), BOB, (bytes(32),), "tags"),
    ):
        tags = given_tags or reports.tags(report)
        info = reports._info(RELAY, reporter, tags)
        sealed = primitives.hpke_seal(TEAM.public, pad(reports.encode(report)), info)
        with pytest.raises(ReportRefused, match=words):
            reports.unseal(TEAM, RELAY, reporter, tags, sealed)


def test_a_tag_is_the_same_whenever_one_message_is_reported_and_tells_nothing() -> None:
    _, _, (one, two) = insults(b"one", b"two")
    first, again = reports.tags(report_of(one)), reports.tags(report_of(two, one, words="again"))
    assert first[0] == again[1] != again[0]
    # Not computable from what a relay knows of the message: all but the franking key.
    known = msgspec.structs.replace(one, key=b"")
    assert reports.tags(report_of(known))[0] != first[0]


@pytest.mark.parametrize("size", [0, 1184, 1215, 1217])
def test_a_team_key_has_one_size(size: int) -> None:
    with pytest.raises(KeyRefused):
        reports.seal(bytes(size), report_of(plain_item()))


def test_a_fingerprint_tells_keys_apart() -> None:
    assert reports.fingerprint(TEAM.public) != reports.fingerprint(TeamKey(bytes(32)).public)
    assert len(reports.fingerprint(TEAM.public)) == 39
