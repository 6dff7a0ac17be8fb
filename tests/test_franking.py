"""Franking: an honest report verifies, and no other one does."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime
from time import tzset
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from crypto_modes import franking
from crypto_modes.contract import Evidence, Meta, Stored
from crypto_modes.errors import BadArgument, CannotRead, ReportRefused
from crypto_modes.padding import pad
from tests.e2ee_relay import ALICE, BOB, FRANKING_KEY, Device, Relay, couple
from tests.gcm_collision import colliding
from tests.vector_files import expected, raw, vectors


@pytest.mark.parametrize("vector", vectors("franking"))
def test_vectors(vector: dict[str, Any]) -> None:
    fields = raw(vector, "key", "commitment", "stamp")
    meta = Meta(**raw(vector["meta"], "conversation", "id", "sender", "device", "recipient"))
    evidence = Evidence(**raw(vector["evidence"], "reporter", "message", "key"))
    with expected(vector):
        franking.verify(fields["key"], meta, fields["commitment"], fields["stamp"], evidence)
    if vector["expect"] == "ok":
        assert franking.stamp(fields["key"], meta, fields["commitment"]) == fields["stamp"]
        opened = franking.commitment(evidence.key, meta.conversation, meta.id, evidence.message)
        assert opened == fields["commitment"]


@pytest.mark.parametrize(
    ("time", "month"),
    [
        (0, 197001),
        (1_790_000_000_000, 202609),
        (1_767_225_599_999, 202512),
        (1_767_225_600_000, 202601),
    ],
)
def test_months_are_utc(time: int, month: int) -> None:
    assert franking.month_of(time) == month


@pytest.mark.parametrize("zone", ["XXX+12", "XXX-14"])
def test_months_are_utc_wherever_the_machine_is(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    try:
        with monkeypatch.context() as away:
            away.setenv("TZ", zone)
            tzset()
            assert franking.month_of(1_767_225_599_999) == 202512
            assert franking.month_of(1_767_225_600_000) == 202601
            assert franking.end_of_window(202512) == 1_767_225_600_000 + 90 * 86_400_000
    finally:
        tzset()


@pytest.mark.parametrize(
    ("month", "end"),
    [
        (197001, datetime(1970, 5, 2, tzinfo=UTC)),
        (202609, datetime(2026, 12, 30, tzinfo=UTC)),
        (202611, datetime(2027, 3, 1, tzinfo=UTC)),
        (202612, datetime(2027, 4, 1, tzinfo=UTC)),
    ],
)
def test_reports_expire_90_days_after_the_end_of_the_month(month: int, end: datetime) -> None:
    assert franking.end_of_window(month) == end.timestamp() * 1000


@pytest.mark.parametrize("month", [0, 12, 202600, 202613, 202699, 999912, 1_000_001])
def test_what_is_no_month_has_no_window(month: int) -> None:
    with pytest.raises(BadArgument, match="YYYYMM"):
        franking.end_of_window(month)


@pytest.mark.parametrize("time", [253_402_300_800_000, 1 << 53, 1 << 80])
def test_a_time_beyond_the_calendar_has_no_month(time: int) -> None:
    with pytest.raises(BadArgument, match="calendar"):
        franking.month_of(time)


@pytest.mark.parametrize(
    "sizes", [(0, 16, 16), (31, 16, 16), (33, 16, 16), (64, 16, 16), (32, 15, 16), (32, 16, 17)]
)
def test_a_franking_key_and_both_ids_have_one_size(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(BadArgument, match="exactly 32 bytes"):
        franking.commitment(*map(bytes, sizes), message=b"text")


def reported() -> tuple[Relay, Stored, Evidence]:
    """A message from Alice that Bob has opened and could report."""
    relay, alice, bob = couple()
    stored = alice.send(BOB, b"an insult")
    evidence = bob.receive(stored).evidence
    assert evidence is not None
    return relay, stored, evidence


def test_an_honest_report_reveals_the_text() -> None:
    relay, stored, evidence = reported()
    assert evidence.reporter == BOB
    assert relay.mode.reveal(stored, evidence) == b"an insult"


def test_without_a_report_the_operator_cannot_read() -> None:
    relay, stored, _ = reported()
    with pytest.raises(CannotRead, match="only a recipient can reveal"):
        relay.mode.reveal(stored, Evidence())
    with pytest.raises(CannotRead):
        relay.mode.reveal(stored, Evidence(reporter=BOB))
    assert b"an insult" not in msgspec.msgpack.encode(stored)


def test_the_sender_learns_no_evidence_against_itself() -> None:
    relay, alice, _ = couple()
    laptop = Device(relay, ALICE, b"alice-laptop-002")
    laptop.link(alice)
    stored = alice.send(BOB, b"mine")
    opened = laptop.receive(stored)
    assert (opened.content, opened.evidence) == (b"mine", None)


@pytest.mark.attack
def test_41_reports_by_others_are_refused() -> None:
    relay, stored, evidence = reported()
    for reporter in (ALICE, b"somebody-else-03", b""):
        forged = msgspec.structs.replace(evidence, reporter=reporter)
        with pytest.raises(ReportRefused, match="only the recipient"):
            relay.mode.reveal(stored, forged)


@pytest.mark.attack
def test_41_mutated_reports_never_verify() -> None:
    relay, stored, evidence = reported()
    dice = random.Random(41)
    for _ in range(2_000):
        field = dice.choice(("message", "key"))
        value = bytearray(getattr(evidence, field))
        change = dice.choice(("flip", "cut", "grow"))
        if change == "flip":
            value[dice.randrange(len(value))] ^= 1 << dice.randrange(8)
        elif change == "cut":
            del value[dice.randrange(1, len(value)) :]
        else:
            value += bytes(dice.randrange(1, 40))
        with pytest.raises(ReportRefused):
            relay.mode.reveal(stored, msgspec.structs.replace(evidence, **{field: bytes(value)}))


@pytest.mark.attack
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("conversation", bytes(16)),
        ("seq", 99),
        ("id", bytes(16)),
        ("sender", b"framed-account-3"),
        ("device", bytes(16)),
        ("recipient", b"framed-account-3"),
        ("mode", "tls"),
        ("time", 1),
    ],
)
def test_41_a_stamp_holds_every_field_of_its_context(field: str, value: object) -> None:
    relay, stored, evidence = reported()
    meta = msgspec.structs.replace(stored.meta, **{field: value})
    with pytest.raises(ReportRefused, match="never stamped"):
        relay.mode.reveal(msgspec.structs.replace(stored, meta=meta), evidence)


@pytest.mark.attack
def test_41_another_relay_believes_nothing() -> None:
    _, stored, evidence = reported()
    with pytest.raises(ReportRefused, match="never stamped"):
        franking.verify(os.urandom(32), stored.meta, stored.commitment, stored.stamp, evidence)
    franking.verify(FRANKING_KEY, stored.meta, stored.commitment, stored.stamp, evidence)


def test_a_committed_text_that_is_no_message_is_refused() -> None:
    relay, stored, evidence = reported()
    message = pad(b"not a body")
    committed = franking.commitment(evidence.key, stored.meta.conversation, stored.meta.id, message)
    stamped = franking.stamp(FRANKING_KEY, stored.meta, committed)
    forged = Stored(stored.meta, stored.record, committed, stamped)
    claimed = Evidence(reporter=BOB, message=message, key=evidence.key)
    with pytest.raises(ReportRefused, match="not a message"):
        relay.mode.reveal(forged, claimed)


@pytest.mark.attack
def test_23_one_ciphertext_of_two_texts_has_two_commitments() -> None:
    """GCM opens the ciphertext under both keys; only one text can match the commitment."""
    one, other, nonce, aad = os.urandom(32), os.urandom(32), os.urandom(12), b"aad"
    blocks = [os.urandom(16) for _ in range(17)]
    salamander = colliding(one, other, nonce, aad, blocks)
    opened = [AESGCM(key).decrypt(nonce, salamander, aad) for key in (one, other)]
    assert opened[0] != opened[1]
    commitments = [
        franking.commitment(text[:32], bytes(16), bytes(16), text[32:]) for text in opened
    ]
    assert commitments[0] != commitments[1]
