"""The middle of ``e2ee``: what is admitted, how a device finds its copy, what a body may be."""

from __future__ import annotations

import os
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes import wire
from crypto_modes.contract import BlobMeta, Evidence, Need, NeedFrankingKey, Sealed, Stored
from crypto_modes.e2ee import server
from crypto_modes.e2ee.server import COPY_MINIMUM, E2eeServer
from crypto_modes.errors import (
    CannotOpen,
    CannotRead,
    FrameRefused,
    LimitExceeded,
    ReportRefused,
)
from crypto_modes.franking import month_of
from tests import e2ee_oracle as oracle
from tests.e2ee_relay import FRANKING_KEY, OneFrankingKey
from tests.mode_ends import DRAFT, meta_of, server_tools

META = meta_of(DRAFT, "e2ee")
RELAY = E2eeServer(server_tools(franking_keys=OneFrankingKey()))
COPIES = st.dictionaries(
    st.binary(min_size=16, max_size=16), st.binary(max_size=400), min_size=1, max_size=20
)


def sealed(count: int = 2, size: int = COPY_MINIMUM, **changes: Any) -> Sealed:
    copies = tuple(wire.Copy(os.urandom(16), os.urandom(size)) for _ in range(count))
    good = Sealed(mode="e2ee", epoch=1, copies=copies, commitment=os.urandom(32))
    return msgspec.structs.replace(good, **changes)


def test_a_message_is_stamped_and_each_device_finds_its_copy() -> None:
    given_ = sealed(20)
    stored = RELAY.admit(META, given_, b"h" * 32)
    fields = msgspec.structs.asdict(META)
    month = month_of(META.time)
    assert stored.stamp == oracle.stamp(FRANKING_KEY, month, given_.commitment, fields)
    assert stored.chain == b"h" * 32
    for copy in given_.copies:
        delivery = RELAY.emit(stored, copy.device)
        assert (delivery.body, delivery.commitment) == (copy.body, given_.commitment)
        assert (delivery.seq, delivery.stamp) == (META.seq, stored.stamp)
    assert RELAY.emit(stored, bytes(16)).body == b""


@given(COPIES)
def test_records_give_back_every_copy(copies: dict[bytes, bytes]) -> None:
    record = server.pack(tuple(wire.Copy(*item) for item in copies.items()))
    assert {device: server.find(record, device) for device in copies} == copies


def test_a_record_is_a_table_of_sizes_and_then_the_copies() -> None:
    """Records are kept for as long as messages are, so their layout may not change."""
    copies = [(b"d" * 16, b"first"), (b"e" * 16, b"second!")]
    table = b"\2" + b"d" * 16 + b"\0\0\0\5" + b"e" * 16 + b"\0\0\0\7"
    assert server.pack(tuple(wire.Copy(*each) for each in copies)) == table + b"firstsecond!"
    assert [server.find(table + b"firstsecond!", device) for device, _ in copies] == [
        b"first",
        b"second!",
    ]


@pytest.mark.parametrize("cut", [0, 1, 20, 21, 60])
def test_damaged_records_are_refused(cut: int) -> None:
    record = server.pack((wire.Copy(b"d" * 16, bytes(50)),))
    with pytest.raises(CannotOpen, match="damaged"):
        server.find(record[:cut], b"d" * 16)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (sealed(0), FrameRefused),
        (sealed(body=b"text"), FrameRefused),
        (sealed(commitment=b""), FrameRefused),
        (sealed(commitment=bytes(31)), FrameRefused),
        (sealed(copies=sealed(1).copies * 2), FrameRefused),
        (sealed(size=COPY_MINIMUM - 1), FrameRefused),
        (sealed(21), LimitExceeded),
        (sealed(2, 40_000), LimitExceeded),
    ],
)
def test_what_is_not_admitted(wrong: Sealed, error: type[Exception]) -> None:
    with pytest.raises(error):
        RELAY.admit(META, wrong, bytes(32))


def test_a_frame_may_be_full_to_the_byte() -> None:
    full = wire.FRAME_LIMIT // 2
    assert RELAY.admit(META, sealed(2, full), bytes(32)).meta == META
    over = (*sealed(1, full).copies, wire.Copy(os.urandom(16), bytes(full + 1)))
    with pytest.raises(LimitExceeded):
        RELAY.admit(META, sealed(copies=over), bytes(32))


# -- reports ------------------------------------------------------------------------------------


def reported(text: bytes) -> tuple[Stored, Evidence]:
    """A message whose sender committed to ``text``, and what its recipient reveals of it."""
    key = os.urandom(32)
    committed = oracle.commitment(key, META.conversation, META.id, text)
    stored = RELAY.admit(META, sealed(commitment=committed), bytes(32))
    return stored, Evidence(reporter=META.recipient, message=text, key=key)


ABUSE = oracle.message("text", b"abuse", b"", 1, bytes(32), 0)


def test_what_the_recipient_reveals_is_read() -> None:
    stored, evidence = reported(ABUSE)
    assert RELAY.reveal(stored, evidence) == b"abuse"


@pytest.mark.attack
@pytest.mark.parametrize(
    "lie",
    [
        {"reporter": META.sender},
        {"message": ABUSE.replace(b"abuse", b"words")},
        {"message": b""},
        {"key": os.urandom(32)},
        {"key": b""},
    ],
)
def test_41_nobody_is_made_to_have_said_something(lie: dict[str, bytes]) -> None:
    stored, evidence = reported(ABUSE)
    with pytest.raises(ReportRefused):
        RELAY.reveal(stored, msgspec.structs.replace(evidence, **lie))


@pytest.mark.attack
def test_41_nor_by_a_relay_that_stamps_for_another_month_or_message() -> None:
    stored, evidence = reported(ABUSE)
    for changed in (
        {"stamp": os.urandom(32)},
        {"commitment": os.urandom(32)},
        {"meta": msgspec.structs.replace(META, id=os.urandom(16))},
        {"meta": msgspec.structs.replace(META, time=META.time + 40 * 24 * 60 * 60 * 1000)},
    ):
        with pytest.raises(ReportRefused, match="never stamped"):
            RELAY.reveal(msgspec.structs.replace(stored, **changed), evidence)


class MonthlyKeys:
    """Another franking key for each month."""

    def find(self, month: int) -> bytes:
        return month.to_bytes(32, "big")


def test_a_report_is_held_to_the_key_of_the_messages_month() -> None:
    relay = E2eeServer(server_tools(franking_keys=MonthlyKeys()))
    stored, evidence = reported(ABUSE)
    stored = relay.admit(META, sealed(commitment=stored.commitment), bytes(32))
    assert relay.reveal(stored, evidence) == b"abuse"
    with pytest.raises(ReportRefused, match="never stamped"):
        RELAY.reveal(stored, evidence)


def test_without_a_report_the_relay_reads_nothing() -> None:
    stored, _ = reported(ABUSE)
    with pytest.raises(CannotRead, match="only a recipient"):
        RELAY.reveal(stored, Evidence(reporter=META.recipient))


def test_a_text_that_was_committed_to_and_is_no_message_proves_nothing() -> None:
    stored, evidence = reported(b"no message at all")
    with pytest.raises(ReportRefused, match="not a message"):
        RELAY.reveal(stored, evidence)


def test_pieces_of_attachments_are_kept_as_they_come() -> None:
    meta = BlobMeta(
        id=os.urandom(16),
        conversation=META.conversation,
        sender=META.sender,
        kind="image",
        mode="e2ee",
        epoch=1,
        size=4096,
        time=META.time,
    )
    pieces = RELAY.pieces(meta)
    assert (pieces.head, pieces.overhead) == (b"", 0)
    assert (pieces.admit(0, b"sealed"), pieces.emit(0, b"sealed")) == (b"sealed", b"sealed")


def test_a_franking_key_is_asked_for() -> None:
    with pytest.raises(Need) as need:
        E2eeServer(server_tools()).admit(META, sealed(), bytes(32))
    assert need.value.what == NeedFrankingKey(202609)
