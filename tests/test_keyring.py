"""What a data key is bound to: to the byte, and to each part of its place."""

from __future__ import annotations

from typing import Any

from crypto_modes.keyring import dek_context
from tests import modes_oracle as oracle

PLACE: dict[str, Any] = {
    "deployment": b"deployment-0001!",
    "conversation": b"conversation-001",
    "sender": b"alice-account-01",
    "epoch": 3,
    "purpose": "serving",
}


def test_the_context_of_a_data_key_is_that_of_the_specification() -> None:
    written = oracle.enc("louver/v1/dek", *PLACE.values())
    assert dek_context(*PLACE.values()) == written


def test_a_key_for_one_place_is_none_for_another() -> None:
    other = {
        "deployment": b"deployment-0002!",
        "conversation": b"conversation-002",
        "sender": b"bobby-account-02",
        "epoch": 4,
        "purpose": "moderation",
    }
    places = [PLACE, *({**PLACE, name: value} for name, value in other.items())]
    assert len({dek_context(**place) for place in places}) == 6
