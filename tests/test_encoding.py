"""``enc`` is injective: nothing that is authenticated can be read in two ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes.encoding import dec, enc, number
from crypto_modes.errors import BadArgument, FrameRefused
from tests.modes_oracle import enc as enc_again

LABELS = st.sampled_from(["louver/v1/a", "louver/v1/ab", "louver/v1/message"])
ITEMS = st.lists(st.binary(max_size=40), max_size=5)


def test_layout() -> None:
    encoded = enc("louver/v1/x", b"ab", 258, "é")
    assert encoded == (
        b"\x00\x00\x00\x0blouver/v1/x"
        b"\x00\x00\x00\x02ab"
        b"\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x01\x02"
        b"\x00\x00\x00\x02\xc3\xa9"
    )


@given(label=LABELS, items=ITEMS, value=st.integers(0, 2**64 - 1), text=st.text(max_size=20))
def test_agrees_with_a_second_reading(
    label: str, items: list[bytes], value: int, text: str
) -> None:
    assert enc(label, *items, value, text) == enc_again(label, *items, value, text)


@given(one=st.tuples(LABELS, ITEMS), other=st.tuples(LABELS, ITEMS))
def test_two_inputs_never_share_an_encoding(
    one: tuple[str, list[bytes]], other: tuple[str, list[bytes]]
) -> None:
    assert (enc(one[0], *one[1]) == enc(other[0], *other[1])) == (one == other)


@given(items=ITEMS, cut=st.integers(0, 40))
def test_moving_a_boundary_changes_the_encoding(items: list[bytes], cut: int) -> None:
    joined = b"".join(items)
    moved = [joined[:cut], joined[cut:]]
    assert (enc("louver/v1/a", *moved) == enc("louver/v1/a", *items)) == (moved == items)


@pytest.mark.parametrize("label", ["", "x", "louver/v2/x", "Louver/v1/x", "louver/v1/é"])
def test_labels_carry_name_and_version(label: str) -> None:
    with pytest.raises(BadArgument, match="must be ASCII and start with 'louver/v1/'"):
        enc(label)


@pytest.mark.parametrize("value", [-1, 2**64])
def test_numbers_fit_64_bits(value: int) -> None:
    with pytest.raises(BadArgument, match="unsigned 64-bit"):
        enc("louver/v1/x", value)


@given(label=LABELS, items=ITEMS, value=st.integers(0, 2**64 - 1))
def test_dec_is_the_inverse(label: str, items: list[bytes], value: int) -> None:
    *read, last = dec(label, enc(label, *items, value))
    assert read == items
    assert number(last) == value


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        enc("louver/v1/ab", b"item"),
        enc("louver/v1/a", b"item")[:-1],
        enc("louver/v1/a", b"item")[4:],
        enc("louver/v1/a", b"item") + bytes(4)[:3] + b"\x01",
    ],
    ids=["nothing", "another label", "a byte cut off", "no length", "a length without its item"],
)
def test_dec_takes_only_what_enc_made_under_the_label(wrong: bytes) -> None:
    with pytest.raises(FrameRefused):
        dec("louver/v1/a", wrong)


@pytest.mark.parametrize("size", [0, 7, 9])
def test_an_integer_has_8_bytes(size: int) -> None:
    with pytest.raises(FrameRefused, match="8 bytes"):
        number(bytes(size))
