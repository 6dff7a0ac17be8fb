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
from crypto_modes.e2ee import server
from crypto_modes.e2ee.server import COPY_MINIMUM, E2eeServer
from crypto_modes.errors import CannotOpen, FrameRefused, LimitExceeded
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


def test_a_franking_key_is_asked_for() -> None:
    with pytest.raises(Need) as need:
        E2eeServer(server_tools()).admit(META, sealed(), bytes(32))
    assert need.value.what == NeedFrankingKey(202609)
