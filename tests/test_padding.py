"""Padding hides lengths, and has exactly one encoding per body."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes.errors import CannotOpen
from crypto_modes.padding import MINIMUM, pad, padme, unpad
from tests.modes_oracle import padded


@given(st.binary(max_size=20_000))
def test_round_trip_and_a_second_reading(body: bytes) -> None:
    assert unpad(pad(body)) == body
    assert pad(body) == padded(body)


@given(st.integers(0, 600), st.sampled_from([b"\x00", b"\x80", b"\x80\x00"]))
def test_bodies_that_look_like_padding_survive(count: int, ending: bytes) -> None:
    assert unpad(pad(ending * count)) == ending * count


@pytest.mark.attack
def test_33_few_sizes_are_seen() -> None:
    sizes = {len(pad(bytes(length))) for length in range(1, 16 * 1024 + 1)}
    # Padmé has sixteen sizes an octave here, and there are six octaves from 256 bytes on.
    assert len(sizes) <= 98
    assert min(sizes) == MINIMUM


def test_overhead_stays_under_an_eighth() -> None:
    assert all(length <= padme(length) < length * 1.12 + 1 for length in range(256, 16 * 1024))


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        bytes(256),
        b"\x81" + bytes(255),
        b"a" * 256,
        b"text\x80" + bytes(250),
        b"text\x80" + bytes(252),
        pad(b"text") + bytes(16),
        pad(bytes(300))[:-1],
    ],
)
def test_only_what_pad_makes_is_taken(wrong: bytes) -> None:
    with pytest.raises(CannotOpen):
        unpad(wrong)
