"""Verdicts on reports: only what was written, to this reporter, and is shown whole is believed."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from crypto_modes import franking, reports, verdicts
from crypto_modes.errors import CannotOpen, ReportRefused
from crypto_modes.padding import pad
from crypto_modes.reports import SCANNER, Item, Report
from crypto_modes.verdicts import UNKNOWN, Answer, Finding, Note
from tests import modes_oracle as oracle
from tests.e2ee_relay import BOB, FRANKING_KEY, couple
from tests.gcm_collision import colliding
from tests.reported import RELAY, TEAM, insults, item_of, mutated, plain_item, report_of

YES = Answer("yes")
# Row 41 counts 100,000; a fiftieth of it is what every run affords, LOUVER_MUTATED_REPORTS=100000
# in the environment runs all (ten seconds).
MUTATIONS = int(os.environ.get("LOUVER_MUTATED_REPORTS", "2000"))


def answers(report: Report) -> list[Answer]:
    """What the relay that stamped would say."""
    return [
        verdicts.answer(FRANKING_KEY, verdicts.question(item)) if verdicts.franked(item) else YES
        for item in report.items
    ]


def judged(report: Report) -> list[Finding]:
    return verdicts.judge(report, answers(report))


def test_an_honest_report_verifies() -> None:
    _, _, items = insults(b"one", "größe".encode(), b"three")
    found = judged(report_of(*items))
    assert [each.state for each in found] == ["verified"] * 3
    assert [each.content.decode() for each in found] == ["one", "größe", "three"]
    assert [each.counter for each in found] == [1, 2, 3]


def test_without_the_relay_a_proof_is_a_claim() -> None:
    _, _, (item,) = insults(b"one")
    (found,) = verdicts.judge(report_of(item), [UNKNOWN])
    assert (found.state, found.content) == ("claim", b"one")
    assert found.reason


def test_a_preserved_record_confirms_what_no_key_verifies_any_more() -> None:
    kept = Answer("kept", "its month's key is destroyed")
    _, _, (item,) = insults(b"one")
    (found,) = verdicts.judge(report_of(item), [kept])
    assert (found.state, found.content, found.reason) == ("confirmed", b"one", kept.reason)
    # The commitment still holds the text: a record is not asked about another.
    lie = msgspec.structs.replace(item, message=item.message[:-1] + b"x")
    (found,) = verdicts.judge(report_of(lie), [kept])
    assert (found.state, found.content) == ("refused", b"")


def test_in_the_other_modes_the_relay_confirms_and_nobody_verifies() -> None:
    for mode in ("tls", "at_rest"):
        item = plain_item(mode=mode)
        for answered, state in (
            (YES, "confirmed"),
            (UNKNOWN, "claim"),
            (Answer("no", "the relay's own record says otherwise"), "refused"),
        ):
            (found,) = verdicts.judge(report_of(item), [answered])
            assert found.state == state
            assert found.content == (b"" if state == "refused" else b"plain words")


@pytest.mark.parametrize(
    ("seq", "answered", "state"),
    [
        (7, YES, "confirmed"),
        (7, Answer("no", "no such record"), "refused"),
        # Held back, and so never stored: the relay has nothing by which it could confirm or deny.
        (0, YES, "claim"),
        (0, Answer("no", "no such record"), "claim"),
    ],
)
def test_what_scanning_found_is_judged_by_the_relays_record(
    seq: int, answered: Answer, state: str
) -> None:
    (found,) = verdicts.judge(report_of(plain_item(seq=seq), reporter=SCANNER), [answered])
    assert found.state == state
    assert ("keeps no message" in found.reason) == (seq == 0)


def test_a_number_of_zero_excuses_nobody_but_the_scanner() -> None:
    report = report_of(plain_item(seq=0))
    (found,) = verdicts.judge(report, [Answer("no", "no such record")])
    assert (found.state, found.reason) == ("refused", "no such record")
    assert verdicts.judge(report, [YES])[0].state == "confirmed"


@pytest.mark.attack(41)
def test_reports_by_anybody_but_the_recipient_are_refused() -> None:
    _, _, (item,) = insults(b"one")
    report = report_of(item, reporter=b"somebody-else-03")
    assert [each.state for each in judged(report)] == ["refused"]
    assert "only the recipient" in judged(report)[0].reason
    # Nor in the name of the relay's lists, which never see a franked message.
    assert [each.state for each in judged(report_of(item, reporter=SCANNER))] == ["refused"]
    # Nor by changing who the recipient was.
    moved = msgspec.structs.replace(item, recipient=b"somebody-else-03")
    (found,) = judged(report_of(moved, reporter=b"somebody-else-03"))
    assert found.state == "refused"


@pytest.mark.attack(41)
def test_a_message_is_not_moved_into_another_conversation() -> None:
    """Whatever a relay would say of it: the two accounts alone make the conversation."""
    (found,) = verdicts.judge(report_of(plain_item(conversation=bytes(16))), [YES])
    assert (found.state, found.content) == ("refused", b"")
    assert "conversation of these two" in found.reason


@pytest.mark.attack(41)
def test_a_proof_taken_off_does_not_make_a_claim_of_it() -> None:
    bare = plain_item(mode="e2ee", message=b"words never said")
    (found,) = verdicts.judge(report_of(bare), [YES])
    assert (found.state, found.content) == ("refused", b"")


@pytest.mark.attack(41)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("conversation", bytes(16)),
        ("seq", 99),
        ("id", bytes(16)),
        ("sender", b"framed-account-3"),
        ("device", bytes(16)),
        ("recipient", b"framed-account-3"),
        ("kind", "image"),
        ("mode", "tls"),
        ("time", 1),
        ("message", pad(b"words never said")),
        ("key", bytes(32)),
        ("commitment", bytes(32)),
        ("stamp", bytes(32)),
    ],
)
def test_every_field_of_an_item_counts(field: str, value: Any) -> None:
    _, _, (item,) = insults(b"one")
    changed = msgspec.structs.replace(item, **{field: value})
    report = report_of(changed)
    found = verdicts.judge(report, answers(report))
    assert [each.state for each in found] == ["refused"]
    assert found[0].content == b""


@pytest.mark.attack(41)
def test_mutated_reports_never_verify() -> None:
    """Row 41: bits, cuts, growth and swaps anywhere in the record or in what was sealed."""
    _, _, items = insults(b"one", b"two")
    report = report_of(*items)
    record, sealed, tags = (
        reports.encode(report),
        reports.seal(TEAM.public, report),
        reports.tags(report),
    )
    dice = random.Random(41)
    believed = judged_items = 0
    for count in range(MUTATIONS):
        if count % 20 == 0:
            with pytest.raises((CannotOpen, ReportRefused)):
                reports.unseal(TEAM, RELAY, BOB, tags, mutated(sealed, dice))
            continue
        try:
            changed = reports.decode(mutated(record, dice))
        except ReportRefused:
            continue
        for item, found in zip(changed.items, judged(changed), strict=True):
            # An item that was left as it was stays true; one that was touched never is.
            if item not in items:
                judged_items += 1
                believed += found.state in ("verified", "confirmed")
    assert believed == 0
    assert judged_items > MUTATIONS // 10  # most are not even stopped by their form


@pytest.mark.attack(23)
def test_a_salamander_commits_to_one_of_its_texts_only() -> None:
    """What a GCM tag would have vouched for twice, the commitment vouches for once."""
    _, _, (item,) = insults(b"x" * 100)
    blocks = [os.urandom(16) for _ in range(17)]
    one, other, nonce = os.urandom(32), os.urandom(32), os.urandom(12)
    salamander = colliding(one, other, nonce, b"aad", blocks)
    texts = [AESGCM(key).decrypt(nonce, salamander, b"aad") for key in (one, other)]
    committed = franking.commitment(texts[0][:32], item.conversation, item.id, texts[0][32:])
    base = msgspec.structs.replace(item, commitment=committed)
    stamped = franking.stamp(FRANKING_KEY, base.meta, committed)
    reasons = []
    for text in texts:
        claimed = msgspec.structs.replace(base, stamp=stamped, key=text[:32], message=text[32:])
        (found,) = judged(report_of(claimed))
        assert found.state == "refused"
        reasons.append(found.reason)
    # The first opens its commitment and is no message; the second does not even open it.
    assert "not a message" in reasons[0]
    assert "committed to" in reasons[1]


def test_a_destroyed_month_is_refused_with_its_reason() -> None:
    _, _, (item,) = insults(b"one")
    gone = Answer("no", "the franking key of 202601 is destroyed; reports on it have expired")
    (found,) = verdicts.judge(report_of(item), [gone])
    assert (found.state, found.reason) == ("refused", gone.reason)


def test_a_relay_is_asked_about_a_text_without_being_shown_it() -> None:
    _, _, (item,) = insults(b"one")
    asked = verdicts.question(item)
    assert (asked.commitment, asked.stamp, asked.digest) == (item.commitment, item.stamp, b"")
    bare = plain_item()
    asked = verdicts.question(bare)
    told = oracle.sha256(oracle.enc("louver/v1/report/text", b"plain words"))
    assert (asked.commitment, asked.stamp, asked.digest) == (b"", b"", told)
    assert asked.meta == bare.meta


def test_a_question_is_about_one_stored_message_in_whatever_epoch() -> None:
    item = plain_item()
    asked = verdicts.question(item)
    assert verdicts.asks_about(asked, item.meta)
    assert verdicts.asks_about(asked, msgspec.structs.replace(item.meta, epoch=7))
    for changed in ({"seq": 99}, {"id": bytes(16)}, {"time": 1}, {"device": bytes(16)}):
        assert not verdicts.asks_about(asked, msgspec.structs.replace(item.meta, **changed))


def test_what_was_never_stamped_is_refused_with_that_reason() -> None:
    _, _, (item,) = insults(b"one")
    asked = verdicts.question(msgspec.structs.replace(item, stamp=bytes(32)))
    assert verdicts.answer(FRANKING_KEY, asked).state == "no"
    assert "never stamped" in verdicts.answer(FRANKING_KEY, asked).reason


def test_every_item_needs_an_answer() -> None:
    _, _, (item,) = insults(b"one")
    with pytest.raises(ValueError, match="zip"):
        verdicts.judge(report_of(item), [])


# --- order and omission ---


def told(items: Iterable[Item]) -> list[Note]:
    return verdicts.notes(judged(report_of(*items)))


def test_a_whole_conversation_in_order_needs_no_note() -> None:
    _, _, items = insults(b"1", b"2", b"3")
    assert told(items) == []
    assert told(reversed(items)) == []  # a reporter may show them in any order


def test_what_is_left_out_shows() -> None:
    _, _, items = insults(b"1", b"2", b"3", b"4", b"5")
    assert told([items[0], items[2]]) == [Note("omitted", items[2].id, 1)]
    assert told([items[1], items[4]]) == [
        Note("earlier", items[1].id, 1),
        Note("omitted", items[4].id, 2),
    ]


@pytest.mark.attack(5)
def test_what_the_relay_reordered_shows() -> None:
    _, alice, bob = couple()
    one, two = alice.send(BOB, b"pizza?"), alice.send(BOB, b"yes")
    metas = [msgspec.structs.replace(one.meta, seq=9), two.meta]
    restamped = [
        msgspec.structs.replace(
            stored, meta=meta, stamp=franking.stamp(FRANKING_KEY, meta, stored.commitment)
        )
        for stored, meta in zip((one, two), metas, strict=True)
    ]
    items = [item_of(stored, bob) for stored in restamped]
    assert told(items) == [Note("reordered", two.meta.id)]


@pytest.mark.attack(19)
def test_a_device_that_contradicts_itself_shows() -> None:
    _, _, items = insults(b"1", b"2")
    one, two = judged(report_of(*items))
    twice = msgspec.structs.replace(two, counter=1)
    unlinked = msgspec.structs.replace(two, previous=bytes(32))
    assert verdicts.notes([one, twice]) == [Note("fork", two.id)]
    assert verdicts.notes([one, unlinked]) == [Note("fork", two.id)]
    # Two devices of one sender count each for itself.
    other = msgspec.structs.replace(twice, device=b"alice-tablet-001")
    assert verdicts.notes([one, other]) == []


def test_in_the_other_modes_the_relays_numbers_show_that_there_is_more() -> None:
    first = plain_item(seq=3)
    for seq, missing in ((4, 0), (5, 1), (7, 3)):
        second = msgspec.structs.replace(first, id=bytes(16), seq=seq)
        notes = [Note("between", second.id, missing)] if missing else []
        assert told([first, second]) == notes


def test_unproven_messages_say_nothing_about_order() -> None:
    _, _, items = insults(b"1", b"2", b"3")
    report = report_of(items[0], items[2])
    assert verdicts.notes(verdicts.judge(report, [UNKNOWN, UNKNOWN])) == []
