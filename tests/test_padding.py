"""Padding hides lengths, and has exactly one encoding per body."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes.errors import CannotOpen
from crypto_modes.padding import MINIMUM, pad, padded_size, unpad
from tests.modes_oracle import padded

LARGEST = 16 * 1024


@given(st.binary(max_size=20_000))
def test_round_trip_and_a_second_reading(body: bytes) -> None:
    assert unpad(pad(body)) == body
    assert pad(body) == padded(body)


@given(st.integers(0, 600), st.sampled_from([b"\x00", b"\x80", b"\x80\x00"]))
def test_bodies_that_look_like_padding_survive(count: int, ending: bytes) -> None:
    assert unpad(pad(ending * count)) == ending * count


def sizes_seen(largest: int) -> list[int]:
    """The padded sizes of all bodies of 1 to ``largest`` bytes, without repetition."""
    return sorted({len(pad(bytes(length))) for length in range(1, largest + 1)})


@pytest.mark.attack(33)
def test_few_sizes_are_seen() -> None:
    sizes = sizes_seen(LARGEST)
    # 256, then eight in each of six octaves, and one more for 16 KiB and its mark; 60 are promised.
    assert len(sizes) == 1 + 8 * 6 + 1 <= 60
    assert (sizes[0], sizes[-1]) == (MINIMUM, LARGEST + LARGEST // 8)


@pytest.mark.attack(33)
@pytest.mark.parametrize("octave", [256, 512, 1024, 4096, 1 << 20])
def test_an_octave_has_eight_sizes_at_even_distances(octave: int) -> None:
    """Found by walking up one byte at a time from each size to the next."""
    sizes = [padded_size(octave)]
    while sizes[-1] < 2 * octave:
        sizes.append(padded_size(sizes[-1] + 1))
    assert sizes == [octave + octave * eighths // 8 for eighths in range(9)]


def test_a_body_grows_by_at_most_an_eighth() -> None:
    grown = {length: len(pad(bytes(length))) / length for length in range(MINIMUM, LARGEST + 1)}
    assert max(grown.values()) == 1.125
    # The worst are those that fill a power of two, so that only the mark needs the next size.
    worst = {length for length, factor in grown.items() if factor == 1.125}
    assert worst == {256 << octave for octave in range(7)}


@given(st.integers(1, 1 << 32), st.integers(1, 1 << 32))
def test_sizes_are_reached_once_and_in_order(one: int, other: int) -> None:
    small, large = sorted((one, other))
    assert large <= padded_size(large)
    assert padded_size(small) <= padded_size(large)
    assert padded_size(padded_size(large)) == padded_size(large)


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
        pad(b"text") + bytes(32),
        pad(bytes(300))[:-1],
        bytes([1]) * 256 + b"\x80" + bytes(272 - 257),
    ],
    ids=[
        "nothing",
        "only zeros",
        "another mark",
        "no mark",
        "too short for the minimum",
        "longer than the minimum",
        "between two sizes",
        "a size too long",
        "a byte cut off",
        "a size of Padme",
    ],
)
def test_only_what_pad_makes_is_taken(wrong: bytes) -> None:
    with pytest.raises(CannotOpen):
        unpad(wrong)


def test_nothing_but_zeros_fills() -> None:
    """Else a plaintext would have other encodings, with room for what nobody looks at."""
    for byte in range(1, 256):
        filled = pad(b"text")[:-1] + bytes([byte])
        if byte == 0x80:  # the mark of a longer body
            assert unpad(filled) == filled[:-1]
            continue
        with pytest.raises(CannotOpen):
            unpad(filled)
