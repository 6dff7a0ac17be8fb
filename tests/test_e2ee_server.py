"""The middle of ``e2ee``: what is admitted, how a device finds its copy, what a body may be."""

from __future__ import annotations

import os
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes import wire
from crypto_modes.contract import Need, NeedFrankingKey, Sealed
from crypto_modes.e2ee import body, server
from crypto_modes.e2ee.server import COPY_MINIMUM, E2eeServer
from crypto_modes.errors import CannotOpen, FrameRefused, LimitExceeded
from crypto_modes.franking import month_of
from crypto_modes.padding import pad
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


@pytest.mark.parametrize("cut", [0, 1, 20, 21, 60])
def test_damaged_records_are_refused(cut: int) -> None:
    record = server.pack((wire.Copy(b"d" * 16, bytes(50)),))
    with pytest.raises(FrameRefused, match="damaged"):
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


def test_a_franking_key_is_asked_for() -> None:
    with pytest.raises(Need) as need:
        E2eeServer(server_tools()).admit(META, sealed(), bytes(32))
    assert need.value.what == NeedFrankingKey(202609)


@given(
    content=st.binary(max_size=400),
    reply_to=st.sampled_from([b"", b"r" * 16]),
    counter=st.integers(0, 2**64 - 1),
)
def test_bodies_round_trip_as_the_second_reading_has_them(
    content: bytes, reply_to: bytes, counter: int
) -> None:
    text = body.Body("voice", content, reply_to, counter, b"p" * 32, 7)
    message = body.encode(text)
    assert message == oracle.message("voice", content, reply_to, counter, b"p" * 32, 7)
    assert body.decode(message) == text


GOOD = ("text", b"content", b"", (1).to_bytes(8, "big"), bytes(32), bytes(8))


@pytest.mark.parametrize(
    "items",
    [
        GOOD[:5],
        (*GOOD, b""),
        ("voicemail", *GOOD[1:]),
        (b"\xff", *GOOD[1:]),
        (*GOOD[:2], b"short", *GOOD[3:]),
        (*GOOD[:3], b"\1", *GOOD[4:]),
        (*GOOD[:4], bytes(31), GOOD[5]),
        (*GOOD[:5], bytes(9)),
    ],
)
def test_bodies_of_another_shape_are_refused(items: tuple[bytes | str, ...]) -> None:
    assert body.decode(pad(oracle.enc(body.LABEL, *GOOD))).content == b"content"
    with pytest.raises(CannotOpen):
        body.decode(pad(oracle.enc(body.LABEL, *items)))
    with pytest.raises(CannotOpen):
        body.decode(pad(oracle.enc("louver/v1/other", *GOOD)))
    with pytest.raises(CannotOpen):
        body.decode(pad(oracle.enc(body.LABEL, *GOOD) + b"\0\0\0\x05x"))
