"""Orders of preservation to the byte: an approval is for one order, and for one time."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from crypto_modes import grants
from crypto_modes.errors import GrantRefused
from crypto_modes.grants import Person
from crypto_modes.holds import Order
from crypto_modes.keys import SigningKey
from tests import modes_oracle as oracle

KEY = SigningKey(b"k" * 32)
STAFF = {
    name: Person(name=name, subject=name, role="legal", key=KEY.public) for name in ("lena", "luis")
}
ORDER = Order(
    case=b"c" * 16,
    event="place",
    target="account",
    place=b"p" * 16,
    requester="lena",
    reason="order 17/2026 of the court",
    nonce=b"n" * 16,
)


def test_an_order_and_its_id_are_those_of_the_specification() -> None:
    words = ("place", "account", b"p" * 16, "lena", "order 17/2026 of the court", b"n" * 16)
    raw = oracle.enc("louver/v1/hold", b"c" * 16, *words)
    assert ORDER.encode() == raw
    assert ORDER.id == oracle.sha256(oracle.enc("louver/v1/hold/id", raw))[:16]


@pytest.mark.parametrize(
    "changed",
    [
        {"case": bytes(16)},
        {"event": "lift"},
        {"target": "conversation"},
        {"place": bytes(16)},
        {"reason": "another order"},
        {"nonce": bytes(16)},
    ],
)
def test_an_approval_is_for_one_order(changed: dict[str, Any]) -> None:
    approval = grants.approve(ORDER, "luis", KEY)
    assert grants.check_approval(ORDER, approval, STAFF).name == "luis"
    other = msgspec.structs.replace(ORDER, **changed)
    assert other.id != ORDER.id
    with pytest.raises(GrantRefused, match="not for this grant"):
        grants.check_approval(other, approval, STAFF)
