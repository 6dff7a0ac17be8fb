"""Shares of a key: enough of them give it back, and fewer say nothing."""

from __future__ import annotations

import itertools
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes import shamir
from crypto_modes.errors import BadArgument, KeyRefused
from crypto_modes.keys import TeamKey
from tests import shamir_oracle
from tests.vector_files import expected, raw, vectors

SECRET = TeamKey(b"v" * 32)


@pytest.mark.parametrize("vector", vectors("shamir"))
def test_vectors(vector: dict[str, Any]) -> None:
    fields = raw(vector, "secret")
    with expected(vector):
        found = [shamir.decode(text) for text in fields["shares"]]
        assert shamir.combine(found).raw == fields["secret"]
        assert [share.encode() for share in found] == fields["shares"]


def test_the_field_is_the_one_of_the_logarithms() -> None:
    for a, b in itertools.product(range(256), range(256)):
        assert shamir._multiply(a, b) == shamir_oracle.times(a, b)
    for a in range(1, 256):
        assert shamir._invert(a) == shamir_oracle.over(1, a)


@given(st.data())
def test_any_of_them_in_any_order_and_no_fewer(data: st.DataObject) -> None:
    threshold = data.draw(st.integers(2, 7), "threshold")
    count = data.draw(st.integers(threshold, 9), "count")
    made = shamir.split(SECRET, threshold, count, os.urandom)
    given = data.draw(st.permutations(made), "order")[: data.draw(st.integers(1, count), "given")]
    if len(given) < threshold:
        with pytest.raises(KeyRefused):
            shamir.combine(given)
        return
    assert shamir.combine(given).raw == SECRET.raw
    points = {share.index: share.value for share in given[:threshold]}
    assert shamir_oracle.secret(points) == SECRET.raw


@given(
    st.integers(0, len(shamir.PREFIX) + 79),
    st.characters(codec="ascii", categories=("L", "N", "P", "S")),
)
def test_no_letter_of_a_share_can_be_another(place: int, letter: str) -> None:
    text = shamir.split(SECRET, 2, 2, os.urandom)[0].encode()
    if text[place] == letter:
        return
    with pytest.raises(KeyRefused):
        shamir.decode(text[:place] + letter + text[place + 1 :])


@given(st.text())
def test_no_other_text_is_a_share(text: str) -> None:
    with pytest.raises(KeyRefused):
        shamir.decode(text)


def test_too_few_shares_fit_every_key() -> None:
    """Perfect secrecy: whatever the key was, some last share makes two of three give it."""
    two = shamir.split(SECRET, 3, 3, os.urandom)[:2]
    firsts = set()
    for last in range(256):
        points = {share.index: share.value[:1] for share in two} | {3: bytes([last])}
        firsts.add(shamir_oracle.secret(points))
    assert len(firsts) == 256


def test_each_splitting_draws_anew() -> None:
    one, other = (shamir.split(SECRET, 2, 3, os.urandom) for _ in range(2))
    assert not {share.value for share in one} & {share.value for share in other}
    drawn: list[int] = []

    def random(size: int) -> bytes:
        drawn.append(size)
        return os.urandom(size)

    shamir.split(SECRET, 4, 5, random)
    assert drawn == [32, 32, 32]


@pytest.mark.parametrize(("threshold", "count"), [(1, 2), (3, 2), (2, 33), (0, 0)])
def test_what_is_no_splitting_is_refused(threshold: int, count: int) -> None:
    with pytest.raises(BadArgument):
        shamir.split(SECRET, threshold, count, os.urandom)


@pytest.mark.parametrize("count", [2, 5, shamir.MOST])
def test_shares_are_numbered_from_one(count: int) -> None:
    shares = shamir.split(SECRET, 2, count, os.urandom)
    assert [share.index for share in shares] == list(range(1, count + 1))
    assert {(share.threshold, share.count) for share in shares} == {(2, count)}


@pytest.mark.parametrize(("threshold", "count", "index"), [(3, 2, 1), (2, 3, 4), (4, 3, 4)])
def test_numbers_that_no_share_has_are_refused(threshold: int, count: int, index: int) -> None:
    """Also where whoever wrote them made the check anew."""
    numbers = {"threshold": threshold, "count": count, "index": index}
    share = shamir.Share(key=bytes(16), value=bytes(32), **numbers)
    with pytest.raises(KeyRefused, match="numbers that no share has"):
        shamir.decode(share.encode())


def test_a_share_does_not_print_itself() -> None:
    share = shamir.split(SECRET, 2, 2, os.urandom)[0]
    assert share.value.hex() not in repr(share)
    assert repr(share.value) not in repr(share)
